"""What identifies a set of files: size and contents; a copy is the same, an edited file is not."""

import os
import shutil

import numpy as np
import pytest

from common.errors import UserError
from common.fingerprints import NUM_READ, file_sha256, take_fingerprint

NUM_FILES = 3 * NUM_READ
LATER = 10**9  # nanoseconds


@pytest.fixture
def files(tmp_path):
    """Files of one size, each with its own contents."""
    (tmp_path / "set").mkdir()
    paths = {f"{number}.npy": tmp_path / f"set/{number}.npy" for number in range(NUM_FILES)}
    for number, path in enumerate(paths.values()):
        np.save(path, np.full(4, number))
    return paths


def touch(path):
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + LATER))


def copied(files, folder):
    """Copies with times of their own, as `cp` makes them."""
    folder.mkdir()
    copies = {name: folder / name for name in files}
    for name, path in files.items():
        shutil.copyfile(path, copies[name])
        touch(copies[name])
    return copies


def test_the_same_files_and_copies_of_them_are_the_same(files, tmp_path):
    before = take_fingerprint(files)
    assert len(before.contents) == NUM_READ
    copies = copied(files, tmp_path / "copy")
    assert before.changed(files) == before.changed(copies) == []
    assert take_fingerprint(copies).digest == before.digest


def test_another_size_is_another_file(files, tmp_path):
    before = take_fingerprint(files)
    np.save(files["5.npy"], np.zeros(9))
    assert before.changed(files) == ["5.npy"]
    copies = copied(files, tmp_path / "copy")
    assert before.changed(copies) == ["5.npy"]
    assert take_fingerprint(copies).digest != before.digest


def test_other_contents_of_one_size_under_the_same_names(files):
    """Depth maps as `.npy` are all of one size: what some of them hold decides."""
    before = take_fingerprint(files)
    for number, path in enumerate(files.values()):
        np.save(path, np.full(4, -number - 1))
        touch(path)
    assert before.changed(files) == list(files)
    assert take_fingerprint(files).digest != before.digest


def test_a_file_that_was_written_again_among_others_that_were_not(files):
    before = take_fingerprint(files)
    known = next(iter(before.contents))
    unknown = next(name for name in files if name not in before.contents)
    for name in (known, unknown):
        touch(files[name])
    assert before.changed(files) == [unknown]  # the other's contents are known, and the same


def test_files_that_are_gone_or_not_known(files, tmp_path):
    before = take_fingerprint(files)
    files["7.npy"].unlink()
    assert before.changed({**files, "new": tmp_path}) == ["7.npy"]
    assert before.changed({"new": tmp_path}) == before.changed({}) == []
    with pytest.raises(UserError, match="cannot read .*7.npy"):
        take_fingerprint(files)
    assert take_fingerprint({}).changed(files) == []


def test_contents_are_read_again_when_a_file_changes(tmp_path):
    file = tmp_path / "weights.pt"
    file.write_bytes(b"one")
    first = file_sha256(file)
    assert file_sha256(str(file)) == first
    file.write_bytes(b"two")
    touch(file)
    assert file_sha256(file) != first
