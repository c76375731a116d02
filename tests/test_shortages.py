"""What a machine has too little of: recognised in what libraries raise, told in one line."""

import errno
import resource
import signal
from contextlib import contextmanager

import cv2
import numpy as np
import pytest
import torch
from conftest import call, train

from common.engine.loop import Update
from common.errors import UserError
from common.evaluation.scoring import EvalConfig
from common.programs import training
from common.programs.board import Board
from common.programs.remedies import evaluation_remedies
from common.programs.run import Run
from common.runtime.processes import Processes
from common.shortages import as_shortage, shortage

CPU = torch.device("cpu")
FULL_GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nDetails")
HOST = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (FULL_GPU, "GPU memory"),
        (RuntimeError("CUDA error: out of memory"), "GPU memory"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "GPU memory"),
        (MemoryError(), "memory"),
        (RuntimeError(HOST), "memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory"),
        (cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes"), "memory"),
        (RuntimeError("received 0 items of ancdata"), "open files"),
        (OSError(errno.EMFILE, "Too many open files"), "open files"),
        (RuntimeError("unable to open shared memory object </torch_1> in mode"), "shared memory"),
        (RuntimeError("can't start new thread"), "processes"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "processes"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk space"),
    ],
)
def test_what_ran_out(error, what):
    assert shortage(error).startswith(what)
    line = str(as_shortage(error, {}))
    assert line.startswith(f"out of {what}") and "\n" not in line

    def main():
        raise error

    assert call(main).refusal == f"error: {line}"


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), ValueError("x"), FileNotFoundError(2, "no", "file")]
)
def test_other_errors_stay_what_they_are(error):
    assert shortage(error) is None
    assert as_shortage(error, {}) is error


def test_numpy_really_says_so():
    with pytest.raises(MemoryError) as caught:
        np.empty((2**28, 2**28), np.float64)
    assert shortage(caught.value) == "memory"


def test_torch_really_says_so():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert shortage(caught.value) == "memory"


@pytest.fixture
def full_gpu(monkeypatch):
    """The second step finds no memory."""
    losses = Update._losses

    def broken(self, model, step, *rest):
        if step == 1:
            raise FULL_GPU
        return losses(self, model, step, *rest)

    monkeypatch.setattr(Update, "_losses", broken)


def test_a_full_gpu_names_smaller_parts_and_the_run_goes_on_with_them(
    workspace, tmp_path, full_gpu, monkeypatch
):
    words = workspace.arguments("stage1", tmp_path)
    refusal = train("stage1", *words).refusal
    assert "error: out of GPU memory (CUDA out of memory. Tried to allocate 2.00 GiB.)" in refusal
    assert "set train.micro_batch_size=2 (the same training" in refusal
    assert "activation_checkpointing" not in refusal  # stage 1 has no encoder
    assert "saved at step 1 of 2" in refusal
    monkeypatch.undo()
    outcome = train("stage1", *words, "train.micro_batch_size=2")
    assert outcome.code == 0 and "resuming at step 1" in outcome.err


def test_a_full_gpu_where_parts_are_one_image(workspace, tmp_path, full_gpu):
    words = workspace.arguments("joint", tmp_path, "train.micro_batch_size=1")
    refusal = train("joint", *words).refusal
    assert "micro_batch_size" not in refusal
    assert "set model.encoder.activation_checkpointing=true or lower data.height" in refusal


def test_a_full_gpu_in_an_evaluation(workspace, tmp_path, monkeypatch):
    def predict(model, batch):
        raise FULL_GPU

    monkeypatch.setattr("common.programs.inference.evaluate_depth", lambda *a, **k: predict(0, 0))
    refusal = train("stage1", *workspace.arguments("stage1", tmp_path)).refusal
    assert "set eval.batch_size=2" in refusal
    assert evaluation_remedies(EvalConfig(batch_size=1))["GPU memory"] == (
        "lower data.height and data.width"
    )


@contextmanager
def small_files(num_bytes):
    """A disk with room for so many more bytes, as far as one file can tell."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path, "stage1", Processes(0, 1, CPU))


def test_a_full_disk_under_the_metrics(run):
    run.scalars(1, "train", {"loss": 1.0})
    before = (run.folder / "metrics.jsonl").read_text()
    with small_files(60), pytest.raises(UserError, match=r"cannot write .*metrics\.jsonl"):
        run.scalars(2, "train", {"loss": 1.0})
    run.rewind(1)
    assert (run.folder / "metrics.jsonl").read_text() == before


def test_a_full_disk_keeps_the_metrics_of_a_run_that_goes_on(run):
    for step in range(9):
        run.scalars(step, "train", {"loss": 1.0})
    before = (run.folder / "metrics.jsonl").read_text()
    with small_files(60), pytest.raises(UserError, match="cannot write"):
        run.rewind(7)
    assert (run.folder / "metrics.jsonl").read_text() == before


def test_a_full_disk_under_tensorboard_is_one_line(tmp_path, capfd):
    board = Board(tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    with small_files(2000), pytest.raises(UserError, match=f"cannot write {tmp_path}: File too"):
        board.picture(1, "noise", noise)
    assert capfd.readouterr().err == ""  # its thread has no traceback to show


def test_a_full_disk_under_the_log_ends_nothing(run, capsys):
    run.log("first")
    with small_files(8):
        run.log("second")
    assert (run.folder / "log.txt").read_text().startswith("first\n")
    assert capsys.readouterr().err == "first\nsecond\n(not in log.txt: File too large)\n"


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (1, "what came after the last save, at step 1 of 2, is lost; the same command"),
        (0, "nothing of this run is saved"),
    ],
)
def test_an_interruption_says_what_is_lost(workspace, tmp_path, monkeypatch, saved, message):
    words = workspace.arguments("stage1", tmp_path)
    if saved:
        assert train("stage1", *words, "train.max_steps=1").code == 0

    def fit(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", fit)
    outcome = train("stage1", *words)
    assert outcome.code == 130
    assert outcome.err.splitlines()[-1].startswith(f"interrupted at once; {message}")


def test_an_interruption_of_any_program_promises_nothing():
    def main():
        raise KeyboardInterrupt

    assert call(main).err == "interrupted\n"
