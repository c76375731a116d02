"""Where numbers come from: commit, versions, machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from common.config import REPO_ROOT


def environment() -> dict[str, str]:
    """Where numbers come from: commit, versions, machine."""
    packages = ("torch", "torchvision", "timm", "open_clip_torch", "numpy")
    return {
        "commit": _git_commit(),
        "versions": ", ".join(f"{p} {_version(p)}" for p in packages),
        "python": platform.python_version(),
        "machine": machine(),
    }


def machine() -> str:
    """GPU names, or the processor and its number of cores."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return ", ".join(names)
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name}, {os.cpu_count()} cores"


def _version(package: str) -> str:
    """Not every program needs every package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _git_commit() -> str:
    command = ["git", "-C", str(REPO_ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown (not a git checkout)"
