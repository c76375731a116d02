"""A run goes on with the images it started with, or not at all, and scores none it trained on."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import (
    SETTINGS,
    evaluate,
    metrics_of,
    train,
    train_process,
    write_pair,
    write_yaml,
)

from common.data.kept_data import KeptData
from common.data.lists import read_list
from common.runtime.checkpoints import load_checkpoint

SCENES, PER_SCENE = 8, 5


def add_scenes(root: Path, first: int = 0, count: int = SCENES, seed: int = 0) -> None:
    rng = np.random.default_rng([seed, first])
    for scene in range(first, first + count):
        (root / f"depth/scene_{scene}").mkdir(parents=True)
        for number in range(PER_SCENE):
            name = f"scene_{scene}/{number}.png"
            write_pair(root / "rgb" / name, root / "depth" / name, rng)


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """`rooms`: eight scenes with five pictures each, and captions. `runs`: two steps of stage 1."""
    place = tmp_path_factory.mktemp("template")
    add_scenes(place / "rooms")
    keys = [f"rgb/scene_{s}/{n}.png" for s in range(2 * SCENES) for n in range(PER_SCENE)]
    lines = [json.dumps({"image": key, "caption": f"A room, {key}."}) for key in keys]
    (place / "rooms/captions.jsonl").write_text("\n".join(lines))
    outcome = train("stage1", *write_command(place, "stage1"))
    assert outcome.code == 0, outcome.err
    return place


@pytest.fixture
def rooms(template, tmp_path) -> Path:
    """A copy of the pictures, with the times of the original."""
    return shutil.copytree(template / "rooms", tmp_path / "rooms")


@pytest.fixture
def run(template, rooms, tmp_path) -> Path:
    """A copy of the run."""
    return shutil.copytree(template / "runs", tmp_path / "runs") / "own/stage1"


@pytest.fixture
def command(rooms, tmp_path):
    """The command line of a stage that trains on `rooms`."""
    return partial(write_command, tmp_path)


def write_command(place: Path, stage: str, *overrides: str) -> list[str]:
    settings = json.loads(json.dumps(SETTINGS[stage]))
    if stage == "stage1":
        settings["model"]["text_dim"] = 1024
    data = {"name": "folder", "root": f"{place}/rooms", "height": 32, "width": 64, "max_depth": 10}
    base = {
        "experiment": "own",
        "output_root": f"{place}/runs",
        "data": data,
        "text": {"captions": "captions.jsonl", "encoder": "untrained:0"},
        "train": {"batch_size": 4, "max_steps": 2, "precision": "fp32", "num_workers": 0},
        "eval": {"protocol": "none"},
    }
    write_yaml(place / f"{stage}.yaml", {**base, **settings})
    return [str(place / f"{stage}.yaml"), *overrides]


def kept_of(run: Path, stage: str = "stage1") -> KeptData:
    last = run / "checkpoints/last.pt"
    kept = KeptData.of(load_checkpoint(last, stage=stage, recipes=("staged",)), last)
    assert kept is not None
    return kept


def scored(run: Path, tmp_path: Path, *words: str, stage: str = "stage1") -> list[str]:
    """The keys of the images that `eval.py` scores."""
    table = tmp_path / "scores.csv"
    outcome = score(run, "--csv", str(table), *words, stage=stage)
    assert outcome.code == 0, outcome.err
    return re.findall(r"rgb/scene_\d+/\d+\.png", table.read_text())


def score(run: Path, *words: str, stage: str = "stage1"):
    """Run `eval.py` on the pictures beside the runs, or on those that `words` name."""
    root = f"data.root={run.parents[2] / 'rooms'}"
    return evaluate(stage, "--checkpoint", str(run), root, *words)


def score_refusal(run: Path, *words: str) -> str:
    return score(run, *words).refusal


def go_on(command, *words: str):
    return train("stage1", *command("stage1", "train.max_steps=3", *words))


def test_a_checkpoint_keeps_the_three_splits(run, rooms):
    kept = kept_of(run)
    parts = {name: [pair.image for pair in read_list(run / f"splits/{name}.txt")]
             for name in ("train", "val", "test")}  # fmt: skip
    assert {name: kept.images[name] for name in ("train", "val")} == {
        name: parts[name] for name in ("train", "val")
    }
    assert sorted(key for keys in parts.values() for key in keys) == sorted(
        path.relative_to(rooms).as_posix() for path in rooms.glob("rgb/*/*")
    )


def test_new_scenes_move_no_split_of_a_run(run, command, rooms, tmp_path):
    before = {name: scored(run, tmp_path, "--split", name) for name in ("train", "val", "test")}
    add_scenes(rooms, SCENES, 2)
    after = {name: scored(run, tmp_path, "--split", name) for name in ("train", "val", "test")}
    assert after == before
    outcome = go_on(command)
    assert outcome.code == 0, outcome.err
    assert "10 images of 2 scene(s), first rgb/scene_8, are newer than the run" in outcome.err
    assert kept_of(run).images["train"] == before["train"]


def test_a_picture_that_is_gone_is_missed_and_moves_no_split(run, command, rooms, tmp_path):
    kept = kept_of(run)
    gone = rooms / kept.images["train"][0]
    content = gone.read_bytes()
    gone.unlink()
    assert not set(scored(run, tmp_path)) & set(kept.images["train"])
    refusal = go_on(command).refusal
    assert f"1 of 30 are not there, first {kept.images['train'][0]}; bring back what was" in refusal
    gone.write_bytes(content)  # "bring back what was there"
    assert "resuming at step 2" in go_on(command).err
    gone.unlink()
    allowed = train("stage1", *command("stage1", "train.max_steps=4", "data.allow_changed=true"))
    assert "goes on with other images than it started with: 1 of 30" in allowed.err
    assert [line["step"] for line in metrics_of(run, "val")][-1] == 4


@pytest.mark.parametrize("share", ["0.5", "1"])
def test_another_share_does_not_score_trained_images(run, tmp_path, share):
    refusal = score_refusal(run, f"data.test_share={share}")
    assert re.search(r"test: \d+ of \d+ images were trained on by this checkpoint", refusal)
    (advice,) = re.findall(r"set (data\.\S+), as then", refusal)
    assert advice == "data.test_share=0.1"
    assert scored(run, tmp_path, advice) == scored(run, tmp_path)
    assert "trained on" in score_refusal(run, "--split", "val", "data.val_share=0.9")


def test_another_data_set_of_the_same_names_is_scored_as_it_is_asked_for(run, tmp_path):
    other = tmp_path / "other"
    add_scenes(other, seed=1)
    shutil.copy(tmp_path / "rooms/captions.jsonl", other)
    words = ("--config", "configs/zero_shot/folder.yaml", f"data.root={other}")
    assert len(scored(run, tmp_path, *words)) == SCENES * PER_SCENE
    assert "of 40 images were trained on" in score_refusal(run, *words[:2])


def test_a_moved_data_set_keeps_its_splits(run, command, rooms, tmp_path):
    before = scored(run, tmp_path)
    copy = tmp_path / "scratch"
    shutil.copytree(rooms, copy, copy_function=shutil.copyfile)  # new times
    add_scenes(copy, SCENES, 2)
    assert scored(run, tmp_path, f"data.root={copy}") == before
    outcome = go_on(command, f"data.root={copy}")
    assert outcome.code == 0, outcome.err
    assert "no longer" not in outcome.err


def test_other_pictures_of_the_same_names_are_refused(run, command, rooms, tmp_path):
    other = tmp_path / "other"
    add_scenes(other, seed=1)
    shutil.copy(rooms / "captions.jsonl", other)
    refusal = go_on(command, f"data.root={other}").refusal
    assert "train: " in refusal and "files are no longer those that this run read" in refusal
    own = go_on(command, f"data.root={other}", "experiment=another")
    assert own.code == 0, own.err
    allowed = go_on(command, f"data.root={other}", "data.allow_changed=true")
    assert "resuming at step 2" in allowed.err


@pytest.mark.slow
def test_two_processes_refuse_together(run, command, tmp_path):
    other = tmp_path / "other"
    add_scenes(other, seed=1)
    shutil.copy(tmp_path / "rooms/captions.jsonl", other)
    words = command("stage1", "train.max_steps=3", f"data.root={other}")
    assert (
        "no longer those that this run read" in train_process("stage1", *words, NPROC="2").refusal
    )


def test_one_picture_that_was_mended_is_told_and_does_not_stop_a_run(run, command, rooms):
    key = kept_of(run).images["train"][3]
    cv2.imwrite(str(rooms / key), np.zeros((64, 96, 3), np.uint8))
    outcome = go_on(command)
    assert outcome.code == 0, outcome.err
    assert (
        f"train: 1 of 60 files are no longer those that this run read, first {key}" in outcome.err
    )


def test_depth_maps_count_as_well(run, command, rooms):
    for path in rooms.glob("depth/*/*"):
        cv2.imwrite(str(path), np.full((64, 96), 2000, np.uint16))
    assert "first depth of rgb/" in go_on(command).refusal


def test_other_words_are_told_or_refused(run, command, rooms):
    captions = rooms / "captions.jsonl"
    captions.write_text(captions.read_text().replace("A room", "A kitchen with a window"))
    assert (
        "train: the text features are no longer those that this run read" in go_on(command).refusal
    )
    allowed = go_on(command, "data.allow_changed=true")
    assert "train: the captions are no longer those that this run read" in allowed.err


def test_a_later_stage_divides_as_the_earlier_one_did(run, command, rooms, tmp_path):
    """Pictures that stage 1 was trained on never become the test pictures of stage 2."""
    add_scenes(rooms, SCENES, 2)
    outcome = train("stage2", *command("stage2"))
    assert outcome.code == 0, outcome.err
    assert "10 images of 2 scene(s)" in outcome.err
    stage2 = run.with_name("stage2")
    assert scored(stage2, tmp_path, stage="stage2") == scored(run, tmp_path)
    other = train("stage2", *command("stage2", "data.test_share=0.4", "experiment=e",
                                     f"init.stage1={run}"))  # fmt: skip
    assert re.search(r"test: \d+ of \d+ images were trained on by stage1 \(", other.refusal)


def test_a_later_stage_tells_that_the_earlier_one_was_trained_again(run, command):
    assert train("stage2", *command("stage2")).code == 0
    assert go_on(command).code == 0
    again = train("stage2", *command("stage2"))
    assert "already trained: 2 of 2 steps" in again.err
    assert f"stage1 ({run}/checkpoints/best.pt) is not the file that this run started" in again.err
    assert "is not the file" not in train("stage2", *command("stage2", "experiment=new",
                                                             f"init.stage1={run}")).err  # fmt: skip


def test_a_run_from_before_goes_on_and_says_that_nothing_is_compared(run, command):
    for path in (run / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        del content["data"]
        torch.save(content, path)
    outcome = score(run)
    assert outcome.code == 0
    assert "does not say which images it was trained on" in outcome.err
    outcome = go_on(command)
    assert "this run does not say what it was trained on" in outcome.err
    assert kept_of(run).images["train"]


@pytest.mark.parametrize("damage", ["rows", "bytes", "missing"])
def test_a_record_of_the_data_that_cannot_be_read_is_one_line(run, command, damage):
    for path in (run / "checkpoints").iterdir():
        content = torch.load(path, weights_only=True)
        pairs = content["data"]["pairs"]
        if damage == "rows":
            pairs["train"] = torch.zeros(3, dtype=torch.uint8)
        elif damage == "bytes":
            pairs["train"]["images"] = pairs["train"]["images"][:5].clone()
        else:
            del content["data"]["files"]
        torch.save(content, path)
    for outcome in (score(run), go_on(command)):
        assert outcome.code == 2
        assert re.search(
            r"(best|last).pt: what it says of its data cannot be read", outcome.refusal
        )


@pytest.fixture
def lists(command, rooms):
    """A run that trains on the lists of six scenes and has two to test."""
    for name, scenes in (("train", range(6)), ("test", range(6, 8))):
        write_list(rooms / f"{name}.txt", scenes)
    words = ("data.train_list=train.txt", "data.test_list=test.txt", "data.val_share=0.2")
    assert train("stage1", *command("stage1", *words)).code == 0
    return lambda *more: train("stage1", *command("stage1", *words, "train.max_steps=3", *more))


def write_list(path, scenes):
    names = [f"scene_{scene}/{number}.png" for scene in scenes for number in range(PER_SCENE)]
    path.write_text("".join(f"rgb/{name} depth/{name}\n" for name in names))


def test_a_longer_training_list_is_refused(lists, rooms):
    whole = (rooms / "train.txt").read_text()
    (rooms / "train.txt").write_text(whole + (rooms / "test.txt").read_text())
    assert "train: the images are no longer those of this run: " in lists().refusal
    (rooms / "train.txt").write_text("# a comment\n" + whole)
    assert "resuming at step 2" in lists().err


def test_the_same_lines_in_another_order_are_another_training(lists, rooms):
    lines = (rooms / "train.txt").read_text().splitlines(keepends=True)
    (rooms / "train.txt").write_text("".join(lines[::-1]))
    assert "in another order" in lists().refusal


def test_a_test_list_with_training_images_is_refused(lists, rooms, tmp_path):
    run = tmp_path / "runs/own/stage1"
    assert len(scored(run, tmp_path)) == 2 * PER_SCENE
    trained = kept_of(run).images["train"][0]
    with (rooms / "test.txt").open("a") as file:
        file.write(f"{trained} {trained.replace('rgb', 'depth', 1)}\n")
    refusal = score_refusal(run)
    assert f"test: 1 of 11 images were trained on by this checkpoint, first {trained}" in refusal
    assert len(scored(run, tmp_path, "--split", "train")) == len(kept_of(run).images["train"])
