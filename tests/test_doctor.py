"""The doctor on healthy data: green, with notes on what is special; its report and exit codes."""

import json
import shlex
import shutil
import subprocess
import sys

import doctor_trees as trees
import numpy as np
import pytest
from conftest import call

from common.config import REPO_ROOT
from common.data.data_config import DataConfig
from common.data.dataset import build_dataset
from common.data.sets import DATA_SETS
from common.data.splits import find_split
from common.errors import UserError
from scripts.doctor_checks.causes import ListColumn, RootKeys, Search, explain_missing
from scripts.doctor_checks.commands import commands_for
from scripts.doctor_checks.findings import Fix, in_threads, merged, note, some_of


@pytest.fixture
def nyu(tmp_path):
    return trees.write_nyu(tmp_path / "my nyu")


def test_healthy_nyu(nyu):
    health = trees.examine_nyu(nyu, "text.features=text.safetensors")
    assert health.codes() == []
    assert health.content["data"] == "nyu"
    assert health.content["counts"] == {"train": 12, "test": 8}
    assert health.content["seconds"] > 0
    assert health.codes("note") == ["list_count"]  # 12 of the published 24,231 lines
    assert set(health.codes("ok")) >= {
        "lists",
        "present",
        "whole",
        "files",
        "depth",
        "captions",
        "text_features",
        "duplicates",
        "disk",
    }
    assert health.finding("present", "train")["text"] == "train: all 12 pairs are there"
    medians = [np.median(d[d > 0]) for d in map(trees.read_stored, trees.depths(nyu))]
    assert f"median {np.median(medians) / 1000:.2f} m" in health.finding("depth", "train")["text"]
    assert health.outcome.out.splitlines()[-1].startswith("healthy: training will accept this data")


def test_healthy_kitti(tmp_path):
    health = trees.examine_kitti(trees.write_kitti(tmp_path))
    assert health.codes() == []
    assert health.codes("note") == ["no_ground_truth", "sparse_depth"]
    assert "3." in health.finding("sparse_depth")["text"]  # per cent: 5 % below the horizon
    assert health.content["counts"] == {"train": 5, "test": 3}


def test_a_folder_of_filled_coarse_metric_maps(tmp_path):
    trees.write_folder(tmp_path)
    maps = sorted((tmp_path / "depth").iterdir())
    trees.rewrite(maps, lambda d: np.maximum(d // 50 * 50, 1000))
    health = trees.examine("folder", tmp_path, "--root", str(tmp_path))
    assert health.codes() == []
    assert health.codes("note") == ["caption_missing", "coarse_depth", "depth_unit", "filled_depth"]
    assert "steps of 50 mm" in health.finding("coarse_depth")["text"]


def test_a_folder_of_float_meters(tmp_path):
    trees.write_folder(tmp_path)
    for path in sorted((tmp_path / "depth").iterdir()):
        np.save(path.with_suffix(".npy"), trees.read_stored(path).astype(np.float32) / 1000)
        path.unlink()
    arguments = "--root", str(tmp_path), "text.captions=null"
    assert trees.examine("folder", tmp_path, *arguments).codes() == []
    for path in sorted((tmp_path / "depth").iterdir()):
        np.save(path, np.load(path) * 1000)
    finding = trees.examine("folder", tmp_path, *arguments).finding("wrong_unit")
    assert "several units fit: millimeters, as NYU stores it (2." in finding["cause"]
    assert "data.float_depth_scale=1000 or data.float_depth_scale=1310.7" in finding["mend"]
    health = trees.examine("folder", tmp_path, *arguments, "data.float_depth_scale=1000")
    assert health.codes() == []


def test_kitti_frames_in_a_folder_need_their_unit(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(2):
        trees.write_image(tmp_path / "rgb" / f"{number}.png", rng, (375, 1242))
        trees.write_depth(tmp_path / "depth" / f"{number}.png", trees.street(rng), 256)
    arguments = "--root", str(tmp_path), "data.max_depth=80"
    assert trees.examine("folder", tmp_path, *arguments).finding("wrong_unit")["mend"] == (
        "data.depth_scale=256"
    )
    assert trees.examine("folder", tmp_path, *arguments, "data.depth_scale=256").codes() == []


def test_notes_on_lists(nyu):
    lists = [f"data.{name}_list={trees.NYU_TEST_LIST}" for name in ("val", "test")]
    arguments = *lists, "data.train_dir=official_splits/test", "data.train_list=mine.txt"
    shutil.copytree(nyu / "sync/kitchen_0002", nyu / "official_splits/test/kitchen_0002")
    trees.edit_list(nyu, lambda lines: [line for line in lines if "kitchen_0002" in line])
    (nyu / trees.NYU_TRAIN_LIST).rename(nyu / "mine.txt")
    health = trees.examine_nyu(nyu, *arguments)
    assert health.codes() == []
    assert health.finding("val_is_test")["count"] == 8
    assert "quote last.pt" in health.finding("val_is_test")["cause"]


def test_scenes_in_both_lists_are_a_note(nyu):
    scene = nyu / "official_splits/test/bathroom"
    shutil.copytree(scene, nyu / "sync/bathroom")
    name = next(scene.glob("*.jpg")).name
    for path in (nyu / "sync/bathroom").glob("*.jpg"):
        trees.rewrite([path], lambda image: image // 2)
    pair = f"bathroom/{name} bathroom/{name.replace('rgb', 'sync_depth').replace('jpg', 'png')}"
    trees.edit_list(nyu, lambda lines: [*lines, pair])
    health = trees.examine_nyu(nyu, "data.val_share=0")
    assert health.finding("scene_overlap")["examples"] == ["bathroom"]
    # The key is the same in both lists, but the file is another one.
    assert "train_test_overlap" not in health.codes()


def test_captions_that_say_left_or_nothing(nyu):
    keys = [json.loads(x)["image"] for x in (nyu / "captions.jsonl").read_text().splitlines()]
    lines = [json.dumps({"image": key, "caption": "A bed on the left."}) for key in keys]
    (nyu / "captions.jsonl").write_text("\n".join(lines))
    assert trees.examine_nyu(nyu).finding("caption_side")["count"] == 20
    assert "caption_side" not in trees.examine_nyu(nyu, "data.flip=false").codes("note")


def test_problems_are_printed_last_with_cause_and_fix(nyu):
    for path in trees.depths(nyu)[:4]:
        path.unlink()
    out = trees.examine_nyu(nyu).outcome.out
    lines = out.splitlines()
    start = lines.index("PROBLEM missing_depth       train: 4 of 12 depth maps are missing")
    assert not any(line.startswith(("ok ", "note ")) for line in lines[start:])
    assert sum("sync_depth_" in line for line in lines[start:]) == 3
    assert any(line.startswith("          cause    ") for line in lines[start:])
    assert any("fix      python scripts/prepare_nyu.py" in line for line in lines[start:])
    assert lines[-1].startswith("1 problems: missing_depth (")


def test_any_stage_config_will_do(workspace, tmp_path):
    config = str(workspace.configs / "stage3.yaml")
    health = trees.examine("nyu", tmp_path, "--config", config, "train.lr=1e-4")
    assert health.codes() == []
    assert health.content["counts"] == {"train": 12, "val": 4, "test": 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nyu", "--root", "nowhere"], "prepare_nyu.py"),
        (["nyu", "dta.root=x"], "unknown key 'dta'"),
        (["nyu", "--root", ".", "data.rooot=x"], "the nearest valid key is 'data.root'"),
        (["nyu", "--config", "no.yaml"], "no config file no.yaml"),
        (["kitti", "--config", "configs/nyu/data.yaml", "--root", "."], "call doctor.py nyu"),
        (["nyu", "--root", ".", "data.split=null"], "names no list"),
    ],
)
def test_wrong_use_is_one_line(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = call(trees.DOCTOR["main"], *arguments)
    assert outcome.code == 2
    assert len(outcome.errors) == 1
    assert message in outcome.errors[0]


@pytest.mark.parametrize("arguments", [["cityscapes"], [], ["nyu", "--sample", "0"]])
def test_wrong_arguments_exit_with_2(arguments):
    assert call(trees.DOCTOR["main"], *arguments).code == 2


def test_as_a_real_process(nyu, tmp_path):
    command = [sys.executable, str(trees.PROGRAM), "nyu", "--root", str(nyu)]
    lists = f"data.train_list={trees.NYU_TRAIN_LIST}", f"data.test_list={trees.NYU_TEST_LIST}"
    (nyu / "captions.jsonl").unlink()
    done = subprocess.run([*command, *lists], cwd=tmp_path, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (1, "")
    assert "caption_missing" in done.stdout.splitlines()[-1]


def test_nothing_is_written_without_being_asked(nyu):
    before = sorted(nyu.rglob("*"))
    assert (
        call(trees.DOCTOR["main"], "nyu", "--root", str(nyu)).code == 1
    )  # the lists are not whole
    assert sorted(nyu.rglob("*")) == before


@pytest.mark.parametrize("name", list(DATA_SETS))
def test_the_commands_it_names_exist(name, tmp_path):
    config = trees.DOCTOR["load"](name, DATA_SETS[name].config, str(tmp_path), [])
    shared = (REPO_ROOT / "scripts/preparation/image_sets.py").read_text()
    for fix in commands_for(config.data, config.text, "c.yaml").values():
        command = fix.command
        arguments = shlex.split(command)
        if arguments:
            source = (REPO_ROOT / arguments[1]).read_text() + shared
            assert all(
                f'"{option}"' in source for option in arguments if option.startswith("--")
            ), command


def test_a_short_path_needs_more_than_its_name_to_agree(tmp_path):
    """rgb_00001.jpg exists in every scene: another scene's is not the missing one."""
    (tmp_path / "sync/bedroom").mkdir(parents=True)
    (tmp_path / "sync/bedroom/rgb_1.jpg").touch()
    search = Search([tmp_path])
    assert search.find("kitchen/rgb_1.jpg") is None
    assert search.find("bedroom/rgb_1.jpg") == str(tmp_path / "sync/bedroom/rgb_1.jpg")
    keys = RootKeys("data.root", tmp_path, "data.train_dir", "sync")
    listed = ListColumn(["kitchen/rgb_1.jpg"], 2)
    why = explain_missing(listed, keys, search, keys, Fix("unpack it"))
    assert "1 folders are missing as a whole, such as kitchen" in why.cause
    assert (why.fix, why.is_setting) == (Fix("unpack it"), False)


def test_joined_findings():
    one, two = note("a", "train: x", ["1", "2"]), note("a", "test: x", ["3", "4"])
    other = note("a", "test: y")
    joined = merged([one, two, other])
    assert joined[1] == other
    assert joined[0].text == "train, test: x"
    assert (joined[0].count, joined[0].examples) == (4, ("1", "2", "3"))


def test_spread_and_threads_keep_the_order():
    assert some_of(range(10), 4) == [0, 3, 6, 9]
    assert some_of([1, 2], 4) == [1, 2]
    assert in_threads(lambda x: x * 2, list(range(1000)), "doubling") == list(range(0, 2000, 2))
    assert in_threads(str, [], "nothing") == []


@pytest.mark.parametrize("split", ["train", "test"])
def test_training_agrees(nyu, split):
    """What the doctor calls healthy, a run's data set reads; what it calls missing, it refuses."""
    lists = {"train_list": trees.NYU_TRAIN_LIST, "test_list": trees.NYU_TEST_LIST}
    folders = {"train_dir": "sync", "test_dir": "official_splits/test"}
    data = DataConfig("nyu", nyu, 32, 64, 10.0, val_share=0.3, **lists, **folders)
    assert trees.examine_nyu(nyu).codes() == []
    dataset = build_dataset(data, find_split(data, split))
    assert dataset[0].gt_depth.max() > 1
    for path in trees.depths(nyu, folders[f"{split}_dir"])[1:]:
        path.unlink()
    assert trees.examine_nyu(nyu).codes() == ["missing_depth"]
    with pytest.raises(UserError, match="depth maps are missing"):
        build_dataset(data, find_split(data, split))
