"""Stage 2's config: what every run has, the sampler, the loss weights, and where stage 1 is."""

from dataclasses import dataclass, field
from pathlib import Path

from common.losses.vae import VAELossConfig
from common.programs.run_config import RunConfig
from stage2_sampler.model import SamplerConfig


@dataclass(frozen=True)
class Stage2InitConfig:
    """Where stage 1 is."""

    stage1: Path | None = None  # run folder or file; None: the run of the same experiment
    experiment: str | None = None  # where to look when this experiment has no such run


@dataclass(frozen=True)
class Stage2Config(RunConfig):
    """`configs/*/stage2.yaml`."""

    model: SamplerConfig = field(default_factory=SamplerConfig)
    loss: VAELossConfig = field(default_factory=VAELossConfig)
    init: Stage2InitConfig = field(default_factory=Stage2InitConfig)
