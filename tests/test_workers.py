"""Data workers: one that dies, or cannot hand a batch over, ends the wait for it in one line."""

import os
import shutil
import signal
import subprocess
import time

import pytest
import torch
from conftest import start_process, train
from dataset_trees import plain

from common.data import workers
from common.data.batch import Batch
from common.data.sampling import StepSampler, eval_loader, train_loader
from common.shortages import ShortageError

NO_ROOM = (
    "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
)


@pytest.fixture
def dataset(nyu):
    return plain(nyu)


def batches_of(dataset, steps=4, num_workers=1):
    return iter(train_loader(dataset, StepSampler(15, 4, 4, num_steps=steps), num_workers))


def batches_and_worker(dataset, **options):
    """A loader's batches after the first, and its process, also beside those of earlier loaders."""
    others = set(torch.multiprocessing.active_children())
    found = batches_of(dataset, **options)
    next(found)
    (worker,) = set(torch.multiprocessing.active_children()) - others
    return found, worker


def refusal_of(dataset, **options):
    """What a loader with workers ends with; soon, whatever happened to them."""
    start = time.monotonic()
    with pytest.raises(ShortageError) as caught:
        list(batches_of(dataset, **options))
    assert time.monotonic() - start < 25
    assert "\n" not in str(caught.value)
    return str(caught.value)


def in_a_worker(monkeypatch, dataset, action):
    """Do something to the worker in place of reading its sixth image."""
    read, parent = dataset.training_frame, os.getpid()
    seen = []

    def training_frame(index):
        seen.append(index)
        if len(seen) == 6 and os.getpid() != parent:
            action()
        return read(index)

    monkeypatch.setattr(dataset, "training_frame", training_frame)


def raise_(error):
    raise error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "parts"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), ["was killed, as systems do", "--mem"]),
        (lambda: signal.raise_signal(signal.SIGBUS), ["Bus error", "--shm-size"]),
        (lambda: os._exit(3), ["ended early", "--shm-size"]),
        (lambda: raise_(MemoryError("Unable to allocate 9 GiB")), ["out of memory (Unable to"]),
        (lambda: raise_(OSError(24, "Too many open files")), ["out of open files", "ulimit -n"]),
    ],
    ids=["killed", "bus error", "exit", "memory", "open files"],
)
def test_a_worker_that_dies_or_runs_out_of_something(monkeypatch, dataset, action, parts):
    in_a_worker(monkeypatch, dataset, action)
    text = refusal_of(dataset)
    assert all(part in text for part in [*parts, "train.num_workers"]), text


def test_a_batch_that_does_not_fit_into_shared_memory(monkeypatch, dataset):
    monkeypatch.setattr(Batch, "share_memory", lambda batch: raise_(RuntimeError(NO_ROOM)))
    text = refusal_of(dataset)
    assert text.startswith("out of shared memory (/dev/shm) (unable to allocate")
    assert "docker run --shm-size=8g" in text and "train.num_workers=0" in text
    assert len(list(batches_of(dataset, num_workers=0))) == 4  # the advice works


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "part"),
    [
        (OSError(24, "Too many open files"), "ran out of open files"),
        (TypeError("?"), "ended early"),
    ],
)
def test_a_batch_that_cannot_be_sent_is_not_waited_for(monkeypatch, dataset, error, part):
    """torch would drop it with a traceback, and wait for ever."""
    monkeypatch.setattr(Batch, "__reduce__", lambda batch: raise_(error))
    assert part in refusal_of(dataset)


def test_a_death_is_told_in_the_next_wait_and_not_before(dataset):
    """torch's handler would raise it in the middle of an update."""
    found, child = batches_and_worker(dataset, steps=100)
    os.kill(child.pid, signal.SIGKILL)
    time.sleep(0.3)
    with pytest.raises(ShortageError, match=rf"a data worker \(process {child.pid}\) was killed"):
        list(found)


def test_evaluation_names_its_own_key(monkeypatch, dataset):
    monkeypatch.setattr(Batch, "share_memory", lambda batch: raise_(RuntimeError(NO_ROOM)))
    with pytest.raises(ShortageError, match=r"--shm-size=8g\) or set eval.batch_size=1"):
        list(eval_loader(dataset, batch_size=2, num_workers=1))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_does_not_end_a_worker(dataset, number):
    """A terminal or Slurm sends it to all; the steps until the run is saved need batches."""
    found, child = batches_and_worker(dataset, steps=30)
    os.kill(child.pid, number)
    assert len(list(found)) == 29


@pytest.mark.parametrize("grace, num_signals", [(30, 2), (1, 1)])
def test_a_worker_that_is_stuck_can_be_ended(monkeypatch, dataset, grace, num_signals):
    monkeypatch.setattr(workers, "GRACE_SECONDS", grace)
    in_a_worker(monkeypatch, dataset, lambda: time.sleep(60))
    _found, child = batches_and_worker(dataset)
    for _ in range(num_signals):
        os.kill(child.pid, signal.SIGTERM)
        time.sleep(0.5)  # two that arrive at once are one
    child.join(60)
    assert child.exitcode == -(signal.SIGTERM if num_signals == 2 else signal.SIGALRM)


@pytest.mark.slow
def test_shared_memory_is_looked_at_before_the_first_step(workspace, tmp_path, monkeypatch):
    """64x96 pixels of 4 numbers of 4 bytes, 4 images: 393 kB; 2 x 4 of them ready and 1 in use."""
    monkeypatch.setattr(workers, "free_shared_memory", lambda: 3.5e6)
    words = workspace.arguments("stage1", tmp_path, "train.num_workers=2")
    refusal = train("stage1", *words).refusal
    assert "train.num_workers: the batches that 2 data worker(s) keep ready need 4 MB" in refusal
    assert "--shm-size=2g" in refusal and "train.num_workers=0" in refusal
    assert train("stage1", *words[:-1], "train.num_workers=0").code == 0


def test_all_processes_of_a_machine_share_it(monkeypatch):
    monkeypatch.setattr(workers, "free_shared_memory", lambda: 100)
    workers.check_shared_memory(batch_bytes=10, num_workers=2, parts_per_step=1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(Exception, match=r"that 4 data worker\(s\)"):
        workers.check_shared_memory(batch_bytes=10, num_workers=2, parts_per_step=1)


@pytest.mark.parametrize(("free", "number"), [(1e9, 4), (100, 1), (10, 0), (float("inf"), 4)])
def test_evaluation_takes_as_many_workers_as_fit(monkeypatch, free, number):
    monkeypatch.setattr(workers, "free_shared_memory", lambda: free)
    assert workers.num_workers_that_fit(batch_bytes=10, wanted=4) == number


def test_where_there_is_no_such_file_system(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "SHM", tmp_path / "none")
    assert workers.free_shared_memory() == float("inf")


def can_mount():
    words = ("unshare", "-m", "mount", "-t", "tmpfs", "none", "/dev/shm")
    return (
        bool(shutil.which("unshare")) and not subprocess.run(words, capture_output=True).returncode
    )


@pytest.mark.slow
@pytest.mark.parametrize(("size", "is_told_at_once"), [("1M", True), ("5M", False)])
def test_a_small_dev_shm(workspace, tmp_path, size, is_told_at_once):
    """5 MB would do, if another program did not take all that is free after the first steps."""
    if not can_mount():
        pytest.skip("mounting a file system needs root")
    words = workspace.arguments("stage1", tmp_path, "train.num_workers=2", "train.max_steps=1000")
    mount = f"mount -t tmpfs -o size={size} none /dev/shm"
    started = f"until [ -s {tmp_path}/tiny/stage1/metrics.jsonl ]; do sleep 0.1; done"
    take = "cat /dev/zero >> /dev/shm/full; sleep 0.01"
    fill = f"({started}; while kill -0 $$; do {take}; done) >/dev/null 2>&1 &"
    start = f"exec sh stage1_vae/train.sh {' '.join(words)} eval.every=1000"
    command = f"{mount}; {'' if is_told_at_once else fill} {start}"
    process = start_process("unshare", "-m", "sh", "-c", command, NPROC="1")
    _, err = process.communicate(timeout=100)
    assert process.returncode == 2, err
    assert "--shm-size" in err.splitlines()[-1] and "train.num_workers=0" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert ("keep ready" in err) == is_told_at_once
