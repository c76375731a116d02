"""Score a stage 1 checkpoint: depth from the words alone (the caption's mean scene, eps = 0).

python stage1_vae/eval.py --checkpoint runs/demo/stage1 --split test --json out.json
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.data.batch import Batch
from common.errors import run_program
from common.programs.evaluate import evaluate
from common.programs.text_prior import TextPrior


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """The mean scene's depth [B, 1, H, W] in meters; of the image only its size is used."""
    assert batch.text_feature is not None
    eps = batch.text_feature.new_zeros(len(batch), model.config.latent_dim)
    return model(batch.text_feature, eps, batch.size).depth


def text_prior(model: nn.Module) -> TextPrior:
    """Scenes of the caption's Gaussian: z = mean + eps * std, one latent for the whole image."""
    config = model.config
    return TextPrior(
        config.text_dim,
        lambda size: (config.latent_dim,),
        lambda text_feature, eps, size: model(text_feature, eps, size).depth,
    )


def main() -> None:
    """Hand the stage to the evaluation program."""
    from stage1_vae.stage import STAGE  # which is made of this file

    evaluate(__doc__ or "", STAGE)


if __name__ == "__main__":
    run_program(main)
