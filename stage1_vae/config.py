"""Stage 1's config: what every run has, the text-VAE, and the loss weights."""

from dataclasses import dataclass, field

from common.losses.vae import VAELossConfig
from common.programs.run_config import RunConfig
from stage1_vae.model import TextVAEConfig


@dataclass(frozen=True)
class Stage1Config(RunConfig):
    """`configs/*/stage1.yaml`."""

    model: TextVAEConfig = field(default_factory=TextVAEConfig)
    loss: VAELossConfig = field(default_factory=VAELossConfig)
