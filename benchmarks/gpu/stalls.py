"""What stops a step: waits for the GPU, breaks in compiled graphs, and the longest kernels."""

import statistics
import traceback
import warnings
from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.bench import Bench, wait
from benchmarks.gpu.recipes import RECIPES, batch_of, network_of
from benchmarks.gpu.stepping import StepClock, run_steps
from common.config import REPO_ROOT
from common.data.batch import Batch

STEADY = 4  # steps before anything is counted
COUNTED = 5
TOP = 15
BATCH = 16  # of the profile
SPANS = ("Optimizer.", "ProfilerStep")  # named stretches of time with kernels in them
PROFILED = ("stage3", "joint-image")


def count_waits(bench: Bench) -> None:
    """Synchronizing calls of a steady bf16 step, and where they come from."""
    for what in filter(bench.choice.has, RECIPES):
        bench.attempt(f"waits {what}", partial(waits_of, what, bench))


def waits_of(what: str, bench: Bench) -> dict[str, Any]:
    """Counted by PyTorch's synchronization debug mode in the real loop, between two log lines."""
    places: Counter[str] = Counter()
    steps = 0

    def count(message: Any, *_: Any) -> None:
        if "synchroniz" in str(message):
            places[own_place()] += 1

    def after_step() -> None:
        nonlocal steps
        steps += 1
        if bench.device.type == "cuda":
            is_counted = STEADY <= steps < STEADY + COUNTED
            torch.cuda.set_sync_debug_mode("warn" if is_counted else "default")

    network, batch = network_of(what, bench), batch_of(what, 2 if bench.is_tiny else 4, bench)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = count  # type: ignore[assignment]
            run_steps(what, network, batch, "bf16", bench, after_step, STEADY + COUNTED + 1)
    finally:
        if bench.device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    per_step = {place: number / COUNTED for place, number in places.most_common()}
    return {"per_step": sum(per_step.values()), "places": per_step}


def own_place() -> str:
    """The innermost line of this repository on the stack, this file left out."""
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith(str(REPO_ROOT)) and frame.filename != __file__:
            path = frame.filename.removeprefix(f"{REPO_ROOT}/")
            if not path.startswith(".venv"):
                return f"{path}:{frame.lineno}"
    return "elsewhere"


def count_breaks(bench: Bench) -> None:
    """Graphs, breaks and recompiled graphs of each recipe, of tiny networks of the same code."""
    tiny = Bench(bench.device, True, bench.rows, bench.deadline, bench.work)
    for what in filter(bench.choice.has, RECIPES):
        tiny.attempt(f"graphs {what}", partial(breaks_of, what, tiny))


def breaks_of(what: str, bench: Bench) -> dict[str, Any]:
    """Counted by a compiler that changes nothing, in four steps."""
    from torch._dynamo.utils import counters

    compiled, per_step = [], []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    counters.clear()
    network = torch.compile(network_of(what, bench), backend=backend)
    run_steps(
        what,
        network,
        batch_of(what, 2, bench),
        "bf16",
        bench,
        lambda: per_step.append(len(compiled)),
        count=4,
    )
    reasons = {str(reason)[:300]: number for reason, number in counters["graph_break"].items()}
    return {
        "graphs": per_step[0],
        "breaks": sum(reasons.values()),
        "recompiled": per_step[-1] - per_step[0],
        "operations": sum(len(graph.graph.nodes) for graph in compiled),
        "reasons": reasons,
    }


def profile_steps(bench: Bench) -> None:
    """Where the time of a bf16 step goes, kernel by kernel."""
    for what in filter(bench.choice.has, PROFILED):
        count = 2 if bench.is_tiny else BATCH
        bench.attempt(f"profile {what}", partial(profile_of, what, count, bench), batch=count)


def profile_of(what: str, count: int, bench: Bench) -> dict[str, Any]:
    """Three steps under the profiler; the time of a step is taken without it."""
    network, batch = network_of(what, bench), batch_of(what, count, bench)
    clock = StepClock(bench.device)
    run_steps(what, network, batch, "bf16", bench, clock)
    return profile_network(what, network, batch, statistics.median(clock.seconds()), bench)


def profile_network(
    what: str, network: nn.Module, batch: Batch, seconds: float, bench: Bench
) -> dict[str, Any]:
    """The same of a network that has taken steps already, of so many seconds each."""
    on_gpu = bench.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    profiler = profile(activities=activities)
    steps = 0

    def after_step() -> None:
        nonlocal steps
        steps += 1
        if steps == STEADY:
            wait(bench.device)
            profiler.start()
        if steps == STEADY + 3:
            wait(bench.device)
            profiler.stop()

    run_steps(what, network, batch, "bf16", bench, after_step, STEADY + 3)
    events = profiler.key_averages()
    kernels = [
        e
        for e in events
        if (e.device_type == DeviceType.CUDA) == on_gpu and not e.key.startswith(SPANS)
    ]
    own_time = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    operations = [e for e in events if e.device_type == DeviceType.CPU]
    total = sum(getattr(e, own_time) for e in kernels) / 3e3
    ms = 1e3 * seconds
    runtime = {e.key: e.count / 3 for e in operations if "ynchronize" in e.key}
    copies = {e.key: e.count / 3 for e in kernels if e.key.startswith("Memcpy")}
    return {
        "ms": ms,
        "kernel_ms": total,
        "busy": total / ms,
        "launches": sum(e.count for e in kernels) / 3,
        "kernels": top(kernels, own_time),
        "operations": top(operations, own_time),
        "waits": runtime,  # of the profiler itself: two in three steps
        "copies": copies,
    }


def top(events: list[Any], own_time: str) -> list[dict[str, Any]]:
    """The longest, in ms for each step."""
    ordered = sorted(events, key=lambda e: getattr(e, own_time), reverse=True)[:TOP]
    return [
        {"name": e.key[:160], "ms": getattr(e, own_time) / 3e3, "calls": e.count / 3}
        for e in ordered
    ]
