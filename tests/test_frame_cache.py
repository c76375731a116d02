"""The cache of decoded frames: the same items, whatever happens to its file or to the sources."""

import errno
import inspect
import os
import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from cached_items import assert_same, cached, num_decoded, refuse_to_decode
from conftest import metrics_of, train
from dataset_trees import one_line, picture, plain, save, stored_depth

from common.config import REPO_ROOT
from common.data import frame_cache
from common.data.data_config import DataConfig
from common.data.frame_cache import FrameCache
from common.data.frames import FrameReader
from common.data.samples import Sample
from common.errors import UserError
from common.images import crops, reading, transforms

SWITCHES = (
    {},
    {"rotate_degrees": 0.0},
    {"flip": False, "zoom": 1.4},
    {"rotate_degrees": 0.0, "flip": False, "jitter": False},
)


@pytest.fixture
def sun_rgbd(tmp_path) -> DataConfig:
    """Two frames of different size."""
    lines = []
    for index, size in enumerate(((427, 561), (530, 730))):
        save(tmp_path / f"image/{index}.jpg", picture(*size, index))
        save(tmp_path / f"depth/{index}.png", stored_depth(*size, index))
        lines.append(f"image/{index}.jpg depth/{index}.png")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return DataConfig("sun_rgbd", tmp_path, 64, 96, 10.0, train_list="list.txt", val_share=0)


@pytest.fixture
def folder(tmp_path) -> DataConfig:
    """Four frames of the configured size, and one smaller; depth is PNG or float meters."""
    for index in range(5):
        size = (50, 70) if index == 4 else (64, 96)
        save(tmp_path / f"rgb/{index}.png", picture(*size, index))
        stored = stored_depth(*size, index)
        save(tmp_path / f"depth/{index}.png", stored)
        if index % 2:
            (tmp_path / f"depth/{index}.png").unlink()
            np.save(tmp_path / f"depth/{index}.npy", stored / np.float32(1000))
    return DataConfig("folder", tmp_path, 64, 96, 10.0, test_share=0, val_share=0)


@pytest.mark.parametrize("name", ["nyu", "kitti", "sun_rgbd", "folder"])
def test_items_are_those_without_a_cache(name, request, tmp_path, monkeypatch):
    data = request.getfixturevalue(name)
    place = tmp_path / "new" / "cache"
    options = [replace(data, **switches) for switches in SWITCHES]
    expected = [[plain(d, augment=True)[i % 2, i] for i in range(8)] for d in options]
    central = plain(data)[1, 3]
    for _ in range(2):  # the first reader decodes, later ones do not
        for changed, items in zip(options, expected, strict=True):
            dataset = cached(changed, place)
            for position, item in enumerate(items):
                assert_same(dataset[position % 2, position], item)
        assert_same(plain(replace(data, cache=place))[1, 3], central)
        refuse_to_decode(monkeypatch)
    assert len(list(place.iterdir())) == 1  # switches of the augmentation share the file


def test_every_frame_of_a_list_has_its_own_slot(nyu, folder, tmp_path, monkeypatch):
    for data in (nyu, folder):
        dataset, without = cached(data, tmp_path / "cache"), plain(data, augment=True)
        for index in range(len(dataset)):
            dataset[index, 0]
        with monkeypatch.context() as patch:
            refuse_to_decode(patch)
            found = [dataset[index, index] for index in range(len(dataset))]
        for index, item in enumerate(found):
            assert_same(item, without[index, index])


def test_evaluation_leaves_the_cache_alone(nyu, tmp_path):
    dataset = cached(nyu, tmp_path / "cache")
    dataset[0]
    assert plain(replace(nyu, cache=tmp_path / "cache"), "val").cache is None
    assert not (tmp_path / "cache").exists()


def test_what_is_handed_out_belongs_to_the_caller(nyu, tmp_path):
    dataset = cached(nyu, tmp_path / "cache")
    expected = [array.copy() for array in plain(nyu).training_frame(0)]
    for _ in range(3):
        for array, right in zip(dataset.training_frame(0), expected, strict=True):
            np.testing.assert_array_equal(array, right)
            array[:] = 7


@pytest.mark.parametrize("which", ["image_file", "depth_file"])
def test_a_replaced_file_is_decoded_again(folder, tmp_path, which):
    dataset = cached(folder, tmp_path / "cache")
    dataset[0, 0]
    path = Path(getattr(dataset.samples[0], which))
    old, new = path.stat(), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) // 2
    assert cv2.imwrite(str(path), new)
    os.truncate(path, max(old.st_size, path.stat().st_size))  # zeros after a PNG mean nothing
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert_same(dataset[0, 0], plain(folder, augment=True)[0, 0])
    assert_same(dataset[0, 1], plain(folder, augment=True)[0, 1])


def test_a_lost_file_is_the_same_error(folder, tmp_path):
    dataset = cached(folder, tmp_path / "cache")
    dataset[0, 0]
    Path(dataset.samples[0].depth_file).unlink()
    with pytest.raises(UserError, match=r"cannot read .*depth/0.png: No such file"):
        dataset[0, 0]


def test_another_list_size_or_mask_has_another_file(nyu, kitti, tmp_path):
    changes = (
        {},
        {"height": 32},
        {"mask_border": False},
        {"train_images": 4},
        {"train_images": 4, "subset_seed": 1},
    )
    datasets = [cached(replace(nyu, **change), tmp_path / "cache") for change in changes]
    assert len({dataset.cache.path for dataset in datasets}) == len(changes)
    for change, dataset in zip(changes, datasets, strict=True):
        for index in range(len(dataset)):
            assert_same(dataset[index, 5], plain(replace(nyu, **change), augment=True)[index, 5])
    narrow = cached(replace(kitti, width=640), tmp_path / "cache")  # cut out of the same slots
    assert narrow.cache.path == cached(kitti, tmp_path / "cache").cache.path


@pytest.mark.parametrize("damage", ["empty", "foreign", "cut", "long", "header", "no stamps"])
def test_a_damaged_file_is_made_anew(nyu, tmp_path, damage, monkeypatch):
    dataset = cached(nyu, tmp_path / "cache")
    expected = [dataset[index, index] for index in range(len(dataset))]
    path, whole = dataset.cache.path, dataset.cache.path.read_bytes()
    contents = {
        "empty": b"",
        "foreign": b"my notes",
        "cut": whole[: len(whole) // 2],
        "long": whole + b"x",
        "header": b"X" + whole[1:],
        "no stamps": whole[: dataset.cache._first_slot].ljust(len(whole), b"\0"),
    }
    path.write_bytes(contents[damage])
    again = cached(nyu, tmp_path / "cache")
    assert num_decoded(again, monkeypatch) == len(again)
    assert path.stat().st_size == len(whole)
    assert num_decoded(again, monkeypatch) == 0
    for index, item in enumerate(expected):
        assert_same(again[index, index], item)


@pytest.mark.parametrize("kept", [0.0, 0.37, 0.8])
def test_a_file_cut_while_it_is_open(nyu, tmp_path, kept):
    dataset = cached(nyu, tmp_path / "cache")
    expected = [dataset[index, index] for index in range(len(dataset))]
    os.truncate(dataset.cache.path, int(kept * dataset.cache.num_bytes))
    for index in reversed(range(len(expected))):  # the last slot first: a hole before it
        assert_same(dataset[index, index], expected[index])
    for index, item in enumerate(expected):
        assert_same(dataset[index, index], item)


@pytest.mark.parametrize("change", ["boot", "code", "OpenCV"])
def test_slots_of_another_boot_or_code_are_not_believed(nyu, tmp_path, monkeypatch, change):
    first = cached(nyu, tmp_path / "cache")
    assert num_decoded(first, monkeypatch) == len(first)
    assert f"{len(first)} of {len(first)} were written since this boot" in first.cache.describe()
    if change == "boot":
        (tmp_path / "boot").write_text("another")
        monkeypatch.setattr(frame_cache, "_BOOT", tmp_path / "boot")
    elif change == "code":
        monkeypatch.setattr(frame_cache, "_CODE", ("data/frames.py", "images/reading.py"))
    else:
        monkeypatch.setattr(frame_cache.cv2, "__version__", "1.0")
    second = cached(nyu, tmp_path / "cache")
    assert f"0 of {len(second)} were written since this boot" in second.cache.describe()
    assert second.cache.path == first.cache.path
    assert num_decoded(second, monkeypatch) == len(second)
    assert num_decoded(second, monkeypatch) == 0


def test_the_code_that_makes_a_frame_is_watched():
    watched = {REPO_ROOT / "common" / name for name in frame_cache._CODE}
    made_by = (FrameReader, crops, reading, transforms)
    assert {Path(inspect.getfile(part)) for part in made_by} <= watched


def test_without_numbered_boots_only_this_process_is_believed(nyu, tmp_path, monkeypatch):
    monkeypatch.setattr(frame_cache, "_BOOT", tmp_path / "nothing")
    dataset = cached(nyu, tmp_path / "cache")
    assert num_decoded(dataset, monkeypatch) == len(dataset)
    assert num_decoded(pickle.loads(pickle.dumps(dataset)), monkeypatch) == 0  # a worker
    assert num_decoded(cached(nyu, tmp_path / "cache"), monkeypatch) == len(dataset)


def test_frames_that_fit_no_slot_are_handed_on(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"x")
    sample = Sample("a", str(tmp_path / "a.png"), str(tmp_path / "b.png"))
    cache = FrameCache(tmp_path / "cache", "odd", [sample], (32, 64), "")
    image, depth = np.ones((32, 64, 3), np.uint8), np.ones((32, 64), np.uint16)
    odd = [
        (image[:30], depth[:30]),
        (image.astype(np.float32), depth),
        (image, depth.astype(np.float32)),  # the list has PNGs only: two bytes a pixel
        (image, depth.astype(np.int16)),
    ]
    for frame in odd:
        for _ in range(2):
            assert cache.get(0, sample, lambda _, frame=frame: frame) is frame
    assert "0 of 1 were written since this boot" in cache.describe()
    cache.get(0, sample, lambda _: (image, depth))
    assert "1 of 1 were written since this boot" in cache.describe()


def fill_the_disk(*_) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_line(nyu, tmp_path, monkeypatch):
    dataset = cached(nyu, tmp_path / "cache")
    monkeypatch.setattr(os, "posix_fallocate", fill_the_disk)
    with pytest.raises(UserError) as caught:
        dataset.open_cache()
    text = one_line(caught)
    assert f"cannot use {dataset.cache.path}: No space left on device; it takes 0.0005 GB" in text
    assert "name another folder, or set data.cache=null" in text
    assert dataset.cache.path.stat().st_size == 0
    monkeypatch.undo()
    dataset[0, 0]  # there is room again
    for short_write in (fill_the_disk, lambda file, content, at: 4096):
        monkeypatch.setattr(os, "pwritev", short_write)
        with pytest.raises(UserError, match="No space left"):
            dataset[1, 0]


def test_the_space_is_taken_at_once(nyu, tmp_path):
    dataset = cached(nyu, tmp_path / "cache")
    dataset.open_cache()
    assert dataset.cache.path.stat().st_blocks * 512 >= dataset.cache.num_bytes > 15 * 64 * 96 * 5


def test_a_folder_that_cannot_be_used(nyu, tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "cache", Path("/proc/langdepth")):
        with pytest.raises(UserError, match=f"data.cache: cannot use {place}/nyu_64x96_15_"):
            cached(nyu, place).open_cache()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(nyu, tmp_path):
    (tmp_path / "cache").mkdir(mode=0o555)
    with pytest.raises(UserError, match="Permission denied"):
        cached(nyu, tmp_path / "cache").open_cache()


def test_a_run_with_a_cache_is_the_run_without(workspace, tmp_path, monkeypatch):
    place = f"data.cache={tmp_path / 'cache'}"
    for name, words in {"without": [], "cold": [place], "warm": [place]}.items():
        outcome = train("stage1", *workspace.arguments("stage1", tmp_path / name, *words))
        assert outcome.code == 0, outcome.err
    runs = [tmp_path / name / "tiny" / "stage1" for name in ("without", "cold", "warm")]
    losses = [[line["loss/total"] for line in metrics_of(run, "train")] for run in runs]
    assert losses[0] == losses[1] == losses[2]
    logs = [(run / "log.txt").read_text() for run in runs]
    assert "decoded frames" not in logs[0]
    assert "0 of 12 were written since this boot" in logs[1]
    assert "12 of 12 were written since this boot" in logs[2]  # all are read before the first step
    monkeypatch.setattr(os, "posix_fallocate", fill_the_disk)
    full = f"data.cache={tmp_path / 'other'}"
    outcome = train("stage1", *workspace.arguments("stage1", tmp_path / "full", full))
    assert (outcome.code, len(outcome.errors)) == (2, 1)
    assert "No space left on device" in outcome.errors[0]
