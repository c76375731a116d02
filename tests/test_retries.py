"""Reads that fail for a moment, as on network disks, are tried again; HDF5 needs no locks."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from dataset_trees import one_line, plain, write_nyu

from common.data.lists import read_list
from common.data.sets.folder import find_pairs
from common.errors import UserError
from common.files import PAUSES, read_bytes, retried
from common.images.folder_index import FolderIndex
from scripts.preparation import hdf5
from scripts.preparation.hdf5 import is_hdf5, open_hdf5
from scripts.preparation.sun_rgbd_files import read_test_folders

PASSING = ("ESTALE", "EIO", "ETIMEDOUT", "EHOSTDOWN")
LASTING = ("EACCES", "ENOENT", "EISDIR")


@pytest.fixture(autouse=True)
def pauses(monkeypatch) -> list[float]:
    """The pauses that were made; none takes any time."""
    made: list[float] = []
    monkeypatch.setattr("common.files.time.sleep", made.append)
    return made


class Failing:
    """Calls `work` and fails the first `count` times."""

    def __init__(self, work, count: int, name: str = "ESTALE") -> None:
        self.work, self.count, self.name = work, count, name

    def __call__(self, *arguments, **options):
        self.count -= 1
        if self.count >= 0:
            number = getattr(errno, self.name)
            raise OSError(number, os.strerror(number))
        return self.work(*arguments, **options)


@pytest.mark.parametrize("name", PASSING)
def test_a_moment_is_waited_for(name, pauses):
    assert retried(Failing(lambda: 7, 2, name)) == 7
    assert pauses == list(PAUSES[:2])


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_told_at_once(name, pauses):
    with pytest.raises(OSError, match=re.escape(os.strerror(getattr(errno, name)))):
        retried(Failing(lambda: 7, 1, name))
    assert pauses == []


def test_a_disk_that_stays_away_is_told_after_a_while(tmp_path, pauses):
    with pytest.raises(OSError, match="Stale file handle"):
        retried(Failing(lambda: 7, 9))
    assert pauses == list(PAUSES)
    (tmp_path / "a").write_bytes(b"content")
    assert read_bytes(tmp_path / "a") == b"content"


def failing_method(monkeypatch, owner, name: str, count: int) -> None:
    """Make a method fail the first times."""
    fail = Failing(getattr(owner, name), count)
    monkeypatch.setattr(owner, name, lambda *arguments, **options: fail(*arguments, **options))


def test_training_goes_on_after_failed_reads(tmp_path, monkeypatch):
    dataset = plain(write_nyu(tmp_path))
    expected = dataset[0].image
    failing_method(monkeypatch, Path, "read_bytes", 2)
    assert dataset[0].image.equal(expected)


def test_a_picture_that_stays_unreadable_is_named(tmp_path, monkeypatch):
    dataset = plain(write_nyu(tmp_path))
    failing_method(monkeypatch, Path, "read_bytes", 9)
    with pytest.raises(UserError) as caught:
        _ = dataset[0]
    assert one_line(caught) == f"cannot read {dataset.samples[0].image_file}: Stale file handle"


def test_lists_and_folders_too(tmp_path, monkeypatch):
    data = write_nyu(tmp_path)
    failing_method(monkeypatch, Path, "read_bytes", 1)
    assert len(read_list(tmp_path / "train.txt")) == 15
    failing_method(monkeypatch, os, "scandir", 1)
    assert str(tmp_path / "train.txt") in FolderIndex()
    for kind in ("rgb", "depth"):
        (tmp_path / "own" / kind).mkdir(parents=True)
        (tmp_path / "own" / kind / "1.png").touch()
    failing_method(monkeypatch, os, "scandir", 2)
    assert len(find_pairs(tmp_path / "own", tmp_path / "own")[0]) == 1
    assert data.root == tmp_path


# HDF5


@pytest.fixture
def matlab(tmp_path) -> Path:
    path = tmp_path / "data.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["a"] = np.arange(100_000)
    return path


@pytest.fixture
def locked(matlab):
    """Another process holds the file."""
    code = "import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.flock(f, fcntl.LOCK_EX); "
    code += "print('locked', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(matlab)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"locked\n"
    yield matlab
    holder.communicate()


def test_hdf5_is_read_where_locks_are_refused(locked):
    with pytest.raises(OSError, match="unable to lock file"):
        h5py.File(locked, "r")
    with open_hdf5(locked) as file:
        assert file["a"][5] == 5


def without_the_choice(name, mode, **options):
    """h5py on an old HDF5 library."""
    if options:
        raise ValueError("HDF5 version >= 1.12.1 is required for file locking options")
    return h5py_file(name, mode)


h5py_file = h5py.File


def test_an_old_library_that_must_lock_is_told_apart_from_damage(locked, monkeypatch):
    monkeypatch.setattr(hdf5.h5py, "File", without_the_choice)
    with pytest.raises(UserError) as caught, open_hdf5(locked):
        pass
    assert "cannot be locked" in one_line(caught)
    assert "HDF5_USE_FILE_LOCKING=FALSE" in one_line(caught)
    assert "download" not in one_line(caught)


def test_the_advice_on_locks_works(locked):
    code = "import sys; import h5py; print(h5py.File(sys.argv[1], 'r')['a'][5])"
    environment = {**os.environ, "HDF5_USE_FILE_LOCKING": "FALSE"}
    command = [sys.executable, "-c", code, str(locked)]
    assert subprocess.check_output(command, env=environment) == b"5\n"


def test_a_damaged_file_is_called_so(matlab):
    os.truncate(matlab, matlab.stat().st_size - 1000)
    assert is_hdf5(matlab)
    with pytest.raises(UserError, match="damaged or cut off; download it again"), open_hdf5(matlab):
        pass
    matlab.write_bytes(b"<html>")
    with pytest.raises(UserError, match="not a whole MATLAB v7.3"), open_hdf5(matlab):
        pass
    with pytest.raises(UserError, match="no file"), open_hdf5(matlab.with_name("nowhere.mat")):
        pass


@pytest.mark.parametrize(("count", "is_read"), [(1, True), (9, False)])
def test_a_disk_that_fails_while_hdf5_opens(matlab, monkeypatch, count, is_read):
    monkeypatch.setattr(hdf5.h5py, "File", Failing(h5py_file, count, "EIO"))
    if is_read:
        with open_hdf5(matlab) as file:
            assert file["a"][7] == 7
        return
    with pytest.raises(UserError) as caught, open_hdf5(matlab):
        pass
    assert one_line(caught).startswith(f"{matlab} cannot be read: Input/output error; check")


def test_the_toolbox_of_sun_rgbd_is_opened_in_the_same_way(locked):
    with pytest.raises(UserError, match="there is no 'alltest' in it"):
        read_test_folders(locked)
