"""configs/zero_shot/*.yaml lead any checkpoint to other data, whatever its own config says."""

from dataclasses import fields

import pytest

from common.config import REPO_ROOT, build_config, load_config, merge_yaml, to_dict
from common.data.samples import DataConfig
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
}
OWN = {"height", "width", "rotate_degrees", "flip", "jitter", "mask_border", "val_share",
       "test_share", "allow_missing"}  # fmt: skip


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
        source = before if field.name in OWN - {"test_share"} else other
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
