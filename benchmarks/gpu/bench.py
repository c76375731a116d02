"""What every part of the GPU benchmark is given: device, sizes, time left, and where rows go."""

import gc
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.networks import NETWORKS, NetworkSizes


@dataclass(frozen=True)
class Choice:
    """Which cases are measured; empty: all of that kind."""

    recipes: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()

    def has(self, recipe: str, variant: str | None = None, batch: int | None = None) -> bool:
        """Whether a case is among them; None: whatever it is."""
        pairs = (
            (self.recipes, recipe),
            (self.variants, variant),
            (self.batches, batch),
        )
        return all(not chosen or one is None or one in chosen for chosen, one in pairs)

    def options(self) -> list[str]:
        """The command line that chooses the same."""
        lists = {"--recipes": self.recipes, "--variants": self.variants, "--batches": self.batches}
        return [word for name, some in lists.items() if some for word in (name, *map(str, some))]


@dataclass
class Bench:
    """A part's surroundings. rows: a file that gets one JSON line for each result, at once.

    deadline: by `time.monotonic`; a part asks `has_time` before it begins something long.
    """

    device: torch.device
    is_tiny: bool
    rows: Path
    deadline: float
    work: Path  # an empty folder for files
    choice: Choice = Choice()
    flop_per_image: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def sizes(self) -> NetworkSizes:
        return NETWORKS["tiny" if self.is_tiny else "published"]

    @property
    def image_size(self) -> tuple[int, int]:
        return (64, 96) if self.is_tiny else (480, 640)

    def has_time(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return time.monotonic() + seconds < self.deadline

    def add(self, what: str, **values: Any) -> None:
        """One result: to the file, and to the terminal."""
        with self.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, **values}) + "\n")
        short = ", ".join(f"{k} {_short(v)}" for k, v in values.items() if not _is_long(v))
        print(f"  {what}: {short}", flush=True)

    def attempt(self, what: str, action: Callable[[], dict[str, Any]], **values: Any) -> None:
        """Add what `action` finds; where it fails, the reason (too little memory is a result)."""
        try:
            found = action()
        except torch.OutOfMemoryError:
            found = {"error": "out of memory"}
        except Exception as error:  # the other cases shall be measured all the same
            traceback.print_exc(file=sys.stderr)
            found = {"error": reason_of(error)}
        self.add(what, **values, **found)
        self.free()

    def free(self) -> None:
        """Give memory back between two cases."""
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def reason_of(error: BaseException) -> str:
    """One line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"


@contextmanager
def products_in(device: torch.device, tf32: bool) -> Iterator[None]:
    """Matrix products and convolutions of float32 with TF32, or in full precision."""
    if device.type != "cuda":
        yield
        return
    # The names of all versions so far; a program must not mix them with `fp32_precision`.
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def seconds_on(device: torch.device, action: Callable[[], Any], repeats: int) -> float:
    """Seconds of one call, of `repeats` in a row after three, the device waited for."""
    for _ in range(3):
        action()
    wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    wait(device)
    return (time.perf_counter() - start) / repeats


def wait(device: torch.device) -> None:
    """Until the GPU, if it is one, has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _is_long(value: Any) -> bool:
    return isinstance(value, list | dict) and len(value) > 0


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
