"""An error in the middle of training: the run is saved first, and the one line says where it is."""

import sys

import pytest
import torch
from conftest import metrics_of, run_process, train

from common.config import REPO_ROOT
from common.data.ground_truth import GroundTruthUse
from common.data.sampling import epoch_order
from common.errors import UserError
from common.programs.session import Session

CONSTANT = "train.schedule=constant"
DRIVER = """
import sys
sys.path.insert(0, {root!r})
import common.programs.ready
from common.errors import run_program
from common.data.ground_truth import GroundTruthUse
from stage1_vae.train import main
common.programs.ready.check_data = lambda *_: GroundTruthUse()
run_program(main)
"""


@pytest.fixture
def words(workspace, data, tmp_path):
    """The command line of a run of six steps of four images, evaluated every three steps."""

    def of(*overrides):
        settings = ("train.max_steps=6", "eval.every=3", CONSTANT, f"data.root={data}")
        return workspace.arguments("stage1", tmp_path, *settings, *overrides)

    return of


@pytest.fixture
def unseen(monkeypatch):
    """The first look at the data, which would meet every damage of so small a set, is left out."""
    monkeypatch.setattr("common.programs.ready.check_data", lambda *_: GroundTruthUse())


class Damaged:
    """A file that cannot be read until it is repaired."""

    def __init__(self, path):
        self.path, self.content = path, path.read_bytes()
        path.write_bytes(self.content[:100])

    def repair(self):
        self.path.write_bytes(self.content)


def damage(data, split, line, column=0):
    """Of a line of a list the image (column 0) or the depth map (1)."""
    name = (data / f"{split}.txt").read_text().splitlines()[line].split()[column]
    return Damaged(data / name.lstrip("/"))


def image_of_step(step, part=0):
    """Which training image is one of the four of a step."""
    return int(epoch_order(12, 0, 0)[4 * step + part])


def last(run):
    return torch.load(run / "checkpoints/last.pt", weights_only=True)


def same_weights(one, other):
    return all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_training_image(unseen, words, data, tmp_path, num_workers):
    straight = words("experiment=straight")
    assert train("stage1", *straight).code == 0
    damaged = damage(data, "train", image_of_step(2))
    run = tmp_path / "tiny/stage1"
    for _ in range(2):  # the second start comes to the same place, and says the same
        line = train("stage1", *words(f"train.num_workers={num_workers}")).refusal
        assert str(damaged.path) in line
        assert "; the run is saved at step 2 of 6, where the same command goes on" in line
        assert last(run)["step"] == 2
    damaged.repair()
    assert "resuming at step 2" in train("stage1", *words()).err
    assert same_weights(last(run), last(tmp_path / "straight/stage1"))
    assert [m["step"] for m in metrics_of(run, "val")] == [3, 6]


def test_an_error_in_the_first_step_leaves_nothing_to_save(unseen, words, data, tmp_path):
    damaged = damage(data, "train", image_of_step(0), column=1)
    line = train("stage1", *words()).refusal
    assert str(damaged.path) in line and "saved" not in line
    assert not list((tmp_path / "tiny/stage1/checkpoints").iterdir())


@pytest.mark.parametrize("steps", [3, 6])
def test_a_damaged_validation_map(unseen, words, data, tmp_path, steps):
    """The evaluation that failed is made up for: also that of the last step."""
    damaged = damage(data, "val", 1, column=1)
    settings = words(f"train.max_steps={steps}")
    for _ in range(2):
        line = train("stage1", *settings).refusal
        assert str(damaged.path) in line
        assert f"the run is saved at step 3 of {steps}" in line
    run = tmp_path / "tiny/stage1"
    assert not metrics_of(run, "val")
    damaged.repair()
    assert train("stage1", *settings).code == 0
    assert [m["step"] for m in metrics_of(run, "val")] == list(range(3, steps + 1, 3))
    assert (run / "checkpoints/best.pt").exists()
    assert "evaluation_failed" not in last(run)
    assert "already trained" in train("stage1", *settings).err


def test_several_damaged_validation_maps_are_counted(unseen, words, data):
    for line in (0, 2):
        damage(data, "val", line)
    assert "(1 more images failed); the run is saved at step 3" in train("stage1", *words()).refusal


def test_a_bug_keeps_its_traceback_and_what_was_learned(words, tmp_path, monkeypatch):
    def log(self, step, values):
        if step == 5:
            raise ZeroDivisionError

    monkeypatch.setattr(Session, "log", log)
    with pytest.raises(ZeroDivisionError):
        train("stage1", *words())
    assert last(tmp_path / "tiny/stage1")["step"] == 5
    log_text = (tmp_path / "tiny/stage1/log.txt").read_text()
    assert "the run is saved at step 5 of 6, where the same command goes on" in log_text


def test_what_cannot_be_saved_is_told_and_the_error_too(unseen, words, data, tmp_path, monkeypatch):
    damage(data, "train", image_of_step(2))
    save = Session.save

    def save_until_full(self, step):
        if step > 1:
            raise UserError("no space left")
        save(self, step)

    monkeypatch.setattr(Session, "save", save_until_full)
    outcome = train("stage1", *words("train.save_every=1"))
    assert outcome.refusal.startswith("error: no space left; the run is saved at step 1 of 6")
    assert "the 1 steps after it are lost" in outcome.refusal
    assert "step 2 could not be saved: no space left" in outcome.err
    assert last(tmp_path / "tiny/stage1")["step"] == 1


def test_spoilt_weights_do_not_replace_a_good_checkpoint(words, tmp_path, monkeypatch):
    def validate(self, step):
        next(self.model.parameters()).data.fill_(torch.nan)
        raise UserError("bad")

    monkeypatch.setattr(Session, "validate", validate)
    line = train("stage1", *words("train.save_every=2")).refusal
    assert "bad; the run is saved at step 2 of 6" in line
    assert "the 1 steps after it are lost" in line
    weights = last(tmp_path / "tiny/stage1")["model"].values()
    assert not any(weight.isnan().any() for weight in weights)


@pytest.fixture
def two_processes(tmp_path):
    """Train stage 1 in two real processes that do not look at the data first."""
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER.format(root=str(REPO_ROOT)))

    def start(*arguments):
        command = (sys.executable, "common/runtime/launcher.py", str(driver), *arguments)
        return run_process(*command, NPROC="2")

    return start


@pytest.mark.slow
def test_an_image_that_only_the_second_process_reads(two_processes, words, data, tmp_path):
    """Its steps are void until both meet, here in the sixth; then both stop, and one saves."""
    settings = words("train.log_every=100", "eval.every=100")
    damaged = damage(data, "train", image_of_step(2, part=3))
    outcome = two_processes(*settings)
    assert str(damaged.path) in outcome.refusal
    assert "the run is saved at step 2 of 6, where the same command goes on" in outcome.refusal
    saved = last(tmp_path / "tiny/stage1")
    assert saved["step"] == 2
    two_steps = words("train.max_steps=2", "experiment=two", "eval.every=100")
    damaged.repair()
    assert two_processes(*two_steps).code == 0
    assert same_weights(saved, last(tmp_path / "two/stage1"))


@pytest.mark.slow
def test_a_validation_image_that_only_the_second_process_reads(
    two_processes, words, data, tmp_path
):
    damaged = damage(data, "val", 1)
    outcome = two_processes(*words())
    assert str(damaged.path) in outcome.refusal
    assert "the run is saved at step 3 of 6" in outcome.refusal
    assert last(tmp_path / "tiny/stage1")["step"] == 3


@pytest.mark.slow
def test_the_second_process_meets_a_mistake_in_its_first_step(two_processes, words, data):
    damaged = damage(data, "train", image_of_step(0, part=3))
    outcome = two_processes(*words())
    assert str(damaged.path) in outcome.refusal
    assert "saved" not in outcome.refusal
