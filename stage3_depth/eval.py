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
from common.programs.evaluation import StageProgram, run_evaluation
from common.programs.inference import draw_prediction_panels, evaluate_dataset
from stage3_depth.config import JointStageConfig, Stage3Config
from stage3_depth.joint_model import load_joint
from stage3_depth.model import load_language_depth


def predict(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Depth [B, 1, H, W] in meters."""
    return model(batch["image"], batch.get("text_feature"), batch.get("image_feature"))


evaluate = partial(evaluate_dataset, predict=predict)
draw_panels = partial(draw_prediction_panels, predict=predict)
PROGRAM = StageProgram("stage3", Stage3Config, load_language_depth, predict)


def predict_joint(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Depth [B, 1, H, W] in meters of the joint network's image step."""
    return model(batch["image"], batch["text_feature"]).depth


evaluate_joint = partial(evaluate_dataset, predict=predict_joint)
draw_panels_joint = partial(draw_prediction_panels, predict=predict_joint)
JOINT, JOINT_LEGACY = (
    StageProgram("stage3", JointStageConfig, load_joint, predict_joint, recipe)
    for recipe in ("joint", "joint-legacy")
)


def main() -> None:
    """See the module's docstring."""
    run_evaluation(__doc__ or "", PROGRAM, JOINT, JOINT_LEGACY)


if __name__ == "__main__":
    run_program(main)
