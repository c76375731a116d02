"""The parts of the GPU benchmark, the most important first, and how long each may take."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.card import measure_card
from benchmarks.gpu.golden import check_attention, check_golden, check_twins
from benchmarks.gpu.loading import measure_loading
from benchmarks.gpu.resuming import check_resuming
from benchmarks.gpu.stalls import count_breaks, count_waits, profile_steps
from benchmarks.gpu.steps import (
    measure_compiled_steps,
    measure_first_steps,
    measure_other_steps,
)


@dataclass(frozen=True)
class TimedPart:
    """What is measured in one process, in order; limit: seconds, start of Python included."""

    limit: float
    measures: tuple[Callable[[Bench], None], ...]


PARTS = {
    "card": TimedPart(40, (measure_card,)),
    "golden": TimedPart(75, (check_golden, check_twins, check_attention)),
    "steps": TimedPart(110, (measure_first_steps,)),
    "stalls": TimedPart(75, (profile_steps, count_waits)),
    "resume": TimedPart(90, (check_resuming,)),
    "compile": TimedPart(200, (measure_compiled_steps,)),
    "graphs": TimedPart(60, (count_breaks,)),
    "loading": TimedPart(50, (measure_loading,)),
    "more_steps": TimedPart(150, (measure_other_steps,)),
}
