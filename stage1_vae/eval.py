"""Score a stage 1 checkpoint: depth from the words alone (the caption's mean scene, eps = 0).

python stage1_vae/eval.py --checkpoint runs/demo/stage1 --split test --json out.json
python stage1_vae/eval.py --checkpoint runs/demo/stage1 --samples 100      is it calibrated?
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
    """The mean scene's depth [B, 1, H, W] in meters; of the image only its size is used."""
    assert batch.text_feature is not None
    eps = batch.text_feature.new_zeros(batch.text_feature.shape[0], model.config.latent_dim)
    return model(batch.text_feature, eps, batch.size).depth


def sample(model: nn.Module, batch: Batch, rng: DrawRandom) -> Tensor:
    """The depth [B, 1, H, W] in meters of a scene drawn from the caption's distribution."""
    assert batch.text_feature is not None
    eps = rng.normal(model.config.latent_dim, device=batch.text_feature.device)
    return model(batch.text_feature, eps, batch.size).depth


def main() -> None:
    """Hand the stage to the evaluation program."""
    from stage1_vae.stage import STAGE  # which is made of this file

    evaluate(__doc__ or "", STAGE)


if __name__ == "__main__":
    run_program(main)
