"""configs/zero_shot/*.yaml lead any checkpoint to other data, whatever its own config says."""

import json
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from conftest import TEXT_DIM, Workspace, evaluate, train, write_yaml

from common.config import REPO_ROOT, build_config, load_config, merge_yaml, to_dict
from common.data.data_config import DataConfig
from common.images.crops import KB_HEIGHT, KB_WIDTH
from common.language.feature_files import write_features
from llm_mde.config import LLMMDEConfig
from stage1_vae.config import Stage1Config
from stage2_sampler.config import Stage2Config
from stage3_depth.config import JointStageConfig, Stage3Config

FOLDER = REPO_ROOT / "configs"
TRAINED = {
    "nyu/stage1": Stage1Config,
    "nyu/stage3": Stage3Config,
    "nyu/labeled_stage3": Stage3Config,
    "nyu/joint": JointStageConfig,
    "kitti/stage2": Stage2Config,
    "kitti/stage3": Stage3Config,
    "demo/stage3": Stage3Config,
    "demo/streets_stage3": Stage3Config,
    "demo/joint_legacy": JointStageConfig,
    "nyu/llm_mde": LLMMDEConfig,
}
OWN = {"height", "width"}  # what a file without sizes leaves to the checkpoint
# Settings of training, and of data sets that are folders: they change no score on these four.
WITHOUT_EFFECT = {
    "rotate_degrees",
    "zoom",
    "flip",
    "jitter",
    "mask_border",
    "test_share",
    "subset_seed",
    "cache",
    "mean_log_depth",
}
SPLITS = ("train", "val", "test")
HOME = {  # whose data the file is
    "nyu": "nyu/stage1",
    "kitti": "kitti/stage2",
    "demo_rooms": "demo/stage3",
    "demo_streets": "demo/streets_stage3",
}


def overlaid(trained: str, name: str, **data):
    """The config of a checkpoint, every list and folder of its data set, after `--config`."""
    kind = TRAINED[trained]
    tree = to_dict(load_config(kind, FOLDER / f"{trained}.yaml", []))
    tree["data"] |= {"val_list": "val.txt", **data}
    merge_yaml(tree, {}, FOLDER / f"zero_shot/{name}.yaml")
    return build_config(kind, tree), load_config(kind, FOLDER / f"{trained}.yaml", [])


@pytest.mark.parametrize("trained", list(TRAINED))
@pytest.mark.parametrize("name", ["sun_rgbd", "folder"])
def test_nothing_of_the_other_data_set_is_left(trained, name):
    config, before = overlaid(trained, name)
    other, _ = overlaid("nyu/stage1", name)
    for field in fields(DataConfig):
        source = before if field.name in OWN else other
        assert getattr(config.data, field.name) == getattr(source.data, field.name), field.name
    assert (config.data.name, config.eval.protocol) == (name, "none")
    assert config.data.split is config.data.train_list is config.data.val_list is None
    assert config.data.gt_root is None
    assert (config.data.train_dir, config.data.test_dir) == ("", "")
    assert config.text.features is config.text.image_features is None
    assert config.text.captions == "captions.jsonl"
    assert config.text.encoder == before.text.encoder  # the words are read as in training
    assert config.train == before.train


@pytest.mark.parametrize("name", ["sun_rgbd", "folder"])
def test_a_checkpoint_of_one_data_set_moves_on_to_the_other(name):
    other = {"sun_rgbd": "folder", "folder": "sun_rgbd"}[name]
    kind = Stage3Config
    tree = to_dict(load_config(kind, FOLDER / "nyu/stage3.yaml", []))
    merge_yaml(tree, {}, FOLDER / f"zero_shot/{other}.yaml")
    merge_yaml(tree, {}, FOLDER / f"zero_shot/{name}.yaml")
    direct, _ = overlaid("nyu/stage3", name)
    again = build_config(kind, tree)
    keys = [field.name for field in fields(DataConfig) if field.name != "test_share"]
    assert all(getattr(again.data, key) == getattr(direct.data, key) for key in keys)


def test_only_data_text_and_evaluation_are_changed():
    for path in (FOLDER / "zero_shot").glob("*.yaml"):
        tree: dict = {}
        merge_yaml(tree, {}, path)
        assert set(tree) == {"data", "text", "eval"}
        assert path.read_text().startswith("# ")


@pytest.mark.parametrize(
    "path", sorted((FOLDER / "zero_shot").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_data_section_is_replaced_and_not_undone(path):
    tree = yaml.safe_load(path.read_text())
    assert tree["replace"] == ["data", "text.features", "text.image_features"]
    assert tree.get("keep", []) == (
        [] if "height" in tree["data"] else ["data.height", "data.width"]
    )
    assert None not in tree["data"].values()


@pytest.mark.parametrize("trained", list(TRAINED))
@pytest.mark.parametrize("name", list(HOME))
def test_a_checkpoint_is_scored_as_those_trained_there(trained, name):
    config, before = overlaid(trained, name, train_images=3, allow_missing=True)
    _, home = overlaid(HOME[name], name)
    for field in fields(DataConfig):
        if field.name not in WITHOUT_EFFECT | {"height", "width"}:
            ours, theirs = (getattr(c.data, field.name) for c in (config, home))
            assert ours == theirs, field.name
    whole_crop = (KB_HEIGHT, KB_WIDTH)
    size = whole_crop if name == "demo_streets" else (home.data.height, home.data.width)
    assert (config.data.height, config.data.width) == size
    assert config.eval.protocol == home.eval.protocol
    assert (config.text.captions, config.text.features) == (home.text.captions, None)
    assert config.text.encoder == before.text.encoder  # the words are read as in training
    assert config.train == before.train


def write_streets(root: Path) -> Workspace:
    """Two training, one validation and two test frames in KITTI's layout and size."""
    rng = np.random.default_rng(1)
    keys = []
    for split, count in {"train": 2, "val": 1, "test": 2}.items():
        lines = []
        for index in range(count):
            drive = f"2011_09_26_drive_{len(keys):04d}_sync"
            key = f"2011_09_26/{drive}/image_02/data/{index:010d}.png"
            depth = f"{drive}/proj_depth/groundtruth/image_02/{index:010d}.png"
            write_frame(root / "raw" / key, root / "depth" / depth, rng)
            lines.append(f"{key} {depth} 721.5377")
            keys.append(key)
        (root / f"{split}.txt").write_text("\n".join(lines))
    captions = [json.dumps({"image": key, "caption": f"A street, {key}."}) for key in keys]
    (root / "captions.jsonl").write_text("\n".join(captions))
    features = torch.from_numpy(rng.standard_normal((len(keys), TEXT_DIM)))
    write_features(root / "text.safetensors", keys, features, {"kind": "text"})
    return Workspace(root, root)


def write_frame(image: Path, depth: Path, rng: np.random.Generator) -> None:
    """A smooth picture, and measurements on every third pixel of a road."""
    image.parent.mkdir(parents=True)
    depth.parent.mkdir(parents=True)
    coarse = rng.integers(0, 256, (8, 20, 3), dtype=np.uint8)
    cv2.imwrite(str(image), cv2.resize(coarse, (1242, 375), interpolation=cv2.INTER_CUBIC))
    meters = np.zeros((375, 1242))
    meters[150::3, ::3] = np.linspace(rng.uniform(40, 70), 4, 75)[:, None]
    cv2.imwrite(str(depth), (meters * 256).astype(np.uint16))


@pytest.fixture(scope="module")
def streets(workspace, tmp_path_factory) -> Workspace:
    """The same tiny networks as the workspace's, on tiny streets."""
    place = write_streets(tmp_path_factory.mktemp("zero") / "streets")
    base = yaml.safe_load((workspace.configs / "base.yaml").read_text())
    base["experiment"] = "tiny_streets"
    lists = {f"{split}_list": str(place.data / f"{split}.txt") for split in SPLITS}
    base["data"] = {
        "name": "kitti",
        "root": str(place.data / "raw"),
        "height": 64,
        "width": 96,
        "gt_root": str(place.data / "depth"),
        "max_depth": 80.0,
        **lists,
    }
    base["text"] = {
        key: str(place.data / name)
        for key, name in (("features", "text.safetensors"), ("captions", "captions.jsonl"))
    }
    base["eval"] |= {"protocol": "kitti_garg_kbcrop", "batch_size": 1}
    write_yaml(place.configs / "base.yaml", base)
    joint = yaml.safe_load((workspace.configs / "joint.yaml").read_text())
    write_yaml(place.configs / "joint.yaml", joint)
    return place


@pytest.fixture(scope="module")
def networks(workspace, streets, tmp_path_factory) -> Path:
    """Runs of the joint recipe on rooms (`tiny`) and on streets (`tiny_streets`)."""
    runs = tmp_path_factory.mktemp("runs")
    for place in (workspace, streets):
        outcome = train("joint", *place.arguments("joint", runs, "eval.every=1000"))
        assert outcome.code == 0, outcome.err
    return runs


def on_rooms(workspace: Workspace) -> list[str]:
    """Leads configs/zero_shot/demo_rooms.yaml to the tiny rooms."""
    lists = [f"data.{split}_list={split}.txt" for split in SPLITS]
    size = ["data.height=64", "data.width=96", "text.features=text.safetensors"]
    return [
        "--config",
        str(FOLDER / "zero_shot/demo_rooms.yaml"),
        f"data.root={workspace.data}",
        *lists,
        *size,
    ]


def on_streets(streets: Workspace) -> list[str]:
    """Leads configs/zero_shot/demo_streets.yaml to the tiny streets."""
    root = streets.data
    lists = [f"data.{split}_list={root}/{split}.txt" for split in SPLITS]
    return [
        "--config",
        str(FOLDER / "zero_shot/demo_streets.yaml"),
        f"data.root={root}/raw",
        f"data.gt_root={root}/depth",
        *lists,
        f"text.captions={root}/captions.jsonl",
        f"text.features={root}/text.safetensors",
    ]


@pytest.fixture
def score(tmp_path):
    """What `eval.py --json` writes."""

    def run(checkpoint: Path, *words: str) -> dict:
        out = tmp_path / "out.json"
        outcome = evaluate("stage3", "--checkpoint", str(checkpoint), "--json", str(out), *words)
        assert outcome.code == 0, outcome.err
        return json.loads(out.read_text())

    return run


def test_rooms_to_streets_and_back(networks, workspace, streets, score):
    rooms, roads = networks / "tiny" / "stage3", networks / "tiny_streets" / "stage3"
    there = score(rooms, *on_streets(streets))
    assert (there["protocol"], there["num_images"]) == ("kitti_garg_kbcrop", 2)
    back = score(roads, *on_rooms(workspace))
    assert (back["protocol"], back["num_images"]) == ("none", 4)
    for result in (there, back):
        assert all(np.isfinite(value) for value in result["metrics"].values())
    at_home = score(roads, *on_streets(streets))
    assert there["metrics"] != at_home["metrics"] and at_home["metrics"] == score(roads)["metrics"]
    assert score(rooms, *on_rooms(workspace))["metrics"] == score(rooms)["metrics"]


def test_nothing_in_the_checkpoints_own_data_section_changes_a_score(
    networks, streets, score, tmp_path
):
    path = networks / "tiny" / "stage3" / "checkpoints" / "last.pt"
    saved = torch.load(path, weights_only=True)
    saved["config"]["data"] |= {
        "name": "nyu",
        "root": "/nowhere",
        "gt_root": "/nowhere",
        "split": "nyu_labeled795",
        "train_list": "x",
        "val_list": None,
        "test_list": "y",
        "train_dir": "a",
        "test_dir": "b",
        "allow_missing": True,
        "val_share": 0.5,
        "train_images": 1,
        "subset_seed": 9,
        "depth_scale": 7.0,
        "max_depth": 3.0,
        "height": 480,
        "width": 640,
        "flip": False,
        "jitter": False,
        "rotate_degrees": 0.0,
        "zoom": 1.5,
        "mask_border": False,
        "test_share": 1.0,
    }
    saved["config"]["text"] |= {"image_features": "z"}
    torch.save(saved, tmp_path / "odd.pt")
    metrics = score(path, *on_streets(streets))["metrics"]
    assert score(tmp_path / "odd.pt", *on_streets(streets))["metrics"] == metrics
