"""The program that runs a grid of recipes, words and seeds."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from studies import StudyProgram, study_in_process

from common.evaluation.metrics import METRIC_NAMES
from scripts.run_plans import study_plan, study_rows
from scripts.run_plans.recipes import RECIPES


@pytest.fixture
def study(workspace, tmp_path, monkeypatch) -> StudyProgram:
    return study_in_process(workspace, tmp_path / "a study", monkeypatch)


def test_a_grid_is_trained_scored_and_written(study):
    study.write(eval_control=["same", "shuffled"])
    outcome = study.run("--jobs=1")
    assert outcome.code == 0, outcome.err
    assert study.started == [
        "train joint caption 0",
        "eval stage3 caption 0",
        "eval stage3 shuffled 0",
        "train joint none 0",
        "eval stage3 none 0",
    ]
    rows = study.results()
    controls = [(row["train_control"], row["eval_control"]) for row in rows]
    assert controls == [("caption", "caption"), ("caption", "shuffled"), ("none", "none")]
    assert len({row["abs_rel"] for row in rows}) == 3
    check_rows(study, rows)
    assert [name.split()[0] for name in outcome.out.split("\n")[1:4]] == ["[0/5]", "[1/5]", "[1/5]"]

    assert study.run().code == 0 and study.started == []
    assert study.results() == rows
    assert study.run("seeds=[1,0]", "train_control=[none]").code == 0  # another seed, fewer rows
    assert study.started == ["train joint none 1", "eval stage3 none 1"]
    assert [row["seed"] for row in study.results()] == ["1", "0"]


def check_rows(study: StudyProgram, rows: list[dict[str, str]]) -> None:
    """results.csv against what eval.py wrote, and the configs of the run folders."""
    written = [json.loads(file.read_text()) for file in (study.folder / "scores").glob("*.json")]
    assert len(written) == len(rows)
    for row in rows:
        found = [w["metrics"] for w in written if str(w["metrics"]["abs_rel"]) == row["abs_rel"]]
        assert {name: str(found[0][name]) for name in METRIC_NAMES} == {
            name: row[name] for name in METRIC_NAMES
        }
        assert (row["recipe"], row["data"], row["num_images"]) == ("joint", "rooms", "4")
        assert 0 < float(row["minutes"]) < 5
        config = yaml.safe_load((study.folder / row["run_folder"] / "config.yaml").read_text())
        assert config["text"]["control"] == row["train_control"]
        assert config["seed"] == config["text"]["control_seed"] == int(row["seed"])


def test_every_program_has_its_own_cores(study, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("common.runtime.cores.num_cores", lambda: 8)
    study.write(train_control=["caption"])
    assert study.run("--jobs=2").code == 0
    variables = [(env["OMP_NUM_THREADS"], env["NPROC"]) for env in study.environments]
    assert variables == [("4", "1")] * 2


@pytest.mark.slow
def test_early_stages_are_trained_once_for_all_that_need_them(study):
    recipes = {"staged": "staged", "without": "staged language.mode=none", "words": "stage1"}
    study.write(recipes=recipes, train_control=["caption"])
    outcome = study.run("--jobs=1")
    assert outcome.code == 0, outcome.err
    trained = [name for name in study.started if name.startswith("train")]
    assert trained == [f"train stage{k} caption 0" for k in (1, 2, 3, 3)]
    folders = {row["recipe"]: row["run_folder"] for row in study.results()}
    assert folders["words"].endswith("/stage1") and len(set(folders.values())) == 3
    configs = {
        name: yaml.safe_load((study.folder / folder / "config.yaml").read_text())
        for name, folder in folders.items()
    }
    assert configs["staged"]["init"]["stage2"] == configs["without"]["init"]["stage2"]
    assert configs["without"]["language"] == {"mode": "none"}

    study.write(recipes={"renamed": "staged", "words": "stage1"}, train_control=["caption"])
    assert study.run().code == 0 and study.started == []
    assert [row["recipe"] for row in study.results()] == ["renamed", "words"]


def test_what_a_recipe_sets_aside_is_given_to_it_all_the_same(study):
    """A held-out share of the training list compares with the whole; other images do not."""
    aside = "stage1 data.val_list=null data.val_share=0.3 data.carve_by=frames"
    study.write(recipes={"whole": "stage1", "aside": aside}, train_control=["caption"])
    outcome = study.run("--jobs=1")
    assert outcome.code == 0, outcome.err
    assert {row["recipe"] for row in study.results()} == {"whole", "aside"}
    other = "stage1 data.train_list=val.txt"
    study.write(recipes={"whole": "stage1", "other": other}, train_control=["caption"])
    assert "read different train images" in study.run().refusal


@pytest.mark.slow
def test_settings_of_one_stage_start_it_and_what_follows_anew(study):
    study.write(recipes={"staged": "staged stage2:train.lr=0.002"}, train_control=["caption"])
    assert study.run("stage1:model.latent_dim=8").code == 0
    assert study.run("stage3:train.max_steps=3", "stage1:model.latent_dim=8").code == 0
    assert study.started == ["train stage3 caption 0", "eval stage3 caption 0"]
    assert len(study.results()) == 1
    assert len(list((study.folder / "runs").glob("*/stage3"))) == 2


def test_a_failed_job_is_told_and_only_what_needs_it_is_left_out(study):
    study.write(recipes={"staged": "staged", "joint": "joint"}, train_control=["caption"])
    study.broken["train stage2 caption 0"] = 2
    outcome = study.run("--jobs=1")
    assert outcome.code == 1
    assert (
        "3 of 6 jobs failed:\ntrain stage2: stage2, caption, rooms, seed 0: it is broken (see"
        in (outcome.err)
    )
    assert outcome.err.count("not run: what it needs has failed") == 2
    assert [row["recipe"] for row in study.results()] == ["joint"]
    study.broken.clear()
    assert study.run("--jobs=1").code == 0
    assert study.started == [
        "train stage2 caption 0",
        "train stage3 caption 0",
        "eval stage3 caption 0",
    ]
    assert [row["recipe"] for row in study.results()] == ["staged", "joint"]


def test_other_pictures_or_captions_are_scored_again(study, workspace, tmp_path):
    root = shutil.copytree(workspace.data, tmp_path / "data")
    study.write(train_control=["caption"])
    asked = f"data.root={root}"
    assert study.run(asked).code == 0
    assert study.run(asked).code == 0 and study.started == []
    before = study.results()[0]["abs_rel"]
    depth = root / "test/room_0000/sync_depth_00000.png"
    cv2.imwrite(str(depth), np.full((64, 96), 9000, np.uint16))
    assert study.run(asked).code == 0
    assert study.started == ["train joint caption 0", "eval stage3 caption 0"]
    assert study.results()[0]["abs_rel"] != before
    with (root / "captions.jsonl").open("a") as file:
        file.write("\n")
    assert study.run(asked).code == 0 and len(study.started) == 2


def test_folds_test_every_image_once_and_share_no_scene(study):
    study.write(train_control=["none"], folds=3, grids=[{}, {"folds": 1}])
    outcome = study.run()
    assert outcome.code == 0, outcome.err
    rows = study.results()
    assert [row["fold"] for row in rows] == ["0", "1", "2", ""]
    assert sum(int(row["num_images"]) for row in rows[:3]) == 12 + 4
    tested = []
    for fold in range(3):
        splits = {
            split: (study.folder / f"folds/rooms/fold{fold}_{split}.txt").read_text().splitlines()
            for split in ("train", "val", "test")
        }
        scenes = [{line.rpartition("/")[0] for line in lines} for lines in splits.values()]
        assert all(scenes) and sum(map(len, scenes)) == len(set.union(*scenes))
        tested += splits["test"]
    assert len(tested) == len(set(tested)) == 16
    assert study.run().code == 0 and study.started == []


def test_folds_do_not_depend_on_what_a_recipe_says_of_validation_images(study):
    recipes = {"joint": "joint", "other": "joint data.val_list=null data.val_share=0.5"}
    lists = []
    for names in (recipes, dict(reversed(recipes.items()))):
        study.write(recipes=names, train_control=["none"], folds=3)
        assert study.run("--only", "fold 0").code == 0
        lists.append({f.name: f.read_text() for f in (study.folder / "folds/rooms").iterdir()})
    assert lists[0] == lists[1]


def test_a_row_may_be_made_without_training(study, tmp_path, monkeypatch):
    program = tmp_path / "baseline.py"
    program.write_text(
        "import json, pathlib, sys\n"
        "kind, *words = sys.argv[1:]\n"
        "place = pathlib.Path(words[words.index('--json') + 1]).parent\n"
        "place.mkdir(exist_ok=True)\n"
        "put = lambda option: open(words[words.index(option) + 1], 'w')\n"
        f"metrics = dict.fromkeys({METRIC_NAMES}, 0.5)\n"
        "put('--csv').write('image_path,abs_rel\\na.png,0.5\\n')\n"
        "json.dump({'metrics': metrics, 'num_images': 1, 'words': words}, put('--json'))\n"
    )
    row = study_rows.RowKind(RECIPES["stage1"], str(program), ("linear",), is_trained=False)
    monkeypatch.setitem(study_plan.ROW_KINDS, "linear", row)
    monkeypatch.setitem(
        study_plan.ROW_KINDS, "joint", replace(study_plan.ROW_KINDS["joint"], arguments=("--flip",))
    )
    study.write(
        recipes={"line": "linear train.lr=0.5", "joint": "joint"}, train_control=["caption"]
    )
    outcome = study.run()
    assert outcome.code == 0, outcome.err
    line, joint = study.results()
    assert not Path(line["run_folder"]).exists()  # no other row's learning curve is its own
    assert (line["abs_rel"], line["minutes"]) == ("0.5", "") and joint["minutes"]
    written = {
        path.name.split("_")[0]: json.loads(path.read_text())
        for path in (study.folder / "scores").glob("*.json")
    }
    assert {"train.lr=0.5", "text.control=caption", "seed=0"} <= set(written["line"]["words"])
    assert "--score-control" not in written["line"]["words"]
    assert written["joint"]["flip"] is True
    assert study.run().code == 0 and study.started == []

    study.write(
        recipes={"line": "linear"}, train_control=["caption"], eval_control=["wrong"], seeds=[1]
    )
    assert study.run().code == 0
    (score,) = (study.folder / "scores").glob("line_*_seed-1_*.json")
    words = json.loads(score.read_text())["words"]
    assert "text.control=caption" in words and "text.control=wrong" not in words
    assert words[:2] == ["--score-control", "wrong"]


def test_predictions_are_kept_if_asked_for(study):
    study.write(train_control=["caption"])
    assert study.run().code == 0
    assert study.run("save_predictions=true").code == 0
    assert study.started == ["eval stage3 caption 0"]
    (folder,) = (study.folder / "predictions").iterdir()
    assert len(list(folder.rglob("*.png"))) == 4
    assert study.run("save_predictions=true").code == 0 and study.started == []


def test_the_list_shows_what_is_done_and_what_is_left(study):
    study.write(recipes={"joint": "joint", "a": "stage1"}, eval_control=["same", "wrong"])
    listed = study.run("--list")
    assert (listed.code, study.folder.exists()) == (0, False)
    assert "10 trainings and scorings to run: how long, the first" in listed.out
    assert study.run("--only", "joint, none").code == 0
    assert study.started == ["train joint none 0", "eval stage3 none 0"]
    listed = study.run("--list", "--jobs=2")
    lines = [line.split() for line in listed.out.splitlines()]
    assert ["joint", "none", "none", "default", "default", "rooms", "1", "of", "1"] in lines
    assert ["a", "caption", "wrong", "default", "default", "rooms", "0", "of", "1"] in lines
    assert "8 trainings and scorings to run: about " in listed.out
    assert "3 trainings and scorings" in study.run("--list", "--only", "[jx]oi*").out
    assert study.run("--list", "--only", "a, seed 9").refusal.startswith(
        "error: --only 'a, seed 9'"
    )
