"""Score an LLM-MDE checkpoint, or write a complete one.

python llm_mde/eval.py --checkpoint runs/demo/llm_mde --split test --json out.json
python llm_mde/eval.py --checkpoint runs/demo/llm_mde --merge complete.pt

A checkpoint of training holds the trained weights and names the frozen ones. `--merge` adds these:
the file it writes loads on a machine that has neither the hub nor the folders they came from.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.config import resolve_path
from common.errors import run_program
from common.programs.evaluation import StageProgram, run_evaluation
from common.programs.inference import draw_prediction_panels, evaluate_dataset
from common.runtime.checkpoints import find_checkpoint, load_checkpoint, save_checkpoint
from llm_mde.config import LLMMDEConfig
from llm_mde.model import complete_checkpoint, load_llm_depth


def predict(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Depth [B, 1, H, W] in meters."""
    return model(batch["image"], batch["caption"], batch.get("image_feature"))


evaluate = partial(evaluate_dataset, predict=predict)
draw_panels = partial(draw_prediction_panels, predict=predict)
PROGRAM = StageProgram("llm_mde", LLMMDEConfig, load_llm_depth, predict, "llm-mde")


def merge(words: list[str]) -> None:
    """Write the complete checkpoint that `--merge` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, metavar="PATH")
    parser.add_argument("--merge", required=True, metavar="OUT.pt")
    arguments = parser.parse_args(words)
    place = resolve_path(arguments.checkpoint, True)
    path = find_checkpoint(place, PROGRAM.stage, "--checkpoint PATH")
    saved = load_checkpoint(path, stage=PROGRAM.stage, recipes=(PROGRAM.recipe,))
    out = Path(arguments.merge)
    save_checkpoint(out, complete_checkpoint(saved))
    print(f"wrote {out} ({out.stat().st_size / 2**20:.1f} MiB; {path.stat().st_size / 2**20:.1f} "
          "MiB before)")  # fmt: skip


def main() -> None:
    """See the module's docstring."""
    words = sys.argv[1:]
    if any(word.partition("=")[0] == "--merge" for word in words):
        merge(words)
    else:
        run_evaluation(__doc__ or "", PROGRAM)


if __name__ == "__main__":
    run_program(main)
