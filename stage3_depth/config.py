"""Stage 3's config: what every run has, the estimator, language, the loss, and earlier stages."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from common.config import require_at_least
from common.losses.depth import DepthLossConfig
from common.programs.run_config import RunConfig
from stage3_depth.joint_model import JointConfig
from stage3_depth.model import EstimatorConfig


@dataclass(frozen=True)
class LanguageModeConfig:
    """Whether there is a prior."""

    # The prior guides the estimator, or (none, the control) zeros stand in its place.
    mode: Literal["caption", "none"] = "caption"


@dataclass(frozen=True)
class Stage3InitConfig:
    """Where stage 2 is."""

    stage2: Path | None = None  # run folder or file; None: the run of the same experiment
    experiment: str | None = None  # where to look when this experiment has no such run


@dataclass(frozen=True)
class Stage3Config(RunConfig):
    """`configs/*/stage3.yaml`: the staged recipe."""

    recipe: Literal["staged"] = "staged"  # of the three stages
    model: EstimatorConfig = field(default_factory=EstimatorConfig)
    language: LanguageModeConfig = field(default_factory=LanguageModeConfig)
    loss: DepthLossConfig = field(default_factory=DepthLossConfig)
    init: Stage3InitConfig = field(default_factory=Stage3InitConfig)


@dataclass(frozen=True)
class JointLossConfig(DepthLossConfig):
    """SILog + kl_weight * KL."""

    kl_weight: float = 1e-3  # of the KL term, in both steps
    text_step_probability: float = 0.5  # 0.5 in joint, 0.01 in the paper (joint-legacy)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, self, "kl_weight")
        if not 0 <= self.text_step_probability <= 1:
            raise ValueError(
                f"text_step_probability: must be in [0, 1], not {self.text_step_probability}"
            )


@dataclass(frozen=True)
class JointInitConfig:
    """An optional warm start."""

    stage1: Path | None = None  # run or file whose fitting weights the text branch starts from


@dataclass(frozen=True)
class JointStageConfig(RunConfig):
    """`configs/*/joint.yaml` and `joint_legacy.yaml`."""

    recipe: Literal["joint", "joint-legacy"] = "joint"  # the release, or the paper's tables
    model: JointConfig = field(default_factory=JointConfig)
    loss: JointLossConfig = field(default_factory=JointLossConfig)
    init: JointInitConfig = field(default_factory=JointInitConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.recipe == "joint") != (self.model.skips == "dropped"):
            raise ValueError(
                f"recipe: {self.recipe} does not go with model.skips {self.model.skips}; joint "
                "drops the skips, joint-legacy keeps them (kept, or kept_in_image_step)"
            )
