"""Stage 1's config: what every run has, the text-VAE, and the loss."""

from dataclasses import dataclass, field
from typing import Literal

from common.config import require_at_least
from common.losses.vae import VAELossConfig
from common.programs.run_config import RunConfig
from stage1_vae.model import TextVAEConfig


@dataclass(frozen=True)
class TextLossConfig(VAELossConfig):
    """With `crps` the std means something, and there is no floor: see `step_fn`."""

    score: Literal["l1", "crps"] = "l1"  # of one draw, as published; or of several, calibrated
    num_draws: int = 2  # of a scene, for `crps`

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(2, self, "num_draws")


@dataclass(frozen=True)
class Stage1Config(RunConfig):
    """`configs/*/stage1.yaml`."""

    # At the end all std are multiplied by the one number that fits the validation images.
    fit_temperature: bool = False
    temperature: float = 1.0  # at the end all std are multiplied by this number
    model: TextVAEConfig = field(default_factory=TextVAEConfig)
    loss: TextLossConfig = field(default_factory=TextLossConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise ValueError(f"temperature: {self.temperature} is not above 0")
        if self.fit_temperature and self.temperature != 1:
            raise ValueError("temperature: fit_temperature finds it; give one of the two")
        lists = self.data.val_list, self.data.test_list
        if self.fit_temperature and lists[0] is not None and lists[0] == lists[1]:
            raise ValueError(
                "fit_temperature: data.val_list names the test images, which nothing may be fitted "
                "on; data.val_list=null sets some training images apart"
            )
