"""Whether a resumed run ends with the numbers of an uninterrupted one, bit for bit, on a GPU."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.gpu.bench import Bench
from benchmarks.launching import write_config
from common.config import REPO_ROOT
from common.networks.layers import padded_size

STEPS = 8
SIZE = (96, 128)
MODEL: dict[str, Any] = {
    "text_dim": 64,
    "hidden_dims": [64, 32],
    "decoder_channels": [64, 32, 16],
    "code_channels": 16,
    "metric_hidden": 16,
    "encoder": {
        "embed_dim": 32,
        "depths": [1, 2, 2, 1],
        "num_heads": [1, 2, 4, 8],
        "window_size": 4,
        "drop_path": 0.2,  # its random numbers have to come back too
    },
}
# A training program with kernels that give the same bits each time, else a warning.
PROGRAM = """
import runpy, sys, torch
sys.path.insert(0, "")
torch.use_deterministic_algorithms(True, warn_only={warn_only})
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def check_resuming(bench: Bench) -> None:
    """The joint recipe: encoder, both steps, noise. First strict, else with a warning."""
    config = joint_config(bench.work)
    for warn_only in (False, True):
        action = partial(compare_runs, config, warn_only, bench.device)
        bench.attempt("resumed and uninterrupted", action, deterministic=not warn_only)
        if "error" not in json.loads(bench.rows.read_text(encoding="utf-8").splitlines()[-1]):
            return


def joint_config(folder: Path) -> Path:
    """A config of the joint recipe for generated frames."""
    size = padded_size(SIZE)
    path = write_config(folder, num_entries=32, size=size, model=MODEL)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["recipe"] = "joint"
    content["train"] |= {"resume": True, "schedule": "constant", "batch_size": 4, "num_workers": 2}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def compare_runs(config: Path, warn_only: bool, device: torch.device) -> dict[str, Any]:
    """Real runs: all steps at once beside the first half of them, then the other half."""
    kind = "warn" if warn_only else "strict"
    straight, broken = f"straight_{kind}", f"broken_{kind}"
    finish(
        start_run(config, straight, STEPS, warn_only, device),
        start_run(config, broken, STEPS // 2, warn_only, device),
    )
    finish(start_run(config, broken, STEPS, warn_only, device))
    states = [last_checkpoint(config, name) for name in (straight, broken)]
    differences = [
        (a - b).abs().max().item()
        for a, b in zip(*(floats_of(state) for state in states), strict=True)
    ]
    return {
        "steps": STEPS,
        "tensors": len(differences),
        "largest_difference": max(differences),
        "ok": max(differences) == 0,
    }


def start_run(
    config: Path, experiment: str, steps: int, warn_only: bool, device: torch.device
) -> "subprocess.Popen[str]":
    """`stage3_depth/train.py` in a process of its own."""
    command = [
        *(sys.executable, "-c", PROGRAM.format(warn_only=warn_only)),
        *("stage3_depth/train.py", str(config)),
        *(f"train.max_steps={steps}", f"experiment={experiment}"),
    ]
    variables = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if device.type == "cpu":
        variables["CUDA_VISIBLE_DEVICES"] = ""
    return subprocess.Popen(
        command,
        cwd=REPO_ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*runs: "subprocess.Popen[str]") -> None:
    """Wait for all; RuntimeError with the reason of the first that failed."""
    outputs = [run.communicate()[0] for run in runs]
    for run, output in zip(runs, outputs, strict=True):
        print(output, file=sys.stderr)
        if run.returncode:
            lines = [line for line in output.strip().splitlines() if line.strip()]
            reasons = [line for line in lines if "Error" in line or line.startswith("error")]
            raise RuntimeError((reasons or lines or ["no message"])[-1])


def last_checkpoint(config: Path, experiment: str) -> dict[str, Any]:
    """`last.pt` of a run, which has taken all steps."""
    runs = sorted((config.parent / "runs" / experiment).glob("*/checkpoints/last.pt"))
    if len(runs) != 1:
        raise RuntimeError(f"{len(runs)} runs of {experiment}, where one was to be continued")
    state = torch.load(runs[0], map_location="cpu", weights_only=True)
    if state["step"] != STEPS:
        raise RuntimeError(f"{experiment} ended at step {state['step']}")
    return state


def floats_of(state: dict[str, Any]) -> list[torch.Tensor]:
    """Weights and the optimizer's moments, in order."""
    moments = [m for slot in state["optimizer"]["state"].values() for m in slot.values()]
    tensors = [*state["model"].values(), *moments]
    return [t.double() for t in tensors if isinstance(t, torch.Tensor)]
