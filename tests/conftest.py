"""A tiny data set in the NYU layout, tiny configs of all stages, and ways to run a program."""

import io
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from dataset_trees import write_kitti, write_nyu
from tiny_configs import IMAGE_DIM, SETTINGS, TEXT_DIM

import llm_mde.eval
import llm_mde.train
import stage1_vae.eval
import stage1_vae.train
import stage2_sampler.eval
import stage2_sampler.train
import stage3_depth.eval
import stage3_depth.train
from common.config import REPO_ROOT
from common.data.data_config import DataConfig
from common.errors import run_program
from common.language.feature_files import write_features

CLIP = (
    "model.evidence=clip",
    f"model.image_dim={IMAGE_DIM}",
    "text.image_features=image.safetensors",
)
COUNTS = {"train": 12, "val": 4, "test": 4}
FOLDERS = {"stage1": "stage1_vae", "stage2": "stage2_sampler", "stage3": "stage3_depth"}
MAINS = {
    "stage1": stage1_vae.train.main,
    "stage2": stage2_sampler.train.main,
    "stage3": stage3_depth.train.main,
    "joint": stage3_depth.train.main,
    "llm_mde": llm_mde.train.main,
}
EVAL_MAINS = {
    "stage1": stage1_vae.eval.main,
    "stage2": stage2_sampler.eval.main,
    "stage3": stage3_depth.eval.main,
    "llm_mde": llm_mde.eval.main,
}


@dataclass(frozen=True)
class Outcome:
    """How a program ended."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """The `error:` lines on stderr."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]

    @property
    def refusal(self) -> str:
        """The one `error:` line of a program that ended with code 2."""
        assert (self.code, len(self.errors)) == (2, 1), self.err
        assert "Traceback" not in self.err
        return self.errors[0]


@dataclass(frozen=True)
class Workspace:
    """`data`: a data root. `configs`: one YAML file for each stage."""

    data: Path
    configs: Path

    def arguments(self, stage: str, runs: Path, *overrides: str) -> list[str]:
        """What follows `sh STAGE/train.sh`."""
        return [str(self.configs / f"{stage}.yaml"), f"output_root={runs}", *overrides]


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """The networks are tiny: threads would only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def own_python():
    """Programs started by `launch.sh` run in the environment of the tests, not in `.venv`."""
    os.environ["LANGDEPTH_PYTHON"] = sys.executable


@pytest.fixture(scope="module")
def all_cores():
    """For the networks of full size."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def nyu(tmp_path) -> DataConfig:
    """A tiny tree in NYU's layout."""
    return write_nyu(tmp_path)


@pytest.fixture
def kitti(tmp_path) -> DataConfig:
    """A tiny tree in KITTI's layout."""
    return write_kitti(tmp_path)


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Workspace:
    """Twelve training, four validation and four test images of 64x96, and the YAML files."""
    root = tmp_path_factory.mktemp("tiny")
    place = Workspace(write_rooms(root / "data"), root / "configs")
    place.configs.mkdir()
    base = {
        "experiment": "tiny",
        "data": {
            "name": "nyu",
            "root": str(place.data),
            "height": 64,
            "width": 96,
            "max_depth": 10.0,
            **{f"{split}_list": f"{split}.txt" for split in COUNTS},
        },
        "text": {"features": "text.safetensors", "captions": "captions.jsonl"},
        "train": {
            "batch_size": 4,
            "max_steps": 2,
            "lr": 1e-3,
            "precision": "fp32",
            "num_workers": 0,
            "log_every": 1,
        },
        "eval": {"every": 2, "protocol": "none", "batch_size": 4},
    }
    write_yaml(place.configs / "base.yaml", base)
    for stage, settings in SETTINGS.items():
        write_yaml(place.configs / f"{stage}.yaml", {"base": "base.yaml", **settings})
    return place


@pytest.fixture
def data(workspace, tmp_path) -> Path:
    """A copy of the workspace's data that a test may damage."""
    return shutil.copytree(workspace.data, tmp_path / "data")


def write_rooms(root: Path) -> Path:
    """A data root in the NYU layout with captions, text features and image features."""
    rng = np.random.default_rng(0)
    keys = []
    for split, count in COUNTS.items():
        lines = []
        for index in range(count):
            folder = f"{split}/room_{index // 2:04d}"
            key, depth = f"{folder}/rgb_{index:05d}.png", f"{folder}/sync_depth_{index:05d}.png"
            write_pair(root / key, root / depth, rng)
            lines.append(f"/{key} /{depth} 518.8579")
            keys.append(key)
        (root / f"{split}.txt").write_text("\n".join(lines))
    captions = [json.dumps({"image": key, "caption": f"A room, seen from {key}."}) for key in keys]
    (root / "captions.jsonl").write_text("\n".join(captions))
    for kind, dim in (("text", TEXT_DIM), ("image", IMAGE_DIM)):
        features = torch.from_numpy(rng.standard_normal((len(keys), dim)))
        write_features(root / f"{kind}.safetensors", keys, features, {"kind": kind})
    return root


def write_pair(image: Path, depth: Path, rng: np.random.Generator) -> None:
    """A smooth picture, and a floor that rises to a wall with a hole in the measurement."""
    image.parent.mkdir(parents=True, exist_ok=True)
    coarse = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    cv2.imwrite(str(image), cv2.resize(coarse, (96, 64), interpolation=cv2.INTER_CUBIC))
    meters = np.linspace(rng.uniform(3, 8), 1, 64)[:, None].repeat(96, axis=1)
    meters[10:20, 30:50] = 0
    cv2.imwrite(str(depth), (meters * 1000).astype(np.uint16))


def write_program(path: Path, text: str) -> None:
    """A stand-in for a program, in `sh`."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def write_yaml(path: Path, content: dict) -> None:
    path.write_text(yaml.safe_dump(content))


def call(main: Callable[[], None], *arguments: str) -> Outcome:
    """Run a program's `main` in this process, as `run_program` would."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), command_line("program.py", *arguments):
        try:
            run_program(main)
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
    return Outcome(code, out.getvalue(), err.getvalue())


@contextmanager
def command_line(*arguments: str) -> Iterator[None]:
    before, sys.argv = sys.argv, list(arguments)
    try:
        yield
    finally:
        sys.argv = before


def run_script(name: str, *arguments: object) -> Outcome:
    """`python scripts/NAME arguments` in this process."""
    program = str(REPO_ROOT / "scripts" / name)
    return call(partial(runpy.run_path, program, run_name="__main__"), *map(str, arguments))


def train(stage: str, *arguments: str) -> Outcome:
    """Train a stage (or stage 3's joint recipe) in this process."""
    return call(MAINS[stage], *arguments)


def evaluate(stage: str, *arguments: str) -> Outcome:
    """Run a stage's `eval.py` in this process."""
    return call(EVAL_MAINS[stage], *arguments)


def start_process(*command: str, cwd: Path = REPO_ROOT, **variables: str) -> subprocess.Popen:
    """A real process in a process group of its own, with nothing inherited from torchrun."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def run_process(*command: str, cwd: Path = REPO_ROOT, **variables: str) -> Outcome:
    """Run a real process to its end."""
    process = start_process(*command, cwd=cwd, **variables)
    out, err = process.communicate(timeout=300)
    return Outcome(process.returncode, out, err)


def train_process(stage: str, *arguments: str, **variables: str) -> Outcome:
    """`sh stageN/train.sh arguments` from the repository root; NPROC=2 as a keyword."""
    variables = {"NPROC": "1", **variables}
    return run_process("sh", f"{FOLDERS[stage]}/train.sh", *arguments, **variables)


def train_in_its_folder(stage: str, *arguments: str) -> Outcome:
    """`cd stageN && sh train.sh arguments`."""
    return run_process("sh", "train.sh", *arguments, cwd=REPO_ROOT / FOLDERS[stage], NPROC="1")


def metrics_of(run: Path, kind: str) -> list[dict]:
    """The lines of one kind of a run's metrics.jsonl."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.fixture(scope="session")
def trained(workspace, tmp_path_factory) -> Path:
    """Runs of all three stages, two steps each, one as a user starts it: `tiny/stageN`."""
    runs = tmp_path_factory.mktemp("runs")
    for stage in FOLDERS:
        start = train_in_its_folder if stage == "stage2" else train
        outcome = start(stage, *workspace.arguments(stage, runs))
        assert outcome.code == 0, outcome.err
    return runs


@pytest.fixture
def build(workspace, trained, tmp_path, monkeypatch):
    """What a stage's `main` hands to the training session, without the training."""

    def build_parts(stage, *overrides):
        caught = {}
        monkeypatch.setattr(
            "common.programs.train.train_to_the_end",
            lambda stage, config, model, data, run: caught.update(
                stage=stage, config=config, model=model, data=data, run=run
            ),
        )
        earlier = {"stage2": "stage1", "stage3": "stage2"}.get(stage)
        words = workspace.arguments(stage, tmp_path / "runs", *overrides)
        if earlier and not any(word.startswith("init.") for word in overrides):
            words.append(f"init.{earlier}={trained / 'tiny' / earlier}")
        outcome = call(MAINS[stage], *words)
        assert outcome.code == 0, outcome.err
        return SimpleNamespace(**caught)

    return build_parts


@pytest.fixture(scope="session")
def clip_runs(workspace, trained, tmp_path_factory):
    """Stage 2 with CLIP image features as evidence."""
    runs = tmp_path_factory.mktemp("clip")
    words = workspace.arguments("stage2", runs, f"init.stage1={trained / 'tiny/stage1'}", *CLIP)
    assert train("stage2", *words).code == 0
    return runs
