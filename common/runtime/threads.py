"""With how many threads torch computes on the CPU.

The threads of a step wait for each other many times, turning. Beside another program on the same
cores every such wait lasts as long as that program's turn: with one thread too many a step can take
fifty times as long, with as many as there are free cores about as long as on a quiet machine.
"""

import os
import time

import torch

from common.runtime.cores import STARTED, LoadMeter, allowed_cores, num_cores

CHOSEN_BY_USER = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
LEAST_SECONDS = 0.3  # of looking at the machine's load
ROUNDING = 0.4  # a core that is idle for 60 % of the time gets a thread


def are_chosen() -> bool:
    """Whether the user's environment says how many threads there are."""
    return any(os.environ.get(name) for name in CHOSEN_BY_USER)


def free_threads(meter: LoadMeter = STARTED) -> tuple[int, float]:
    """How many threads have a core each, and how many cores other programs keep busy."""
    time.sleep(max(0.0, LEAST_SECONDS - meter.seconds))
    others = meter.others() or 0.0
    free = min(float(num_cores()), len(allowed_cores()) - others)
    return max(1, int(free + ROUNDING)), others


def fit_threads(device: torch.device, meter: LoadMeter = STARTED) -> str | None:
    """Compute with as many threads as cores are free; returns a line if others keep some busy.

    device: where the work is done; beside a GPU the number of threads hardly matters, and stays.
    """
    most = min(torch.get_num_threads(), num_cores())
    if device.type != "cpu" or are_chosen() or torch.get_num_threads() == 1:
        return None
    free, others = free_threads(meter)
    torch.set_num_threads(min(most, free))
    if free >= most:
        return None
    return (
        f"computes with {free} of {num_cores()} cores, as other programs keep {others:.1f} busy; "
        "OMP_NUM_THREADS=N sets another number"
    )


def threads_of_run(num_processes: int) -> dict[str, int]:
    """What decides the order in which a run's sums are added up, for its checkpoint."""
    return {"processes": num_processes, "threads": torch.get_num_threads()}


def resume_threads(
    began: dict[str, int] | None,
    num_processes: int,
    device: torch.device,
    meter: LoadMeter = STARTED,
) -> str | None:
    """Compute with the threads that a run began with, and return what is to be said of them.

    began: see `threads_of_run`. None, or another number of processes: as `fit_threads`.
    """
    if not began or began["processes"] != num_processes:
        return fit_threads(device, meter)
    threads = began["threads"]
    if device.type == "cpu" and not are_chosen() and threads <= num_cores():
        free, others = free_threads(meter)
        torch.set_num_threads(threads)
        if free < threads:
            return (
                f"computes with {threads} threads as when it began, though other programs keep "
                f"{others:.1f} of {num_cores()} cores busy; stop it (Ctrl-C saves) and give the "
                f"command after OMP_NUM_THREADS={free} if it is slow"
            )
    if threads == torch.get_num_threads():
        return None
    return (
        f"this run began with {threads} thread(s) and goes on with {torch.get_num_threads()}: last "
        "digits may differ from those of a run that was not stopped"
    )
