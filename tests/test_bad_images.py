"""`data.on_error=skip`: other images stand in for those that cannot be read, counted and listed."""

import errno
import json
import os
import sys

import pytest
import torch
from conftest import evaluate, metrics_of, run_process, train, train_process
from dataset_trees import plain, write_nyu

from common.config import REPO_ROOT
from common.data import bad_images
from common.data.bad_images import BadImages, StandIn, read_or_replace
from common.data.batch import Failure
from common.data.sampling import StepSampler, epoch_order, train_loader
from common.errors import BadFileError, UserError
from common.images import reading
from common.images.reading import read_file

SKIP = ("data.on_error=skip", "data.max_bad_share=0.3", "train.schedule=constant")
DRIVER = """
import sys
sys.path.insert(0, {root!r})
from common.errors import run_program
from common.programs import preflight
from stage1_vae.train import main
preflight.MOST = preflight.FEWEST = 1
run_program(main)
"""


@pytest.fixture
def words(workspace, data, tmp_path):
    """The command line of a run of six steps of four images, two epochs."""

    def of(*overrides):
        settings = ("train.max_steps=6", "eval.every=3", f"data.root={data}", *SKIP)
        return workspace.arguments("stage1", tmp_path, *settings, *overrides)

    return of


@pytest.fixture
def unseen(monkeypatch):
    """The first look at the data, which reads so small a set whole, is at one image."""
    for name in ("MOST", "FEWEST"):
        monkeypatch.setattr(f"common.programs.preflight.{name}", 1)


def damage(data, *lines, column=0):
    """Cut off pictures (column 0) or depth maps (1) of the training list; path -> what it was."""
    listed = (data / "train.txt").read_text().splitlines()
    paths = [data / listed[line].split()[column].lstrip("/") for line in lines]
    contents = {path: path.read_bytes() for path in paths}
    for path, content in contents.items():
        path.write_bytes(content[:100])
    return contents


def listed(run):
    return [json.loads(line) for line in (run / "bad_images.jsonl").read_text().splitlines()]


def outcome_of(run):
    """All that a run leaves of its bad images, and its weights."""
    counts = [(m["step"], m["bad_images"]) for m in metrics_of(run, "train")]
    return listed(run), counts, torch.load(run / "checkpoints/last.pt", weights_only=True)


def are_same(one, other):
    weights = [saved[2]["model"] for saved in (one, other)]
    return one[:2] == other[:2] and all(
        torch.equal(weights[0][k], weights[1][k]) for k in weights[0]
    )


def test_they_are_counted_listed_and_told_once(words, data, tmp_path):
    (image,), (depth,) = damage(data, 1), damage(data, 6, column=1)
    outcome = train("stage1", *words())
    assert outcome.code == 0, outcome.err
    bad, counts, _ = outcome_of(tmp_path / "tiny/stage1")
    assert {entry["file"] for entry in bad} == {str(image), str(depth)}
    assert all(entry["file"] in entry["reason"] and "cut off" in entry["reason"] for entry in bad)
    assert {entry["image"] for entry in bad} == {
        str(path.relative_to(data)).replace("sync_depth", "rgb") for path in (image, depth)
    }
    assert counts[-1] == (6, 2) and counts == sorted(counts)
    log = (tmp_path / "tiny/stage1/log.txt").read_text()
    assert log.count("skipped, with another image in its place") == 2
    assert "2 of 12 training images could not be read and had others in their place" in log


def test_nothing_is_said_where_all_is_well(words, tmp_path):
    assert train("stage1", *words()).code == 0
    run = tmp_path / "tiny/stage1"
    assert [m["bad_images"] for m in metrics_of(run, "train")] == [0] * 6
    assert not (run / "bad_images.jsonl").exists()
    assert "bad_images" not in torch.load(run / "checkpoints/last.pt", weights_only=True)
    assert train("stage1", *words("data.on_error=stop", "experiment=b")).code == 0
    weights = [torch.load(r / "checkpoints/last.pt", weights_only=True)["model"]
               for r in (run, tmp_path / "b/stage1")]  # fmt: skip
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert "bad_images" not in (tmp_path / "b/stage1/metrics.jsonl").read_text()


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_resumed_run_has_the_same_stand_ins(words, data, tmp_path, num_workers):
    damage(data, 1, 6, 7)
    assert train("stage1", *words("experiment=straight")).code == 0
    workers = f"train.num_workers={num_workers}"
    assert train("stage1", *words("train.max_steps=2", "eval.every=2")).code == 0
    assert train("stage1", *words(workers)).code == 0
    ends = [outcome_of(tmp_path / name / "stage1") for name in ("straight", "tiny")]
    assert are_same(*ends)


@pytest.mark.slow
def test_two_processes_see_the_same(words, data, tmp_path):
    damage(data, 1, 6, 7)
    assert train("stage1", *words("experiment=one")).code == 0
    outcome = train_process("stage1", *words("experiment=two"), NPROC="2")
    assert outcome.code == 0, outcome.err
    one, two = (outcome_of(tmp_path / name / "stage1") for name in ("one", "two"))
    assert one[:2] == two[:2]
    for name, weight in one[2]["model"].items():
        torch.testing.assert_close(weight, two[2]["model"][name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_stop_together_above_the_share(words, data, tmp_path):
    """Of the two that are too many, each process may have met one alone."""
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(root=str(REPO_ROOT)))
    order = epoch_order(12, 0, 0)
    paths = damage(data, order[4], order[7])  # rows 0 and 3 of the second step
    command = (sys.executable, "common/runtime/launcher.py", str(driver))
    settings = words("data.max_bad_share=0.1", "train.log_every=100")
    outcome = run_process(*command, *settings, NPROC="2")
    assert "2 of 12 training images cannot be read" in outcome.refusal
    assert "the run is saved at step 3 of 6" in outcome.refusal  # where they meet
    assert {entry["file"] for entry in listed(tmp_path / "tiny/stage1")} == set(map(str, paths))


def test_above_the_share_the_run_stops_saved_and_goes_on(unseen, words, data, tmp_path):
    order = epoch_order(12, 0, 0)
    contents = damage(data, order[5], order[9], column=1)
    share = "data.max_bad_share=0.1"  # one of twelve
    for _ in range(2):  # the same command looks again, and says the same
        line = train("stage1", *words(share)).refusal
        assert "2 of 12 training images cannot be read, more than data.max_bad_share=0.1" in line
    run = tmp_path / "tiny/stage1"
    assert len(listed(run)) == 2
    assert 0 < torch.load(run / "checkpoints/last.pt", weights_only=True)["step"] < 6
    mended, bad = contents
    mended.write_bytes(contents[mended])
    outcome = train("stage1", *words(share))
    assert outcome.code == 0, outcome.err
    assert [entry["file"] for entry in listed(run)] == [str(bad)]


def test_a_run_that_stopped_goes_on_with_skip(unseen, words, data):
    damage(data, epoch_order(12, 0, 0)[9])
    assert "saved at step 2 of 6" in train("stage1", *words("data.on_error=stop")).refusal
    outcome = train("stage1", *words())
    assert outcome.code == 0, outcome.err
    assert "resuming at step 2" in outcome.err


def test_what_is_scored_has_no_stand_ins(words, data, tmp_path):
    """Fewer images would be another score: training stops, and eval.py says what it left out."""
    first = {split: (data / f"{split}.txt").read_text().split()[0] for split in ("val", "test")}
    paths = {split: data / name.lstrip("/") for split, name in first.items()}
    content = paths["val"].read_bytes()
    paths["val"].write_bytes(b"")
    assert str(paths["val"]) in train("stage1", *words()).refusal
    paths["val"].write_bytes(content)
    assert train("stage1", *words("train.max_steps=1")).code == 0
    paths["test"].write_bytes(b"")
    outcome = evaluate("stage1", "--checkpoint", str(tmp_path / "tiny/stage1"))
    assert str(paths["test"]) in outcome.refusal


def test_stand_ins_are_functions_of_seed_and_position(tmp_path):
    data = write_nyu(tmp_path)
    dataset = plain(data)
    dataset.max_bad_share = 0.5
    (tmp_path / "sync/kitchen_0002/rgb_00001.jpg").write_bytes(b"")
    index = [sample.key for sample in dataset.samples].index("kitchen_0002/rgb_00001.jpg")
    stand_ins = [read_or_replace(dataset, index, position).item.key for position in range(12)]
    assert stand_ins == [read_or_replace(dataset, index, p).item.key for p in range(12)]
    assert len(set(stand_ins)) > 4 and dataset.samples[index].key not in stand_ins
    dataset.seed = 1
    assert stand_ins != [read_or_replace(dataset, index, p).item.key for p in range(12)]
    assert not isinstance(read_or_replace(dataset, 0, 0), StandIn)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_are_whole_and_failures_come_when_they_are_due(tmp_path, num_workers):
    dataset = plain(write_nyu(tmp_path))
    dataset.max_bad_share = 0.5
    for name in ("kitchen_0002/rgb_00001.jpg", "kitchen_0004/sync_depth_00000.png"):
        (tmp_path / "sync" / name).write_bytes(b"\x89PNG broken")
    sampler = StepSampler(15, batch_size=5, micro_batch_size=5, num_steps=6)
    told, due = [], []
    for batch in train_loader(dataset, sampler, num_workers, on_bad=told.append):
        assert len(batch) == 5
        due.append([(failure.image, failure.position) for failure in told])
        assert all(failure.position <= int(batch.position.max()) for failure in told)
    assert due[-1] and len({image for image, _ in due[-1]}) == 2


def test_a_disk_that_is_gone_is_no_bad_data(tmp_path, monkeypatch):
    """One missing file is its own; a folder that is gone, or empty, is not."""
    dataset = plain(write_nyu(tmp_path))
    dataset.max_bad_share = 0.5
    (tmp_path / "sync/kitchen_0002/rgb_00001.jpg").unlink()
    (tmp_path / "sync").rename(tmp_path / "away")
    sampler = StepSampler(15, batch_size=5, micro_batch_size=5)
    with pytest.raises(UserError, match="No such file") as caught:
        list(train_loader(dataset, sampler))
    assert not isinstance(caught.value, BadFileError)
    (tmp_path / "away").rename(tmp_path / "sync")
    told = []
    sampler = StepSampler(15, batch_size=15, micro_batch_size=15)
    list(train_loader(dataset, sampler, on_bad=told.append))
    assert [failure.image for failure in told] == ["kitchen_0002/rgb_00001.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        read_file(tmp_path / "empty/1.png")
    assert not isinstance(caught.value, BadFileError)


@pytest.mark.parametrize("name", ["EIO", "ESTALE", "EMFILE", "ENOMEM", "ENOTCONN", "ETIMEDOUT"])
def test_reads_that_fail_for_the_machine_s_sake_stop(tmp_path, monkeypatch, name):
    dataset = plain(write_nyu(tmp_path))
    dataset.max_bad_share = 0.5
    number = getattr(errno, name)

    def fail(path):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(reading, "read_stored", fail)
    sampler = StepSampler(15, batch_size=5, micro_batch_size=5)
    with pytest.raises(UserError) as caught:
        list(train_loader(dataset, sampler))
    assert not isinstance(caught.value, BadFileError)


@pytest.mark.parametrize("error", [MemoryError(), reading.cv2.error("(-4:Insufficient memory) x")])
def test_decoding_without_memory_is_no_bad_data(tmp_path, monkeypatch, error):
    dataset = plain(write_nyu(tmp_path))
    dataset.max_bad_share = 0.5

    def fail(*arguments):
        raise error

    monkeypatch.setattr(reading.cv2, "imdecode", fail)
    sampler = StepSampler(15, batch_size=5, micro_batch_size=5)
    with pytest.raises(UserError, match="out of memory"):
        list(train_loader(dataset, sampler))


def test_where_no_stand_in_can_be_read_the_run_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(bad_images, "MOST_TRIED", 3)
    dataset = plain(write_nyu(tmp_path))
    dataset.max_bad_share = 0.99
    for sample in dataset.samples:
        os.truncate(sample.image_file, 100)
    sampler = StepSampler(15, batch_size=5, micro_batch_size=5)
    with pytest.raises(UserError, match="4 training images, one after the other, cannot be read"):
        list(train_loader(dataset, sampler))


@pytest.mark.parametrize(
    ("num_images", "share", "most"), [(12, 0.01, 1), (1, 0.01, 1), (795, 0.01, 7), (9, 0.0, 0)]
)
def test_how_many_may_be_bad(num_images, share, most):
    bad = BadImages(num_images, share)
    for number in range(most + 1):
        bad.check()
        error = BadFileError(f"/data/{number}.png: cut off", f"/data/{number}.png")
        for _ in range(2):  # the same image counts once
            bad.add(Failure(f"{number}.png", error, number))
        assert [new.file for new in bad.meet()] == [error.path]
    with pytest.raises(UserError, match=f"{most + 1} of {num_images} training images"):
        bad.check()


def test_lines_of_the_log_are_bounded(words, data, tmp_path, monkeypatch):
    monkeypatch.setattr("common.programs.bad_data.MOST_LINES", 1)
    damage(data, 1, 6, 7)
    assert train("stage1", *words()).code == 0
    log = (tmp_path / "tiny/stage1/log.txt").read_text()
    assert log.count("skipped, with another image") == 1
    assert log.count("further images that cannot be read are listed in") == 1
    assert len(listed(tmp_path / "tiny/stage1")) == 3
