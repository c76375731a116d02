"""Systems other than Linux: what Python lacks there is asked for only where it is used."""

import resource
import sys

import pytest
import torch
from conftest import run_process

from common.config import REPO_ROOT
from common.data.frame_cache import FrameCache
from common.engine import log_window
from common.errors import UserError
from common.runtime.processes import Processes

CPU = torch.device("cpu")
WITHOUT = """
import importlib, os, signal, sys
import cv2, huggingface_hub, open_clip, peft, tensorboard, timm, torch.distributed.run, transformers
from transformers import PreTrainedModel  # packages go by the system's name: before it is lacking
sys.modules["fcntl"] = None
for name in ("posix_fallocate", "pread", "preadv", "pwrite", "pwritev", "geteuid"):
    delattr(os, name)
for name in ("SIGALRM", "SIGCHLD", "SIGKILL", "SIGHUP", "SIGUSR1", "setitimer"):
    delattr(signal, name)
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
FOLDERS = ("common", "scripts", "stage1_vae", "stage2_sampler", "stage3_depth", "llm_mde")
FILES = [path for folder in FOLDERS for path in sorted((REPO_ROOT / folder).rglob("*.py"))]
MODULES = [
    ".".join(path.relative_to(REPO_ROOT).with_suffix("").parts)
    for path in FILES
    if path.stem != "__init__"
]


@pytest.mark.slow
def test_everything_is_imported_without_what_windows_lacks():
    outcome = run_process(sys.executable, "-c", WITHOUT, str(REPO_ROOT), *MODULES)
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_training_and_evaluation_work_without_it(workspace, tmp_path):
    run = WITHOUT + "sys.argv[1:] = ARGUMENTS\nimportlib.import_module(NAME).main()"
    words = [*workspace.arguments("stage1", tmp_path), "train.max_steps=1"]
    scored = ["--checkpoint", str(tmp_path / "tiny/stage1")]
    for name, arguments in (("stage1_vae.train", words), ("stage1_vae.eval", scored)):
        program = run.replace("ARGUMENTS", repr(arguments)).replace("NAME", repr(name))
        outcome = run_process(sys.executable, "-c", program, str(REPO_ROOT))
        assert outcome.code == 0, outcome.err


def test_a_cache_without_file_locks(monkeypatch, tmp_path):
    """On Windows; everything else does without."""
    monkeypatch.setattr("common.data.frame_cache.fcntl", None)
    with pytest.raises(UserError, match=r"data\.cache: this system has no locks.*data\.cache=null"):
        FrameCache(tmp_path, "nyu", [], (64, 96), "")


@pytest.mark.parametrize(("platform", "unit"), [("linux", 2**10), ("darwin", 1)])
def test_memory_is_in_gigabytes_on_every_system(monkeypatch, platform, unit):
    monkeypatch.setattr(log_window.sys, "platform", platform)
    usage = resource.struct_rusage([0, 0, 3 * 2**30 // unit, *range(13)])
    monkeypatch.setattr(resource, "getrusage", lambda who: usage)
    assert log_window.memory_gb(CPU) == 3.0


def test_memory_where_it_cannot_be_known(monkeypatch):
    monkeypatch.setitem(log_window.sys.modules, "resource", None)
    assert log_window.memory_gb(CPU) is None
    window = log_window.Window(1)
    window.add({})
    assert "memory_gb" not in window.close(Processes(0, 1, CPU), 1.0)
