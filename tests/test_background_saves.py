"""`train.async_save`: written in a thread, the same files, and whole when the run ends."""

import errno
import sys
import threading

import pytest
import torch
from checkpoint_files import content
from conftest import train
from test_resume import last, same, snapshot

from common.engine.train_config import TrainConfig
from common.errors import UserError
from common.programs.saving import Saver
from common.runtime import checkpoint_folder
from common.runtime.background import BackgroundWriter, to_host
from common.runtime.checkpoint_folder import CheckpointFolder

pytest_plugins = ["checkpoint_files"]


def test_written_in_the_background_it_is_the_same_file(tmp_path):
    """Also where tensors share memory, and when the weights go on changing."""
    files = []
    for async_save in (False, True):
        folder = CheckpointFolder(tmp_path / str(async_save))
        folder.folder.mkdir()
        saver = Saver(folder, TrainConfig(max_steps=1, async_save=async_save))
        weights = torch.arange(100_000.0)
        tied = torch.nn.BatchNorm1d(3).state_dict()  # it carries versions of its layers
        tied |= {"a": weights, "b": weights[10:20].view(2, 5), "c": weights.t()}
        saver.save_last({**content(1), "model": tied, "list": [(weights, 1)], "none": None})
        weights += 1
        saver.save_best({**content(1), "model": tied})
        weights += 1
        saver.finish()
        assert saver.saved_step == 1
        files.append([folder.last, folder.best])
    for one, other in zip(*files, strict=True):
        assert one.stat().st_size == other.stat().st_size  # what is shared is written once
        a, b = (torch.load(path, weights_only=True) for path in (one, other))
        assert same(a, b) and a["model"]._metadata == b["model"]._metadata
        assert same(b["model"]["a"][10:20].view(2, 5), b["model"]["b"])
    written = torch.load(files[1][0], weights_only=True)["model"]["a"]
    assert torch.equal(written, torch.arange(100_000.0))


def test_a_copy_shares_memory_as_the_original_does():
    weights = torch.arange(6.0).requires_grad_()
    copy = to_host({"all": weights, "part": weights[2:].view(2, 2), "empty": torch.empty(0)})
    weights.data.zero_()
    assert copy["all"].tolist() == [0, 1, 2, 3, 4, 5]
    copy["all"][2] = 7
    assert copy["part"].tolist() == [[7, 3], [4, 5]]
    assert not copy["all"].requires_grad and copy["empty"].shape == (0,)


def test_never_two_writes_at_once():
    writer, running, most = BackgroundWriter(), [], []
    release = threading.Event()

    def task(number):
        running.append(number)
        most.append(len(running))
        release.wait(30)
        running.remove(number)

    writer.start(lambda: task(1))
    threading.Timer(0.2, release.set).start()
    writer.start(lambda: task(2))
    writer.wait()
    assert most == [1, 1] and not running


def fail_during_check(position: int) -> tuple[list[OSError], bool]:
    """What three checks raise if the thread fails before a bytecode of the first; is there one."""
    writer, release, errors, num_codes = BackgroundWriter(), threading.Event(), [], 0

    def fail():
        assert release.wait(30)
        raise OSError(errno.ENOSPC, "full")

    def trace(frame, event, argument):
        nonlocal num_codes
        if frame.f_code is not BackgroundWriter.check.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if num_codes == position:
                release.set()
                thread.join(30)
            num_codes += 1
        return trace

    def check():
        try:
            writer.check()
        except OSError as error:
            errors.append(error)

    writer.start(fail)
    thread, before = writer._thread, sys.gettrace()
    sys.settrace(trace)
    check()
    sys.settrace(before)
    release.set()
    thread.join(30)
    check()
    check()
    return errors, position < num_codes


def test_no_error_is_lost_whenever_the_thread_meets_it():
    position, is_inside = 0, True
    while is_inside:
        errors, is_inside = fail_during_check(position)
        assert len(errors) == 1, position
        position += 1
    assert position > 5


def test_what_goes_wrong_in_the_background_is_raised_once(folder, monkeypatch):
    saver = Saver(folder, TrainConfig(max_steps=9, async_save=True))
    saver.saved_step = 3
    before = snapshot(folder.folder)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    saver.save_last(content(4))
    with pytest.raises(UserError, match=r"cannot write .*last\.pt: No space left on device"):
        saver.finish()
    saver.check()
    saver.finish()
    assert snapshot(folder.folder) == before and saver.saved_step == 3


def test_a_run_in_the_background_ends_with_everything_written(words, tmp_path, monkeypatch):
    """And its files are those of a run that waits for each of them."""
    for name in ("sync", "async"):
        settings = ("train.max_steps=3", f"train.async_save={str(name == 'async').lower()}")
        assert train("stage1", *words(*settings, f"experiment={name}")).code == 0
    one, other = (tmp_path / name / "stage1/checkpoints" for name in ("sync", "async"))
    assert snapshot(one).keys() == snapshot(other).keys()
    for name in snapshot(one):
        a, b = (torch.load(place / name, weights_only=True) for place in (one, other))
        assert all(same(a[key], b[key]) for key in a.keys() - {"config"}), name

    save = checkpoint_folder.save_checkpoint

    def full(path, content, *options):
        if content["step"] == 5 and path.name == "last.pt":
            raise UserError(f"cannot write {path}: No space left on device")
        save(path, content, *options)

    monkeypatch.setattr(checkpoint_folder, "save_checkpoint", full)
    outcome = train("stage1", *words("train.max_steps=6", "train.async_save=true",
                                     "experiment=async", "eval.every=9"))  # fmt: skip
    assert "No space left on device" in outcome.refusal
    assert "the run is saved at step" in outcome.refusal or "last save" in outcome.refusal
    monkeypatch.undo()
    assert train("stage1", *words("train.max_steps=6", "experiment=async")).code == 0
    assert last(tmp_path / "async/stage1")["step"] == 6
