"""What a STUDY.yaml means: its grid, the words of each stage, folds, and what it may not say."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import yaml

from common.config import REPO_ROOT
from common.data.pairs import Pair
from common.data.scenes import scene_labels
from common.errors import UserError
from scripts.run_plans.durations import Durations, describe_time
from scripts.run_plans.run_settings import changed_keys
from scripts.run_plans.study_config import grid_points, read_study
from scripts.run_plans.study_data import divide_by_scene
from scripts.run_plans.study_list import describe_plan
from scripts.run_plans.study_plan import plan_study

SHIPPED = sorted((REPO_ROOT / "configs/studies").glob("*.yaml"))
STUDY = {
    "name": "words",
    "question": "Do words help?",
    "data": {"demo": "demo"},
    "recipes": {"staged": "staged", "joint": "joint"},
    "seeds": [0],
}


@pytest.fixture
def read(tmp_path):
    """A study with other keys, and with `key=value` of the command line."""

    def read_with(*overrides, **keys):
        file = tmp_path / "study.yaml"
        file.write_text(yaml.safe_dump({**STUDY, **keys}, sort_keys=False))
        return read_study(file, list(overrides))

    return read_with


def plan(study, folder="/somewhere"):
    return plan_study(study, Path(folder))


def test_the_grid_is_a_full_product_seed_by_seed(read):
    kinds = {"short": ["text.captions=a.jsonl"], "long": ["text.captions=[b.jsonl, c.jsonl]"]}
    study = read(captions=kinds, train_control=["caption", "none", "wrong"], seeds=[3, 1], folds=2)
    points = grid_points(study)
    assert len(points) == 2 * 2 * 2 * 2 * 3
    assert [point.seed for point in points] == [3] * 24 + [1] * 24
    assert {point.fold for point in points} == {0, 1}
    last = plan(study)[-1]
    assert last.point.title == "joint, wrong, long, demo, seed 1, fold 1"
    assert last.config.text.captions == ("b.jsonl", "c.jsonl")
    assert last.config.text.control == "wrong"
    assert last.config.data.test_list == "/somewhere/folds/demo/fold1_test.txt"


def test_blocks_override_axes_and_what_occurs_twice_is_run_once(read):
    blocks = [
        {"recipes": ["staged"], "train_control": ["caption", "none"]},
        {"seeds": [0, 1], "train_control": ["caption"], "eval_control": ["same", "wrong"]},
    ]
    points = grid_points(read(grids=blocks, eval_control=["shuffled", "caption"]))
    named = {(p.recipe, p.train_control, p.seed): controls for p, controls in points.items()}
    assert named == {
        ("staged", "caption", 0): ("shuffled", "same", "wrong"),  # caption is the same
        ("staged", "none", 0): ("same",),  # only what was trained with captions gets others
        ("joint", "caption", 0): ("same", "wrong"),
        ("staged", "caption", 1): ("same", "wrong"),
        ("joint", "caption", 1): ("same", "wrong"),
    }


def test_words_reach_the_stages_they_are_for(read):
    study = read(
        "train.lr=0.5",
        "stage2:train.lr=0.25",
        recipes={
            "staged": "staged stage1:train.max_steps=7 train.max_steps=9",
            "joint": ["joint", "data.max_depth=8.0"],
        },
        settings=["train.batch_size=4", "stage1+joint:model.text_dim=384", "train.lr=0.75"],
        data={"demo": "demo data.height=64"},
        encoders={"other": ["text.encoder=untrained:5"]},
    )
    staged, _, joint, _ = plan(study)
    configs = [training.run.config for training in (*staged.trainings, *joint.trainings)]
    assert [config.train.max_steps for config in configs[:3]] == [7, 120, 9]
    assert [config.train.lr for config in configs] == [0.5, 0.25, 0.5, 0.5]  # the later one wins
    assert {config.train.batch_size for config in configs} == {4}
    assert {config.data.height for config in configs} == {64}
    assert {config.text.encoder for config in configs} == {"untrained:5"}
    assert configs[0].model.text_dim == configs[3].model.text_dim == 384
    assert [config.data.max_depth for config in configs] == [10.0, 10.0, 10.0, 8.0]


def test_what_decides_a_training_decides_its_folder(read):
    def folders(study, place="/somewhere"):
        return {
            str(training.run.folder.relative_to(place))
            for run in plan(study, place)
            for training in run.trainings
        }

    study = read()
    assert folders(study) == folders(study, "/elsewhere") and len(folders(study)) == 8
    assert folders(study) == folders(read("train.num_workers=1", "eval.every=3"))
    assert folders(study) == folders(replace(study, save_predictions=True))
    for changed in (
        read("train.max_steps=50"),
        read("text.encoder=untrained:9"),
        replace(study, checkpoint="best"),
        read(seeds=[5]),
        read(data={"other": "demo"}),  # whose folders may be others
    ):
        both = folders(study) & folders(changed)
        assert not {name for name in both if not name.endswith("stage1")}, both
    early = folders(study) & folders(read("stage2:train.max_steps=5"))
    assert Counter(name.rpartition("/")[2] for name in early) == {"stage1": 2, "stage3": 2}  # joint
    encoder = "stage3:model.encoder.window_size=4"  # a section that stage 2 completes
    assert len(folders(study) & folders(read(encoder))) == 6


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"seed": [0]}, "study.yaml: unknown key 'seed'; the nearest valid key is 'seeds'"),
        ({"name": "a/b"}, "study.yaml: name: 'a/b' must be a plain folder name"),
        ({"recipes": {}}, "study.yaml: recipes: is empty"),
        ({"recipes": ["joint"]}, "study.yaml: recipes must be names, each with"),
        ({"recipes": {"a": "jont"}}, "recipes.a: no recipe 'jont'; there are staged, joint"),
        ({"recipes": {"a": ""}}, "recipes.a: no recipe ''"),
        ({"recipes": {"a": "joint 'b=1"}}, "recipes.a: No closing quotation; close the quotes"),
        ({"recipes": {"a": "joint oops"}}, "'oops' is not of the form key=value"),
        ({"settings": ["train.step=1"]}, "recipe stage1, stage1: unknown key 'train.step'"),
        ({"settings": ["joint:train.step=1"]}, "recipe joint, joint: unknown key 'train.step'"),
        ({"settings": ["jont:a.b=1"]}, "jont:a.b=1: no stage 'jont'; there are stage1"),
        ({"settings": ["seed=1"]}, "seed=1: study.py sets seed itself; leave it out"),
        ({"settings": ["text.control=none"]}, "study.py sets text.control itself"),
        ({"data": {"a": "nowhere"}}, "data.a: found no config file configs/nowhere/stage1.yaml"),
        ({"train_control": ["words"]}, "study.yaml: train_control must be a list, each one of"),
        ({"train_control": []}, "study.yaml: train_control: is empty"),
        ({"seeds": [-1]}, "study.yaml: seeds: must be at least 0"),
        ({"folds": 0}, "study.yaml: folds: 0 is not at least 1"),
        ({"name": "a\0b"}, "study.yaml: name: 'a\\x00b' must be a plain folder name"),
        ({"name": "x" * 300}, "must be a plain folder name of at most 200 bytes"),
        ({"recipes": {"": "joint"}}, "study.yaml: recipes: '' is no name"),
        ({"captions": {"a, b": []}}, "study.yaml: captions: 'a, b' is no name"),
        ({"encoders": {"a\nb": []}}, "study.yaml: encoders: 'a\\nb' is no name"),
        (
            {"recipes": {"a": "joint stage1:train.lr=1"}},
            "recipes.a: stage1:train.lr=1: this recipe",
        ),
        ({"recipes": {"a": "staged joint+llm_mde:seed=1"}}, "has no joint+llm_mde; it has stage1"),
        ({"grids": ["joint"]}, "block 1 of grids: must hold keys, not 'joint'"),
        (
            {"captions": {"short": "a.jsonl"}},
            "study.yaml: captions must be names, each with a list",
        ),
        ({"grids": {"seeds": [0]}}, "study.yaml: grids must be a list of blocks"),
        ({"grids": [{}, {"recipe": 1}]}, "block 2 of grids: unknown key 'recipe'; the nearest"),
        (
            {"grids": [{"recipes": ["llm"]}]},
            "block 1 of grids: recipes: 'llm' is none of the study",
        ),
        ({"grids": [{"seeds": []}]}, "block 1 of grids: seeds: names nothing"),
        ({"grids": [{"folds": 3}]}, "block 1 of grids: folds: must be 1 or null"),
    ],
)
def test_mistakes_are_told_in_one_line(read, keys, message):
    with pytest.raises(UserError) as caught:
        plan(read(**keys))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [("a/b", "a b"), ("..", "."), ("a" * 130, "a" * 131)])
def test_folds_of_two_data_names_are_in_two_folders(read, tmp_path, names):
    study = read(data=dict.fromkeys(names, "demo"), recipes={"a": "stage1"}, folds=2)
    lists = {run.point.data: Path(run.config.data.test_list) for run in plan(study, tmp_path)}
    folders = [lists[name].parent for name in names]
    assert len(set(folders)) == 2
    assert {folder.resolve().parent for folder in folders} == {tmp_path / "folds"}


def pairs_of(*sizes):
    """Scenes of so many images."""
    return [
        Pair(f"/room_{scene:04d}/rgb_{n:05d}.png", f"room_{scene:04d}/depth_{n:05d}.png")
        for scene, size in enumerate(sizes)
        for n in range(size)
    ]


def test_folds_are_balanced_and_hold_whole_scenes():
    pairs = pairs_of(9, 1, 5, 5, 3, 2, 2, 7, 1, 1)
    folds = divide_by_scene(pairs, 3, val_share=0.1)
    assert Counter(pair for fold in folds for pair in fold.test) == Counter(pairs)
    assert {len(fold.test) for fold in folds} == {12}
    for fold in folds:
        assert Counter([*fold.train, *fold.val, *fold.test]) == Counter(pairs)
        labels = [set(scene_labels([pair.image for pair in part])) for part in fold]
        assert sum(map(len, labels)) == len(set.union(*labels)) == 10
        assert 1 <= len(fold.val) <= 0.1 * 24 + 1
    assert folds == divide_by_scene(pairs, 3, val_share=0.1)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 3, 3), (9, 1, 1)])
def test_too_few_scenes_for_folds_are_told(sizes):
    with pytest.raises(UserError, match=f"folds: {len(sizes)} scenes are too few for 2 folds"):
        divide_by_scene(pairs_of(*sizes), 2, val_share=0)


def test_time_is_estimated_from_jobs_of_the_same_kind(tmp_path):
    durations = Durations.read(tmp_path / "durations.json")
    assert durations.estimate(["a"]) is None
    durations.add("x", "a", 60.0, None)  # interrupted
    assert durations.estimate(["a"]) is None and not durations.is_done("x")
    durations.add("x", "a", 40.0, "data")
    durations.add("x", "a", 5.0, "data")  # found done
    durations.add("y", "b", 300.0, "data")
    again = Durations.read(tmp_path / "durations.json")
    assert again == durations and again.is_done("x", "data") and not again.is_done("x", "others")
    assert again.estimate(["a", "a", "b"]) == 500.0
    assert again.estimate(["new"]) == 200.0
    assert again.minutes(["x", "y"]) == pytest.approx(400 / 60)
    assert again.minutes(["x", "z"]) is None
    for damaged in ("{", "[]", '{"x": {"kind": "a", "seconds": "long"}}', '{"x": {"kind": [1]}}'):
        (tmp_path / "durations.json").write_text(damaged)
        assert Durations.read(tmp_path / "durations.json").jobs == {}


@pytest.mark.parametrize(
    ("seconds", "text"), [(40.2, "40 s"), (750, "12 min"), (12_300, "3.4 h"), (0.2, "0 s")]
)
def test_times_are_read_easily(seconds, text):
    assert describe_time(seconds) == text


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_study_that_ships_can_be_planned_without_its_data(path, tmp_path):
    study = read_study(path, [])
    assert study.name == path.stem and study.question.endswith("?")
    assert path.read_text(encoding="utf-8").startswith("# ")
    runs = plan_study(study, tmp_path)
    assert f"{study.name}: {study.question}" in describe_plan(study, tmp_path, runs, 1)


def test_a_key_that_is_added_with_its_default_changes_no_settings():
    @dataclass(frozen=True)
    class Part:
        size: int
        widths: tuple[int, ...] = field(default_factory=lambda: (1, 2))
        added: str | None = None

    @dataclass(frozen=True)
    class Whole:
        part: Part
        none: Part | None = None
        also: Part = field(default_factory=lambda: Part(9))

    assert list(changed_keys(Whole(Part(3)))) == ["part.size", "also.size"]
    changed = Whole(Part(3, (1,), "x"), none=Part(1))
    expected = ["part.size", "part.widths", "part.added", "none.size", "also.size"]
    assert list(changed_keys(changed)) == expected
