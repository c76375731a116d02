"""Score a stage 1 checkpoint: depth from the words alone (the caption's mean scene, eps = 0).

python stage1_vae/eval.py --checkpoint runs/demo/stage1 --split test --json out.json
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.errors import run_program
from common.programs.evaluation import StageProgram, run_evaluation
from common.programs.inference import draw_prediction_panels, evaluate_dataset
from stage1_vae.config import Stage1Config
from stage1_vae.model import load_text_vae


def predict(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """The mean scene's depth [B, 1, H, W] in meters; of the image only its size is used."""
    text = batch["text_feature"]
    eps = text.new_zeros(len(text), model.config.latent_dim)
    return model(text, eps, tuple(batch["image"].shape[-2:])).depth


evaluate = partial(evaluate_dataset, predict=predict)
draw_panels = partial(draw_prediction_panels, predict=predict)
PROGRAM = StageProgram("stage1", Stage1Config, load_text_vae, predict)


def main() -> None:
    """See the module's docstring."""
    run_evaluation(__doc__ or "", PROGRAM)


if __name__ == "__main__":
    run_program(main)
