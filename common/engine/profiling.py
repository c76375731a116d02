"""Where the time of a training step goes: `train.profile=true` writes a trace of a few steps.

    sh stage1_vae/train.sh configs/demo/stage1.yaml train.profile=true

The file `RUN/profile/from_step_6.pt.trace.json.gz` opens in https://ui.perfetto.dev, chrome://tracing
or TensorBoard (with its torch-tb-profiler plugin). Only the main process writes one.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from common.files import whole_file

WAIT = 4  # the first steps allocate memory, start workers and choose kernels
WARM_UP = 1  # the profiler's own
ACTIVE = 3


@contextmanager
def profile_steps(
    folder: Path, device: torch.device, log: Callable[[str], None], first_step: int = 0
) -> Iterator[Callable[[], None]]:
    """Trace the 6th to 8th step after `first_step`; yields what to call after each step.

    A run that ends earlier leaves a shorter trace, or none and a line in the log that says so.
    """
    written: list[Path] = []
    start = first_step + WAIT + WARM_UP + 1

    def write(profiler: profile) -> None:
        path = folder / f"from_step_{start}.pt.trace.json.gz"
        with whole_file(path) as temporary:
            profiler.export_chrome_trace(str(temporary))
        written.append(path)
        log(f"profile from step {start} on: {path} (open it in ui.perfetto.dev)")

    with profile(
        activities=_activities(device),
        schedule=schedule(wait=WAIT, warmup=WARM_UP, active=ACTIVE, repeat=1),
        on_trace_ready=write,
        record_shapes=True,
        profile_memory=True,
    ) as profiler:
        yield profiler.step
    if not written:
        log(f"train.profile: no trace, the run ended before step {start}; raise train.max_steps")


def _activities(device: torch.device) -> list[ProfilerActivity]:
    on_gpu = [ProfilerActivity.CUDA] if device.type == "cuda" else []
    return [ProfilerActivity.CPU, *on_gpu]
