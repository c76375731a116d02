"""Stage 3's config: what every run has, the estimator, language, the loss, and earlier stages."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common.run import RunConfig
from stage3_depth.model import EstimatorConfig


@dataclass(frozen=True)
class LanguageConfig:
    """`caption`: the prior guides the estimator. `none`: the control, the same without it."""

    mode: Literal["caption", "none"] = "caption"


@dataclass(frozen=True)
class DepthLossConfig:
    """SILog's share of the squared mean (lambda)."""

    silog_lambda: float = 0.85

    def __post_init__(self) -> None:
        if not 0 <= self.silog_lambda <= 1:
            raise ValueError(f"silog_lambda: must be in [0, 1], not {self.silog_lambda}")


@dataclass(frozen=True)
class Stage3InitConfig:
    """Stage 2: a run folder or file; null: the run of the same experiment.

    experiment: where to look when this experiment has no such run.
    """

    stage2: Path | None = None
    experiment: str | None = None


@dataclass(frozen=True)
class Stage3Config(RunConfig):
    """`configs/*/stage3.yaml`."""

    model: EstimatorConfig = field(default_factory=EstimatorConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    loss: DepthLossConfig = field(default_factory=DepthLossConfig)
    init: Stage3InitConfig = field(default_factory=Stage3InitConfig)
