"""LLM-MDE's config: what every run has, the network's parts, the prompt, and the loss.

The defaults of the network's parts are the paper's sizes where it has them; the training settings
of the paper stand in `configs/*/llm_mde.yaml`.
"""

from dataclasses import dataclass, field
from typing import Literal

from common.language.controls import LENDING
from common.losses.depth import DepthLossConfig
from common.programs.run_config import RunConfig
from llm_mde.model import LLMDepthConfig
from llm_mde.prompt import PromptConfig


@dataclass(frozen=True)
class LLMMDEConfig(RunConfig):
    """`configs/*/llm_mde.yaml`."""

    recipe: Literal["llm-mde"] = "llm-mde"  # the only one
    model: LLMDepthConfig = field(default_factory=LLMDepthConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    loss: DepthLossConfig = field(default_factory=DepthLossConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        reads_file = self.text.control in ("caption", *LENDING)  # the others write their own words
        if self.prompt.caption and reads_file and not self.text.captions:
            raise ValueError("prompt.caption: is on, but text.captions names no caption file")
