"""Where numbers come from: commit, versions, machine."""

import os
import platform
import shutil
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


def unused_gpu() -> str | None:
    """One line about a GPU of this machine that torch cannot use; None: all is as it should be."""
    if torch.cuda.is_available() or not _has_nvidia_gpu():
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        if visible.strip() in ("", "-1", "NoDevFiles"):  # the CPU was asked for
            return None
        reason = f"CUDA_VISIBLE_DEVICES={visible} names none of its GPUs; correct it"
    elif torch.version.cuda is None:
        reason = (
            f"this PyTorch ({torch.__version__}) is built without CUDA; install one that has it"
        )
    else:
        reason = (
            f"this PyTorch ({torch.__version__}) is built for CUDA {torch.version.cuda}, for which "
            "the driver may be too old (see nvidia-smi); update the driver, or install a PyTorch "
            "for its CUDA and name that environment's Python in LANGDEPTH_PYTHON"
        )
    return f"WARNING: this machine has an NVIDIA GPU, but everything runs on the CPU: {reason}"


def _has_nvidia_gpu() -> bool:
    """Whether there is a device file (Linux, WSL), or NVIDIA's own program finds a GPU."""
    if any(Path("/dev").glob("nvidia[0-9]*")):
        return True
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        listed = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    return listed.returncode == 0 and "GPU" in listed.stdout


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
