"""Score a stage 3 checkpoint: metric depth from image and words.

python stage3_depth/eval.py --checkpoint runs/demo/stage3 --split test --json out.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.data.batch import Batch
from common.errors import run_program
from common.programs.evaluate import evaluate
from common.runtime.randomness import DrawRandom


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """Depth [B, 1, H, W] in meters."""
    return model(batch.image, batch.text_feature, batch.image_feature)


def sample(model: nn.Module, batch: Batch, rng: DrawRandom) -> Tensor:
    """The same with a scene drawn from the words' distribution in the picture's own one's place."""
    eps = rng.normal(model.latent_dim, device=batch.image.device)
    return model(batch.image, batch.text_feature, eps=eps)


def predict_joint(model: nn.Module, batch: Batch) -> Tensor:
    """Depth [B, 1, H, W] in meters of the joint network's image step."""
    return model(batch.image, batch.text_feature).depth


def predict_words(model: nn.Module, batch: Batch) -> Tensor:
    """Depth [B, 1, H, W] in meters of the joint network's text step, its mean scene: eps = 0."""
    eps = batch.image.new_zeros(len(batch), *model.noise_shape(batch.size))
    return model(batch.image, batch.text_feature, eps).depth


def sample_words(model: nn.Module, batch: Batch, rng: DrawRandom) -> Tensor:
    """The same of a scene drawn from the words' distribution, as in training."""
    eps = rng.normal(*model.noise_shape(batch.size), device=batch.image.device)
    return model(batch.image, batch.text_feature, eps).depth


def main() -> None:
    """Hand the stage's recipes to the evaluation program; the checkpoint names its own."""
    from stage3_depth.stage import STAGES  # which are made of this file

    evaluate(__doc__ or "", *STAGES)


if __name__ == "__main__":
    run_program(main)
