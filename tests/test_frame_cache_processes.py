"""The cache of decoded frames with several processes: workers, races and killed writers."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from cached_items import assert_same, cached, num_decoded
from dataset_trees import plain, save

from common.data import frame_cache
from common.data.data_config import DataConfig
from common.data.sampling import StepSampler, train_loader
from common.errors import UserError

FORK = multiprocessing.get_context("fork")


def test_workers_fill_it_and_give_the_same_batches(nyu, tmp_path, monkeypatch):
    sampler = StepSampler(15, batch_size=4, micro_batch_size=2, num_steps=8)
    expected = list(train_loader(plain(nyu, augment=True), sampler))
    dataset = cached(nyu, tmp_path / "cache")
    for _ in range(2):
        batches = list(train_loader(dataset, sampler, num_workers=2))
        for batch, right in zip(batches, expected, strict=True):
            assert_same(batch, right)
    assert num_decoded(dataset, monkeypatch) == 0


def read_while_files_change(dataset, seed: int) -> None:
    """Every frame must be of one color: no slot may mix two versions of a file."""
    rng = np.random.default_rng(seed)
    for _ in range(60):
        image, depth = dataset.training_frame(int(rng.integers(2)))
        assert image.min() == image.max()
        assert depth.min() == depth.max() > 0


def write_uniform(data: DataConfig, index: int, value: int) -> None:
    """Replace both files of a frame as a whole."""
    arrays = {
        "rgb": np.full((192, 256, 3), value, np.uint8),
        "depth": np.full((192, 256), 100 * value, np.uint16),
    }
    for kind, array in arrays.items():
        temporary = data.root / "new.png"
        save(temporary, array)
        (data.root / kind).mkdir(exist_ok=True)
        temporary.replace(data.root / kind / f"{index}.png")


def test_several_processes_while_files_are_replaced(tmp_path):
    data = DataConfig("folder", tmp_path, 192, 256, 10.0, test_share=0, val_share=0)
    for index in range(2):
        write_uniform(data, index, 1)
    dataset = cached(data, tmp_path / "cache")
    readers = [
        FORK.Process(target=read_while_files_change, args=(dataset, seed)) for seed in range(3)
    ]
    for reader in readers:
        reader.start()
    for value in range(2, 42):
        write_uniform(data, value % 2, value)
    for reader in readers:
        reader.join()
    assert [reader.exitcode for reader in readers] == [0, 0, 0]
    for index in range(2):
        for ours, right in zip(
            dataset.training_frame(index), plain(data).training_frame(index), strict=True
        ):
            np.testing.assert_array_equal(ours, right)


def test_a_slot_that_is_being_written_is_not_waited_for(nyu, tmp_path, monkeypatch):
    dataset = cached(nyu, tmp_path / "cache")
    dataset.open_cache()
    locked, done = FORK.Event(), FORK.Event()

    def hold() -> None:
        with dataset.cache._locked(0, frame_cache.fcntl.LOCK_EX) as mine:
            locked.set()
            done.wait(60)
        os._exit(0 if mine else 1)

    holder = FORK.Process(target=hold)
    holder.start()
    assert locked.wait(60)
    assert [num_decoded(dataset, monkeypatch) for _ in range(2)] == [15, 1]
    done.set()
    holder.join()
    assert holder.exitcode == 0
    assert [num_decoded(dataset, monkeypatch) for _ in range(2)] == [1, 0]


def fill(dataset, started) -> None:
    for index in range(len(dataset)):
        dataset.training_frame(index)
        started.set()


def test_killed_processes_leave_no_wrong_pixels(nyu, tmp_path):
    data = replace(nyu, height=480, width=640)
    without = plain(data)
    expected = [without.training_frame(index) for index in range(len(without))]
    for number in range(4):
        dataset, started = cached(data, tmp_path / str(number)), FORK.Event()
        writer = FORK.Process(target=fill, args=(dataset, started))
        writer.start()
        assert started.wait(60)
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        for index, right in enumerate(expected):
            for array, other in zip(dataset.training_frame(index), right, strict=True):
                np.testing.assert_array_equal(array, other)


def test_a_write_that_was_cut_short_is_not_believed(nyu, tmp_path, monkeypatch):
    dataset = cached(nyu, tmp_path / "cache")
    expected = dataset[0, 0]
    write = os.pwritev
    with monkeypatch.context() as patch:  # other code, killed in the middle of the image
        patch.setattr(frame_cache, "_CODE", ())
        patch.setattr(os, "pwritev", lambda file, _, at: write(file, [bytes(9000)], at))
        with pytest.raises(UserError, match="No space left"):
            cached(nyu, tmp_path / "cache")[0, 0]
    assert_same(dataset[0, 0], expected)
    assert num_decoded(dataset, monkeypatch) == 14


def open_together(data, folder, gate, queue) -> None:
    allocate, calls = os.posix_fallocate, []

    def allocate_slowly(*words: int) -> None:
        calls.append(words)
        time.sleep(0.3)  # the others come meanwhile
        allocate(*words)

    os.posix_fallocate = allocate_slowly
    dataset = cached(data, folder)
    gate.wait(60)
    dataset.open_cache()
    dataset[0, 0]
    queue.put((len(calls), os.fstat(dataset.cache._open()).st_ino))


def test_processes_that_open_at_once_share_one_file(nyu, tmp_path, monkeypatch):
    gate, queue = FORK.Barrier(3), FORK.Queue()
    words = (nyu, tmp_path / "cache", gate, queue)
    others = [FORK.Process(target=open_together, args=words) for _ in range(3)]
    for process in others:
        process.start()
    counts, inodes = zip(*[queue.get(timeout=60) for _ in others], strict=True)
    for process in others:
        process.join()
    (path,) = (tmp_path / "cache").iterdir()
    assert set(inodes) == {path.stat().st_ino}
    assert sum(counts) == 1  # one took the space, the others waited for it
    assert num_decoded(cached(nyu, tmp_path / "cache"), monkeypatch) == 14
