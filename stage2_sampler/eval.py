"""Score a stage 2 checkpoint: the words' distribution of scenes, and the image picks one.

python stage2_sampler/eval.py --checkpoint runs/demo/stage2 --split test --json out.json
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
    """Depth [B, 1, H, W] in meters of the scene the image picks."""
    return model(batch.image, batch.text_feature, batch.image_feature).depth


def sample(model: nn.Module, batch: Batch, rng: DrawRandom) -> Tensor:
    """The depth [B, 1, H, W] in meters of a scene drawn from the caption's distribution.

    The image picks nothing: of it only the size is used.
    """
    assert batch.text_feature is not None
    eps = rng.normal(model.vae.config.latent_dim, device=batch.text_feature.device)
    return model.vae(batch.text_feature, eps, batch.size).depth


def main() -> None:
    """Hand the stage to the evaluation program."""
    from stage2_sampler.stage import STAGE  # which is made of this file

    evaluate(__doc__ or "", STAGE)


if __name__ == "__main__":
    run_program(main)
