"""What every stage's config has; a stage adds its model, loss and earlier stages."""

from dataclasses import dataclass, field
from pathlib import Path

from common.config import MAY_CHANGE, REPO_ROOT, may_change, require_at_least
from common.data.data_config import DataConfig
from common.engine.train_config import TrainConfig
from common.evaluation.scoring import EvalConfig
from common.language.features import TextConfig
from common.runtime.hub import HUB_TIMEOUT, check_hub_timeout
from common.text_files import is_whole_text

MAX_SEED = 2**32 - 1  # numpy's global generator takes no larger one


@dataclass(frozen=True)
class LoggingConfig:
    """Where scalars and pictures go beside metrics.jsonl and TensorBoard."""

    wandb: bool = False  # send scalars and pictures to Weights & Biases too
    wandb_project: str = "langdepth"  # the project there


@dataclass(frozen=True)
class RunConfig:
    """The sections that all stages share."""

    data: DataConfig
    experiment: str = "nyu"  # a folder name; runs write to output_root/experiment/stage
    output_root: Path = may_change(REPO_ROOT / "runs")  # folder of all runs
    hub_timeout: float = may_change(HUB_TIMEOUT)  # seconds that a silent model hub is waited for
    seed: int = 0  # of first weights, order of images, augmentation and noise; at most 2^32 - 1
    text: TextConfig = field(default_factory=TextConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig, metadata=MAY_CHANGE)
    logging: LoggingConfig = field(default_factory=LoggingConfig, metadata=MAY_CHANGE)

    def __post_init__(self) -> None:
        if self.experiment in ("", "..") or self.experiment != Path(self.experiment).name:
            raise ValueError(f"experiment: '{self.experiment}' must be a plain folder name")
        for name in ("experiment", "output_root"):
            if not is_whole_text(value := str(getattr(self, name))):
                raise ValueError(
                    f"{name}: {ascii(value)} is not UTF-8, and TensorBoard writes to no other "
                    "folder; choose another"
                )
        check_hub_timeout(self.hub_timeout)
        require_at_least(0, self, "seed")
        if self.seed > MAX_SEED:
            raise ValueError(f"seed: must be at most {MAX_SEED}, not {self.seed}")
