"""Loading beside training: what workers give, and what a training step is left waiting for."""

import argparse
from functools import partial
from typing import Any

from benchmarks.data_loading import open_dataset, worker_rows
from benchmarks.frames import write_nyu
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.recipes import network_of, optimizer_of, step_of
from common.data.dataset import DepthDataset
from common.data.sampling import StepSampler, train_loader
from common.engine.loop import Hooks, Plan, Task, fit
from common.engine.train_config import TrainConfig
from common.runtime.processes import Processes

WORKERS = (8, 16)
FED = "joint-image"  # the heavy recipe that needs no CLIP features of images
WINDOW, WINDOWS = 10, 3  # steps between two log lines; the last line counts


def measure_loading(bench: Bench) -> None:
    """Images/s of loaders with workers, then of training that is fed by one."""
    entries = 16 if bench.is_tiny else 400
    data = write_nyu(
        bench.work / "frames", entries, size=bench.image_size, text_dim=bench.sizes.vae.text_dim
    )
    dataset = open_dataset(data, generated=True)
    for workers in (1, 2) if bench.is_tiny else WORKERS:
        arguments = argparse.Namespace(workers=workers, rounds=2)
        action = partial(loader_speed, dataset, arguments)
        bench.attempt(f"loader, {workers} workers", action)
    workers, batch = (2, 2) if bench.is_tiny else (WORKERS[-1], 16)
    action = partial(fed_training, dataset, workers, batch, bench)
    bench.attempt(f"{FED} bf16, fed by {workers} workers", action, batch=batch)


def loader_speed(dataset: DepthDataset, arguments: argparse.Namespace) -> dict[str, Any]:
    """Images/s, the workers started and their prefetched batches used up."""
    (row,) = worker_rows({"generated frames": dataset}, arguments)
    return {"images_per_s": row.median}


def fed_training(dataset: DepthDataset, workers: int, batch: int, bench: Bench) -> dict[str, Any]:
    """A real loop with a real loader; what its last log line says."""
    total = WINDOWS * WINDOW
    config = TrainConfig(batch_size=batch, max_steps=total, precision="bf16", log_every=WINDOW)
    network = network_of(FED, bench)
    sampler = StepSampler(len(dataset), batch, batch, num_steps=total)
    lines: list[dict[str, float]] = []
    fit(
        network,
        Task(step_of(FED)),
        iter(train_loader(dataset, sampler, workers, bench.device.type == "cuda")),
        optimizer_of(FED, network, config),
        Plan(config, seed=0, start_step=0, total_steps=total, evaluate_every=total + 1),
        Hooks(
            log=lambda step, values: lines.append(values),
            evaluate=lambda step: None,
            save=lambda step: None,
        ),
        Processes(0, 1, bench.device),
    )
    last = lines[-1]
    return {
        "images_per_s": last["images_per_s"],
        "ms": 1e3 * last["step_seconds"],
        "data_ms": 1e3 * last["data_seconds"],
    }
