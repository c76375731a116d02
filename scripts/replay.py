"""Do a training step once more whose loss or gradient was not finite.

    python scripts/replay.py runs/nyu/stage3/dumps/step_0000124.pt
    python scripts/replay.py runs/nyu/stage3/dumps/step_0000124.pt --device cpu

A run that stops at such a step writes the file and names it: the weights before the step, the batch
and the random numbers' place. Prints the loss terms beside those of the training, which parameters
have a gradient that is not finite, which inputs are not, and the first part of the network whose
output is not. On the CPU of the training's machine the numbers are the same bit for bit. Exit code
0: the step came out as in training, 1: it did not.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor, nn

from common.config import build_config
from common.data.batch import Batch
from common.errors import UserError, run_program
from common.programs.session import bind_task
from common.programs.step_dumps import StepDump, same_numbers
from scripts.prediction.trained import stage_of

MOST_NAMES = 8  # of parameters in a line


def main() -> None:
    """Read, repeat, compare."""
    arguments = _parse()
    dump = StepDump(Path(arguments.dump))
    device = _device(arguments.device or dump.device)
    torch.set_num_threads(dump.num_threads)
    stage = stage_of(dump.content, dump.path)
    config = build_config(stage.config_type, dump.content["config"])
    model = stage.load(dump.content).to(device)
    print(f"{stage.name} ({stage.recipe}), step {dump.record.step + 1}, {len(dump.images)} images, "
          f"{device}, {dump.precision}")  # fmt: skip
    for line in _describe_inputs(dump):
        print(line)
    with _first_broken(model) as broken:
        repeated = dump.repeat(stage, config, model, bind_task(stage, config), device)
    is_same = _compare_terms(dump, repeated.terms)
    is_same &= _compare_gradient(dump, repeated.grad_norms)
    if broken:
        print(f"first output that is not finite: {broken[0]}")
    print("the same as in training" if is_same else _why_not(dump, device))
    if not is_same:
        raise SystemExit(1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dump", metavar="DUMP", help="RUN/dumps/step_NUMBER.pt")
    parser.add_argument("--device", metavar="NAME", help="cpu or cuda; default: the training's")
    return parser.parse_args()


def _device(name: str) -> torch.device:
    if name not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: must be cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("the step was trained on a GPU and there is none here; add --device cpu")
    return torch.device(name)


def _describe_inputs(dump: StepDump) -> Iterator[str]:
    yield f"images: {', '.join(dump.images)}"
    for part in dump.record.parts:
        for row, key in enumerate(part.key):
            for name in _broken_inputs(part, row):
                yield f"{key}: {name} holds values that are not finite"


def _broken_inputs(part: Batch, row: int) -> list[str]:
    inputs = {
        "image": part.image,
        "ground truth": part.gt_depth,
        "text feature": part.text_feature,
        "image feature": part.image_feature,
    }
    return [n for n, t in inputs.items() if t is not None and not bool(t[row].isfinite().all())]


@contextmanager
def _first_broken(model: nn.Module) -> Iterator[list[str]]:
    """Names of the modules whose output was not finite, in the order in which they gave it."""
    broken: list[str] = []

    def look(name: str, output: Any) -> None:
        tensors = output if isinstance(output, tuple | list) else [output]
        if any(isinstance(t, Tensor) and not bool(t.isfinite().all()) for t in tensors):
            broken.append(name)

    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: look(name, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        yield broken
    finally:
        for hook in hooks:
            hook.remove()


def _compare_terms(dump: StepDump, terms: dict[str, Tensor]) -> bool:
    is_same = terms.keys() == dump.terms.keys()
    for name, before in dump.terms.items():
        now = terms.get(name, torch.tensor(float("nan"))).cpu()
        equal = same_numbers(now, before)
        note = "the same" if equal else f"in training {before.item():.9g}"
        print(f"{name}: {now.item():.9g} ({note})")
        is_same &= equal or _is_close(now.item(), before.item(), dump)
    return is_same


def _compare_gradient(dump: StepDump, norms: dict[str, float]) -> bool:
    broken = [name for name, norm in norms.items() if not math.isfinite(norm)]
    before = [name for name, norm in dump.grad_norms.items() if not math.isfinite(norm)]
    if broken:
        more = f" and {len(broken) - MOST_NAMES} more" if len(broken) > MOST_NAMES else ""
        print(f"gradient: not finite in {len(broken)} of {len(norms)} parameters: "
              f"{', '.join(broken[:MOST_NAMES])}{more}")  # fmt: skip
    else:
        total = math.sqrt(sum(norm**2 for norm in norms.values()))
        print(f"gradient: finite, norm {total:.6g}")
    return not dump.grad_norms or broken == before


def _is_close(now: float, before: float, dump: StepDump) -> bool:
    """A GPU's kernels may add in another order; a CPU's do not."""
    if not (math.isfinite(now) and math.isfinite(before)):
        return repr(now) == repr(before)
    return dump.device != "cpu" and math.isclose(now, before, rel_tol=1e-3)


def _why_not(dump: StepDump, device: torch.device) -> str:
    reasons = []
    version = torch.__version__.split("+")[0]
    if str(device.type) != dump.device:
        reasons.append(f"it was trained on {dump.device}")
    if version != dump.torch:
        reasons.append(f"with PyTorch {dump.torch}, this is {version}")
    return "not the same as in training" + (f": {', '.join(reasons)}" if reasons else "")


if __name__ == "__main__":
    run_program(main)
