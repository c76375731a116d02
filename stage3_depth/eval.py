"""Score a stage 3 checkpoint: metric depth from image and words.

python stage3_depth/eval.py --checkpoint runs/demo/stage3 --split test --json out.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.data.batch import Batch
from common.errors import UserError, run_program
from common.networks.layers import padded_size
from common.programs.evaluate import evaluate
from common.programs.text_prior import TextPrior


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """Depth [B, 1, H, W] in meters."""
    return model(batch.image, batch.text_feature, batch.image_feature)


def predict_joint(model: nn.Module, batch: Batch) -> Tensor:
    """Depth [B, 1, H, W] in meters of the joint network's image step."""
    return model(batch.image, batch.text_feature).depth


def joint_text_prior(model: nn.Module) -> TextPrior:
    """The joint network's text step: noise of its own in every cell of the grid at stride 16."""
    config = model.config
    if config.skips == "kept":
        raise UserError(
            "model.skips=kept: the text step of this network reads the picture too, so there is no "
            "depth from words alone"
        )

    def noise_shape(size: tuple[int, int]) -> tuple[int, ...]:
        height, width = padded_size(size)
        return config.code_channels, height // 16, width // 16

    def decode(text_feature: Tensor, eps: Tensor, size: tuple[int, int]) -> Tensor:
        blank = text_feature.new_zeros(len(text_feature), 3, *size)  # only its size is read
        return model(blank, text_feature, eps).depth

    return TextPrior(config.text_dim, noise_shape, decode)


def main() -> None:
    """Hand the stage's recipes to the evaluation program; the checkpoint names its own."""
    from stage3_depth.stage import STAGES  # which are made of this file

    evaluate(__doc__ or "", *STAGES)


if __name__ == "__main__":
    run_program(main)
