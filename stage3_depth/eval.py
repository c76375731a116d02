"""Score a stage 3 checkpoint: metric depth from image and words.

python stage3_depth/eval.py --checkpoint runs/demo/stage3 --split test --json out.json
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.errors import run_program
from common.eval_program import StageProgram, run_evaluation
from common.inference import draw_prediction_panels, evaluate_dataset
from stage3_depth.config import Stage3Config
from stage3_depth.model import load_language_depth


def predict(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Depth [B, 1, H, W] in metres."""
    return model(batch["image"], batch.get("text_feature"), batch.get("image_feature"))


evaluate = partial(evaluate_dataset, predict=predict)
draw_panels = partial(draw_prediction_panels, predict=predict)
PROGRAM = StageProgram("stage3", Stage3Config, load_language_depth, predict)


def main() -> None:
    """See the module's docstring."""
    run_evaluation(PROGRAM, __doc__ or "")


if __name__ == "__main__":
    run_program(main)
