"""What is left of a run's saves when files are damaged, and how they are written."""

import errno
import os
import shutil
from types import SimpleNamespace

import pytest
import torch
from checkpoint_files import content, names, step_of
from conftest import evaluate, metrics_of, run_script, train
from damage import cut, flip
from test_resume import last, same, snapshot

from common.engine.train_config import TrainConfig
from common.errors import UserError
from common.programs.saving import Saver
from common.runtime import checkpoint_folder, checkpoints
from common.runtime.checkpoint_folder import CheckpointFolder

pytest_plugins = ["checkpoint_files", "prediction_runs"]


def test_every_bit_of_the_contents_counts(folder):
    """A flipped bit is noticed, or lies where nothing is read: the contents are the same then."""
    whole = folder.last.read_bytes()
    expected = checkpoints.read_checkpoint(folder.last)
    refused = 0
    for position in range(0, len(whole), 7):
        copy = folder.folder / f"copy_{position}.pt"
        copy.write_bytes(whole)
        flip(copy, position, position % 8)
        try:
            assert same(checkpoints.read_checkpoint(copy), expected), position
        except checkpoints.DamagedError:
            refused += 1
        copy.unlink()
    assert refused > 0.5 * len(whole) / 7


def test_weights_that_torch_would_read_are_refused(folder):
    """`torch.load` reads a flipped bit of a weight without a word."""
    data = folder.last.read_bytes()
    flip(folder.last, data.index(torch.full((4,), 3.0).numpy().tobytes()) + 200)
    read = torch.load(folder.last, weights_only=True)["model"]["weight"]
    assert not torch.equal(read, torch.full((300,), 3.0))
    with pytest.raises(UserError, match=r"last\.pt: it is damaged .* take .*last\.previous\.pt, "):
        checkpoints.read_checkpoint(folder.last)


def test_the_one_before_stays(folder):
    assert names(folder) == ["last.previous.pt", "last.pt"]
    assert (step_of(folder.last), step_of(folder.previous)) == (3, 2)
    assert folder.find().path == folder.last


@pytest.mark.parametrize("has_links", [True, False])
def test_a_crash_anywhere_in_a_save_leaves_a_whole_file(folder, monkeypatch, has_links):
    """Each operation on the disk in turn is the one that does not happen any more."""

    class Crash(BaseException):
        pass

    def link(source, target):
        if not has_links:
            raise OSError(errno.EPERM, "no hard links here")
        return os_link(source, target)

    def counted(operation):
        def run(*arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return operation(*arguments, **options)

        return run

    os_link = os.link
    path_type = type(folder.last)
    replace, unlink, save = path_type.replace, path_type.unlink, torch.save
    crashes, left = 0, [0]
    while True:
        left[0] = crashes
        with monkeypatch.context() as patch:
            patch.setattr(path_type, "replace", counted(replace))
            patch.setattr(path_type, "unlink", counted(unlink))
            patch.setattr(checkpoint_folder.os, "link", counted(link))
            patch.setattr(torch, "save", counted(save))
            try:
                folder.save_last(content(4))
            except Crash:
                pass
            else:
                break
        crashes += 1
        found = folder.find()
        assert found.path is not None and not found.damaged
        assert step_of(found.path) in (2, 3, 4), crashes
        assert bool(found.describe()) == (found.path != folder.last)
        assert has_links is False or found.path == folder.last
    assert crashes >= 4
    folder.remove_unfinished()
    assert names(folder) == ["last.previous.pt", "last.pt"]
    assert step_of(folder.last) == 4


def test_the_newest_whole_one_is_found(folder):
    folder.save_numbered(content(1), 0)
    folder.save_numbered(content(3), 0)
    cut(folder.last)
    found = folder.find()
    assert (found.path.name, found.damaged) == ("step_0000003.pt", (folder.last,))
    cut(found.path)
    assert folder.find().path == folder.previous
    cut(folder.previous)
    found = folder.find()
    assert found.path.name == "step_0000001.pt"
    assert len(found.damaged) == 3
    cut(found.path)
    with pytest.raises(UserError, match="all are damaged") as caught:
        folder.find()
    assert "\n" not in str(caught.value) and str(folder.previous) in str(caught.value)


def test_a_whole_file_that_does_not_fit_is_not_passed_over(folder):
    torch.save({**content(3), "format_version": 99}, folder.last)
    with pytest.raises(UserError, match="has format 99"):
        folder.find()


@pytest.mark.parametrize(("newest", "kept"), [(0, [2, 4, 6, 8]), (1, [8]), (3, [4, 6, 8])])
def test_numbered_checkpoints_and_how_many_stay(tmp_path, newest, kept):
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.folder.mkdir()
    saver = Saver(folder, TrainConfig(max_steps=9, keep_every=2, keep_newest=newest))
    for step in range(1, 10):
        saver.save_last(content(step))
    assert [step_of(path) for path in folder.numbered()] == kept
    assert (step_of(folder.last), step_of(folder.previous)) == (9, 8)


def test_starting_over_leaves_nothing_of_the_run_before(folder):
    folder.save_numbered(content(2), 0)
    saver = Saver(folder, TrainConfig(max_steps=9, keep_every=1))
    saver.save_last(content(1))
    assert names(folder) == ["last.pt", "step_0000001.pt"]


def test_space_is_looked_at_before_a_save(folder, monkeypatch):
    before = snapshot(folder.folder)
    usage = SimpleNamespace(total=0, used=0, free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"saving last\.pt needs .* are free; make room or set"):
        folder.save_last(content(4))
    assert snapshot(folder.folder) == before


def test_a_run_goes_on_from_the_checkpoint_before(words, tmp_path):
    """Loudly; the damaged one stays; the end is that of a run without damage. None: refused."""
    run = tmp_path / "tiny/stage1"
    folder = CheckpointFolder(run / "checkpoints")
    assert train("stage1", *words("train.max_steps=4", "experiment=straight")).code == 0
    assert train("stage1", *words("train.max_steps=3", "train.keep_every=2")).code == 0
    assert names(folder) == ["best.pt", "last.previous.pt", "last.pt", "step_0000002.pt"]
    flip(folder.last, folder.last.stat().st_size // 2)
    damaged = folder.last.read_bytes()
    scored = evaluate("stage1", "--checkpoint", str(folder.last))
    assert "take " + str(folder.previous) in scored.refusal
    outcome = train("stage1", *words("train.max_steps=4"))
    assert outcome.code == 0, outcome.err
    assert f"WARNING: damaged: {folder.last}; going on from " in outcome.err
    assert f"WARNING: {folder.last} is kept as last.damaged_1.pt" in outcome.err
    assert "resuming at step 2" in outcome.err
    assert (run / "checkpoints/last.damaged_1.pt").read_bytes() == damaged
    a, b = last(run), last(tmp_path / "straight/stage1")
    assert all(same(a[key], b[key]) for key in a.keys() - {"config"})
    assert [line["step"] for line in metrics_of(run, "train")] == [1, 2, 3, 4]
    numbered = folder.numbered()[0]
    assert evaluate("stage1", "--checkpoint", str(numbered)).code == 0

    before = snapshot(folder.folder)
    for path in (folder.last, folder.previous, numbered):
        cut(path)
    line = train("stage1", *words("train.max_steps=5")).refusal
    assert "all are damaged" in line and str(folder.previous) in line
    assert sorted(snapshot(folder.folder)) == sorted(before)


@pytest.mark.slow
def test_a_prediction_from_a_numbered_checkpoint(workspace, trained, tmp_path, encoder):
    """A file is a file: predictions too take any of them."""
    run = shutil.copytree(trained / "tiny/stage3", tmp_path / "run")
    path = run / "checkpoints/step_0000002.pt"
    shutil.copy(run / "checkpoints/last.pt", path)
    picture = next((workspace.data / "test").rglob("rgb_*.png"))
    words = ("--caption", "A room.", encoder)
    options = ("--checkpoint", path, "--output", tmp_path / "out", picture, *words)
    outcome = run_script("predict.py", *options)
    assert outcome.code == 0, outcome.err
    cut(path)
    assert "damaged" in run_script("predict.py", *options).refusal
