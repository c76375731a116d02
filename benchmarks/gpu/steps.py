"""Training steps at published sizes: images/s, memory, and how much of the card they use.

`plain` is the published step in float32 eager PyTorch (`benchmarks/plain_steps.py`), the others are
this project's loop. Arithmetic is counted once for each network by PyTorch's `FlopCounterMode`, so
TFLOP/s of this project's variants are of the work it does, and activation checkpointing's second
forward pass does not count. Float32 is PyTorch's default: products in full, convolutions in TF32.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import count as count_from
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.bench import Bench
from benchmarks.gpu.recipes import LLM_MDE, RECIPES, batch_of, network_of, step_of
from benchmarks.gpu.stalls import profile_network
from benchmarks.gpu.stepping import StepClock, _Enough, run_steps
from benchmarks.plain_steps import plain_loss, plain_step
from benchmarks.train_step import checkpoint_activations
from common.data.batch import Batch
from common.engine.log_window import memory_gb
from common.networks.fast import plain
from common.networks.layers import trainable_parameters
from common.runtime.precision import autocast
from common.runtime.processes import Processes, compile_if_possible
from common.runtime.randomness import StepRandom

# (variant, batch) in the order of what one wants to know first.
FIRST = (("bf16", 16), ("fp32", 4), ("plain", 4))
REST = (
    ("checkpointing", 16),
    ("bf16", 4),
    ("bf16", 1),
    ("fp32", 16),
    ("plain", 16),
    ("plain", 1),
    ("fp32", 1),
)
LARGEST_SECONDS = 10.0  # that a case may take, about
PROFILE_SECONDS = 20.0
WITHOUT_ENCODER = ("stage1", "joint-text")


def measure_first_steps(bench: Bench) -> None:
    """The cases that matter most, of every recipe."""
    measure_cases(bench, FIRST)


def measure_other_steps(bench: Bench) -> None:
    """The other batches and variants."""
    measure_cases(bench, REST)


def measure_compiled_steps(bench: Bench) -> None:
    """bf16 with `train.compile`, the heaviest recipe first; compiling takes a minute or more."""
    measure_cases(bench, (("compile", 16),))


def measure_cases(bench: Bench, cases: tuple[tuple[str, int], ...]) -> None:
    """Each case for every recipe that has it, while there is time."""
    needed = LARGEST_SECONDS
    for variant, batch, what in _applicable(cases, bench):
        if not bench.has_time(needed):
            bench.add(what, variant=variant, batch=batch, error="no time left")
            continue
        start = time.monotonic()
        count = min(batch, 2) if bench.is_tiny else batch
        action = partial(measure_step, what, variant, count, bench)
        bench.attempt(what, action, variant=variant, batch=count)
        if variant == "compile":  # the next one may take as long
            needed = max(needed, time.monotonic() - start)


def _applicable(cases: tuple[tuple[str, int], ...], bench: Bench) -> Iterator[tuple[str, int, str]]:
    for variant, batch in cases:
        for what in RECIPES:
            if not bench.choice.has(what, variant, batch):
                continue
            no_plain_form = variant == "plain" and what == LLM_MDE
            no_encoder = variant == "checkpointing" and what in (*WITHOUT_ENCODER, LLM_MDE)
            if not (no_plain_form or no_encoder):
                yield variant, batch, what


def measure_step(what: str, variant: str, count: int, bench: Bench) -> dict[str, Any]:
    """Speed and memory of one case."""
    flop = flop_of_image(what, "plain" if variant == "plain" else "ours", bench)
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(bench.device)
    begin = time.perf_counter()
    clock = StepClock(bench.device)
    if variant == "plain":
        run_plain(what, count, bench, clock)
    else:
        network, taken, trains = run_ours(what, variant, count, bench, clock)
    seconds = clock.seconds()
    median = statistics.median(seconds)
    found = {
        "images_per_s": count / median,
        "ms": 1e3 * median,
        "ms_lowest": 1e3 * min(seconds),
        "ms_highest": 1e3 * max(seconds),
        "memory_gb": memory_gb(bench.device),
        "reserved_gb": reserved_gb(bench.device),
        "tflops": flop * count / median / 1e12,
        "gflop_per_image": flop / 1e9,
        "steps": len(seconds),
    }
    if variant != "plain":
        found["trains"] = trains
    if variant == "compile":
        found["first_step_s"] = clock.first_done - begin
        if bench.has_time(PROFILE_SECONDS):
            action = partial(profile_network, what, network, taken, median, bench)
            bench.attempt(f"profile {what} compiled", action)
    return found


def run_ours(
    what: str, variant: str, count: int, bench: Bench, clock: StepClock
) -> tuple[nn.Module, Batch, bool]:
    """This project's loop; returns what it trained, on what, and whether the weights changed.

    They stay as they are where every gradient is infinite or not a number.
    """
    network = network_of(what, bench)
    weights = trainable_parameters(network)
    before = [parameter.detach().sum() for parameter in weights]
    if variant == "checkpointing":
        checkpoint_activations(network)
    if variant == "compile":
        torch._dynamo.reset()
        processes = Processes(0, 1, bench.device)
        network = compile_if_possible(network, processes, refuse)
    batch = batch_of(what, count, bench)
    run_steps(what, network, batch, "fp32" if variant == "fp32" else "bf16", bench, clock)
    after = [parameter.detach().sum() for parameter in weights]
    changed = torch.stack(before) != torch.stack(after)
    is_finite = torch.stack(after).isfinite().all()
    return network, batch, bool(changed.any() & is_finite)


def refuse(reason: str) -> None:
    """A case that would silently be another one."""
    raise RuntimeError(reason)


def run_plain(what: str, count: int, bench: Bench, clock: StepClock) -> None:
    """The published step, its batch on the device already."""
    network, batch = network_of(what, bench), batch_of(what, count, bench).to(bench.device)
    with bench.device:  # its constants are made where the default device is
        step = plain_step(what, network, batch, bench.sizes)
        with suppress(_Enough):
            for number in count_from(0):
                step(number)
                clock()


def flop_of_image(what: str, form: str, bench: Bench) -> float:
    """Of forward and backward, for one image; counted once, in bf16 (`plain`: float32)."""
    if (what, form) not in bench.flop_per_image:
        bench.flop_per_image[what, form] = count_flop(what, form, bench)
        bench.free()
    return bench.flop_per_image[what, form]


def count_flop(what: str, form: str, bench: Bench) -> float:
    """See `flop_of_image`."""
    network, batch = network_of(what, bench), batch_of(what, 1, bench).to(bench.device)
    rng = StepRandom(0, 0, 1, 0, 1)
    with FlopCounterMode(display=False) as counter:
        if form == "plain":
            with bench.device:
                loss = plain_loss(what, network, bench.sizes)[0](batch, rng)
        else:
            # The counter knows PyTorch's own operations only.
            with plain("window-kernel"), autocast("bf16", bench.device):
                loss = step_of(what)(network, batch, rng, {})["total"]
        loss.backward()
    return float(counter.get_total_flops())


def reserved_gb(device: torch.device) -> float:
    """What the allocator took from the card at most."""
    return torch.cuda.max_memory_reserved(device) / 2**30 if device.type == "cuda" else 0.0
