"""Real training runs on generated frames, for the benchmarks that start programs."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.frames import write_nyu
from benchmarks.process_memory import PROC
from common.config import REPO_ROOT
from common.errors import UserError

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Outcome:
    """A run's metrics.jsonl lines of training, and when (seconds from the command) each was seen.

    A step's line is seen within 20 ms. cpu_seconds: of the processors. peak_gigabytes: of the
    process that was started, on Linux.
    """

    lines: list[dict[str, Any]]
    seen_at: list[float]
    seconds: float
    cpu_seconds: float = 0.0
    peak_gigabytes: float = 0.0


def write_config(
    folder: Path, num_entries: int, size: tuple[int, int], model: dict[str, Any]
) -> Path:
    """A data root of generated frames and a stage 1 config for it; returns the config."""
    data = write_nyu(folder / "data", num_entries, size=size, text_dim=model["text_dim"])
    content = {
        "experiment": "benchmark",
        "output_root": str(folder / "runs"),
        "data": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(data).items()},
        "text": {"features": "text.safetensors"},
        "model": model,
        "train": {"log_every": 1, "resume": False, "num_workers": 0},
        "eval": {"every": 10**9, "protocol": "none", "batch_size": 4},
    }
    path = folder / "stage1.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run_stage1(config: Path, arguments: Sequence[str], **variables: str) -> Outcome:
    """Start stage 1 as `train.sh` does, wait for its end, and note when its lines appear.

    variables: of the environment; NPROC is the number of processes.
    """
    program = [
        REPO_ROOT / "common" / "runtime" / "launcher.py",
        REPO_ROOT / "stage1_vae" / "train.py",
    ]
    command = [sys.executable, *map(str, program), str(config), *arguments]
    lines = config.parent / "runs" / "benchmark" / "stage1" / "metrics.jsonl"
    lines.unlink(missing_ok=True)
    log = config.parent / "output.txt"
    start = time.perf_counter()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **variables}, stdout=output, stderr=output
        )
        seen_at, used, peak = _watch(process, lines, start)
    seconds = time.perf_counter() - start
    if process.returncode:
        reason = (log.read_text(encoding="utf-8").strip().splitlines() or ["no message"])[-1]
        raise UserError(f"the training run ended with code {process.returncode}: {reason}")
    cpu_seconds = used.ru_utime + used.ru_stime
    return Outcome(_training_lines(lines), seen_at, seconds, cpu_seconds, peak)


def _watch(
    process: subprocess.Popen, lines: Path, start: float
) -> tuple[list[float], resource.struct_rusage, float]:
    """When each training line was there first, what the process used, and its peak of memory (GB).

    The kernel's own peak (`ru_maxrss`) counts that of the process which starts it.
    """
    seen_at: list[float] = []
    peak = 0.0
    while True:
        peak = max(peak, _peak_gigabytes(process.pid))
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)
            return seen_at, used, peak
        new = len(_training_lines(lines)) - len(seen_at)
        seen_at += [time.perf_counter() - start] * new
        time.sleep(POLL_SECONDS)


def _peak_gigabytes(pid: int) -> float:
    """So far; 0 of a process that is gone, or on other systems."""
    try:
        lines = (PROC / str(pid) / "status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e6


def last_line(path: Path) -> str | None:
    """The last whole line of a file that is being written; None: there is none yet."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 4096))
        whole = file.read().decode("utf-8").rpartition("\n")[0]
    return whole.splitlines()[-1] if whole else None


def _training_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]  # the last may be half-written
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line for line in lines if line["kind"] == "train"]
