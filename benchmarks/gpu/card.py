"""The card: what it is, and how fast its matrix products and copies are."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.gpu.bench import Bench, products_in, seconds_on


def measure_card(bench: Bench) -> None:
    """TFLOP/s of square matrix products in three formats, and GB/s of copies."""
    bench.add("card", **describe(bench.device))
    side = 256 if bench.is_tiny else 8192
    for name, dtype, tf32 in (
        ("bf16", torch.bfloat16, False),
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
    ):
        a, b = torch.randn(2, side, side, device=bench.device).to(dtype)
        with products_in(bench.device, tf32):
            seconds = seconds_on(bench.device, multiply(a, b), 3 if dtype == torch.float32 else 20)
        bench.add(f"matrix product {name}", tflops=2 * side**3 / seconds / 1e12, side=side)
        del a, b
    count = 2**20 if bench.is_tiny else 2**30
    source = torch.ones(count, dtype=torch.uint8, device=bench.device)
    seconds = seconds_on(bench.device, source.clone, 10)
    bench.add("copy on the device", gb_per_s=2 * count / seconds / 1e9)
    if bench.device.type == "cuda":
        host = torch.ones(2**28, dtype=torch.uint8).pin_memory()
        seconds = seconds_on(bench.device, lambda: host.to(bench.device, non_blocking=True), 5)
        bench.add("copy to the device, pinned", gb_per_s=len(host) / seconds / 1e9)


def multiply(a: torch.Tensor, b: torch.Tensor) -> Callable[[], torch.Tensor]:
    """The product of the two, into memory that is there already."""
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def describe(device: torch.device) -> dict[str, str | float]:
    """Name, memory, versions, power limit."""
    if device.type != "cuda":
        return {"name": "no GPU"}
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_gb": properties.total_memory / 2**30,
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "driver": query("driver_version"),
        "power_limit": query("power.limit"),
        "clock": query("clocks.max.sm"),
        "cores": os.cpu_count() or 1,
        "shared_memory_gb": shared_memory_gb(),
    }


def shared_memory_gb() -> float:
    """Room for the batches that workers hand on."""
    place = Path("/dev/shm")
    return shutil.disk_usage(place).total / 2**30 if place.is_dir() else 0.0


def query(name: str) -> str:
    """What nvidia-smi says, if it is there."""
    command = ["nvidia-smi", f"--query-gpu={name}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return (done.stdout.strip().splitlines() or ["unknown"])[0]
