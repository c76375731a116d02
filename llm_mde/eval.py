"""Score an LLM-MDE checkpoint, or write a complete one.

python llm_mde/eval.py --checkpoint runs/demo/llm_mde --split test --json out.json
python llm_mde/eval.py --checkpoint runs/demo/llm_mde --merge complete.pt

A checkpoint of training holds the trained weights and names the frozen ones. `--merge` adds these:
the file it writes loads on a machine that has neither the hub nor the folders they came from. Ours.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torch import Tensor, nn

from common.config_values import resolve_path
from common.data.batch import Batch
from common.errors import run_program
from common.programs.evaluate import evaluate
from common.programs.stage import Stage
from common.runtime.checkpoints import find_checkpoint, load_checkpoint, save_checkpoint
from llm_mde.model import complete_checkpoint


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """Depth [B, 1, H, W] in meters."""
    return model(batch.image, batch.caption, batch.image_feature)


def merge(stage: Stage, arguments: list[str]) -> None:
    """Write the complete checkpoint that `--merge` names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, metavar="PATH")
    parser.add_argument("--merge", required=True, metavar="OUT.pt")
    options = parser.parse_args(arguments)
    place = resolve_path(options.checkpoint, True)
    path = find_checkpoint(stage.name, stage.folder, "--checkpoint PATH", place)
    saved = load_checkpoint(path, stage=stage.name, recipes=(stage.recipe,))
    out = Path(options.merge)
    save_checkpoint(out, complete_checkpoint(saved))
    sizes = [file.stat().st_size / 2**20 for file in (out, path)]
    print(f"wrote {out} ({sizes[0]:.1f} MiB; {sizes[1]:.1f} MiB before)")


def main() -> None:
    """Merge, or hand the stage to the evaluation program."""
    from llm_mde.stage import STAGE  # which is made of this file

    arguments = sys.argv[1:]
    if any(argument.partition("=")[0] == "--merge" for argument in arguments):
        merge(STAGE, arguments)
    else:
        evaluate(__doc__ or "", STAGE)


if __name__ == "__main__":
    run_program(main)
