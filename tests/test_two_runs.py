"""Two programs that would write to one place: the second takes another or gets one line."""

import os
import signal
import time
from threading import Thread

import pytest
import torch
from conftest import (
    evaluate,
    metrics_of,
    run_script,
    start_process,
    train,
    train_process,
)

from common.config import to_dict
from common.language.captions import write_entries
from common.language.features import FeaturePlace, encode_once
from common.programs.run import Run
from common.programs.train import read_command_line
from common.runtime.claims import claim_folder, claim_path, find_holder
from stage1_vae.stage import STAGE


@pytest.fixture
def words(workspace, tmp_path):
    """The command line of a stage 1 run below `tmp_path`."""

    def of(*overrides):
        return workspace.arguments("stage1", tmp_path, *overrides)

    return of


def running(words, folder):
    """Hold the folder as a run with this command line does."""
    return claim_folder(folder, "", to_dict(read_command_line(words, STAGE).config()))


def snapshot(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("change", [(), ("train.max_steps=9",), ("train.resume=false",)])
def test_a_run_that_is_going_on_is_not_entered(words, tmp_path, change):
    assert train("stage1", *words()).code == 0
    folder = tmp_path / "tiny/stage1"
    with running(words(), folder):
        before = snapshot(folder)
        refusal = train("stage1", *words(*change)).refusal
        assert snapshot(folder) == before
    assert f"{folder} is being written by another program" in refusal
    assert f"process {os.getpid()} on {os.uname().nodename}" in refusal
    assert "experiment=NAME" in refusal and "NPROC=4" in refusal
    assert [p.name for p in folder.parent.iterdir()] == ["stage1"]


def test_another_setting_takes_the_next_number_before_anything_is_saved(words, tmp_path):
    folder = tmp_path / "tiny/stage1"
    with running(words("train.lr=1e-4"), folder):
        outcome = train("stage1", *words("train.lr=1e-3"))
        assert outcome.code == 0, outcome.err
        assert f"{folder} holds a run with other settings and is left alone" in outcome.err
        assert [p.name for p in folder.iterdir()] == [".claim"]
        with running(words("train.lr=1e-3"), tmp_path / "tiny/stage1-2"):
            assert train("stage1", *words("train.lr=1e-2")).code == 0
    assert (tmp_path / "tiny/stage1-3/checkpoints/last.pt").exists()
    assert train("stage1", *words("train.lr=1e-5")).code == 0
    assert (folder / "checkpoints/last.pt").exists()  # free again: it held nothing


@pytest.mark.parametrize("place", ["output_root", "experiment"])
def test_a_place_where_no_run_can_be_is_one_line(words, tmp_path, place):
    """It has no next number: the search for one never ended."""
    (tmp_path / "file").touch()
    change = {
        "output_root": f"output_root={tmp_path / 'file'}",
        "experiment": f"experiment={'a' * 300}",
    }
    refusal = train("stage1", *words(change[place])).refusal
    assert place in refusal


def stop_before_the_first_save(words, monkeypatch):
    """A run that has been evaluated, and is gone before `last.pt` is there."""
    write = Run.scalars

    def scalars(self, step, kind, values):
        write(self, step, kind, values)
        if step == 2:
            raise SystemExit(1)

    monkeypatch.setattr(Run, "scalars", scalars)
    assert train("stage1", *words("eval.every=1")).code == 1
    monkeypatch.undo()


def test_work_without_a_checkpoint_to_resume_from_is_kept(words, tmp_path, monkeypatch):
    stop_before_the_first_save(words, monkeypatch)
    folder = tmp_path / "tiny/stage1"
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["best.pt"]
    before = snapshot(folder)
    assert train("stage1", *words("train.lr=1e-2")).code == 0
    assert snapshot(folder) == before
    assert (tmp_path / "tiny/stage1-2/checkpoints/last.pt").exists()

    again = train("stage1", *words("eval.every=1"))  # its own settings: it starts over
    assert again.code == 0 and "its best.pt is kept as" in again.err
    kept = folder / "checkpoints/best_of_stopped_run_1.pt"
    assert kept.read_bytes() == before[folder / "checkpoints/best.pt"]
    assert [line["step"] for line in metrics_of(folder, "train")] == [1, 2]


def test_metrics_alone_are_work_too(words, tmp_path):
    folder = tmp_path / "tiny/stage1"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "kind": "train"}\n')
    assert train("stage1", *words()).code == 0
    assert [p.name for p in folder.iterdir()] == ["metrics.jsonl"]
    assert (tmp_path / "tiny/stage1-2/checkpoints/last.pt").exists()


def test_a_run_whose_folder_was_taken_over_stops(words, tmp_path, monkeypatch):
    """It was silent for too long: a suspended machine, a disk that did not answer."""
    write, claim = Run.scalars, tmp_path / "tiny/stage1/.claim"

    def scalars(self, step, kind, values):
        write(self, step, kind, values)
        claim.write_text('{"token": "b", "host": "node8", "pid": 4}')

    monkeypatch.setattr(Run, "scalars", scalars)
    assert "was taken over by" in train("stage1", *words()).refusal
    assert not (tmp_path / "tiny/stage1/checkpoints/last.pt").exists()


def wait_for(path, process, text, seconds=120):
    end = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("nproc", ["1", "2"])
def test_real_runs_side_by_side_and_after_a_kill(words, tmp_path, nproc):
    long = words("train.max_steps=100000", "eval.every=100000", "train.save_every=1")
    folder = tmp_path / "tiny/stage1"
    first = start_process("sh", "stage1_vae/train.sh", *long, NPROC=nproc)
    wait_for(folder / "metrics.jsonl", first, '"step": 2,')
    same = train_process("stage1", *long, NPROC=nproc)
    assert "is being written by another program" in same.refusal
    other = train_process("stage1", *words("train.lr=1e-2"), NPROC=nproc)
    assert other.code == 0 and "stage1-2" in other.err
    os.kill(find_holder(folder).pid, signal.SIGKILL)
    first.communicate(timeout=60)
    second = start_process("sh", "stage1_vae/train.sh", *long, NPROC=nproc)
    wait_for(folder / "log.txt", second, "resuming at step")
    second.send_signal(signal.SIGINT)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 130 and err.count("which has ended; taken over") == 1
    assert find_holder(folder) is None


@pytest.mark.slow
def test_a_program_started_once_per_gpu_without_ranks(words):
    """The user believes that it is distributed."""
    long = words("train.max_steps=100000", "eval.every=100000")
    python = os.environ["LANGDEPTH_PYTHON"]
    processes = [start_process(python, "stage1_vae/train.py", *long) for _ in range(4)]
    try:
        end = time.monotonic() + 200
        while sum(p.poll() is not None for p in processes) < 3 and time.monotonic() < end:
            time.sleep(0.1)
        ended = [p for p in processes if p.poll() is not None]
        assert [p.returncode for p in ended] == [2, 2, 2]
        assert all("one run are NPROC=4" in p.communicate()[1] for p in ended)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_second_run_waits_for_features_that_the_first_encodes(tmp_path):
    captions = {"a.png": "A room.", "b.png": "A bed."}
    place = FeaturePlace(lambda name: tmp_path / name, tmp_path / "features")
    ready = encode_once(captions, "untrained:0", place, "text")
    (path,) = (tmp_path / "features").iterdir()
    content = path.read_bytes()
    path.unlink()
    stores = []
    second = Thread(
        target=lambda: stores.append(encode_once(captions, "untrained:0", place, "text"))
    )
    with claim_path(path, ""):
        second.start()
        time.sleep(0.3)
        assert second.is_alive() and not path.exists()
        path.write_bytes(content)
        before = path.stat().st_mtime_ns
    second.join(60)
    assert torch.equal(stores[0]["a.png"], ready["a.png"])
    assert path.stat().st_mtime_ns == before  # not encoded twice


@pytest.fixture
def captions_file(tmp_path):
    file = tmp_path / "in/captions.jsonl"
    write_entries(file, [{"image": "a.png", "caption": "A room."}])
    return file


def test_programs_that_write_one_file(workspace, captions_file, tmp_path):
    features, captions = tmp_path / "f.safetensors", tmp_path / "c.jsonl"
    with claim_path(features, ""), claim_path(captions, ""):
        source = ("--captions", captions_file, "--encoder", "untrained:0")
        refusal = run_script("encode_text.py", *source, "--output", features).refusal
        assert f"{features} is being written" in refusal and "another --output" in refusal
        source = ("--images", workspace.data)
        refusal = run_script("caption_images.py", *source, "--output", captions).refusal
        assert f"{captions} is being written" in refusal and "another --output" in refusal
    assert {p.name for p in tmp_path.iterdir()} == {"in"}
    outcome = run_script(
        "encode_text.py", "--captions", captions_file, "--encoder", "untrained:0",
        "--output", features,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err


def test_programs_that_write_one_folder(workspace, trained, tmp_path):
    folder = tmp_path / "out"
    checkpoint = trained / "tiny/stage1"
    commands = {
        "few_shot.py": ("--recipe", "joint", "--images", "2", "--data", workspace.configs),
        "prepare_kitti.py": ("--allow-missing",),
        "prepare_sun_rgbd.py": (),
    }
    with claim_folder(folder, ""):
        for program, arguments in commands.items():
            refusal = run_script(program, *arguments, "--output", folder).refusal
            assert f"{folder} is being written by" in refusal and "another --output" in refusal
        assert f"{folder} is being" in run_script("prepare_nyu.py", "--root", folder).refusal
        options = ("--checkpoint", checkpoint, "--save-predictions", folder)
        assert f"{folder} is being" in evaluate("stage1", *map(str, options)).refusal
        assert [p.name for p in folder.iterdir()] == [".claim"]
    assert evaluate("stage1", *map(str, options)).code == 0
    assert not list(folder.glob(".claim*"))


def test_two_makers_of_demo_data(tmp_path):
    make = ("--out", tmp_path, "--scenes", 1, "--val-scenes", 1, "--test-scenes", 1)
    make += ("--height", 32, "--width", 32, "--workers", 1)
    with claim_path(tmp_path / "rooms", ""):
        assert "rooms is being written" in run_script("make_demo_data.py", *make).refusal
    assert run_script("make_demo_data.py", *make).code == 0
    with claim_path(tmp_path / "rooms", ""):  # what is made needs nobody's leave
        assert "already there" in run_script("make_demo_data.py", *make).out
