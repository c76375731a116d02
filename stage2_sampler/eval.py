"""Score a stage 2 checkpoint: the words' distribution of scenes, and the image picks one.

python stage2_sampler/eval.py --checkpoint runs/demo/stage2 --split test --json out.json
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
from stage2_sampler.config import Stage2Config
from stage2_sampler.model import load_sampled_vae


def predict(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Depth [B, 1, H, W] in meters of the scene the image picks."""
    return model(batch["image"], batch["text_feature"], batch.get("image_feature")).depth


evaluate = partial(evaluate_dataset, predict=predict)
draw_panels = partial(draw_prediction_panels, predict=predict)
PROGRAM = StageProgram("stage2", Stage2Config, load_sampled_vae, predict)


def main() -> None:
    """See the module's docstring."""
    run_evaluation(__doc__ or "", PROGRAM)


if __name__ == "__main__":
    run_program(main)
