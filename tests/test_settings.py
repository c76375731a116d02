"""What a config leaves to its data set and to the earlier stage, and what becomes of it."""

import shutil

import pytest
import torch
import yaml
from conftest import SETTINGS, call, train, write_yaml

import llm_mde.train
from common.data.sets import DATA_SETS
from common.runtime.checkpoints import load_checkpoint
from scripts.run_plans.stage_runs import StageRun
from stage1_vae.stage import STAGE as STAGE1


@pytest.fixture
def start(workspace, trained, tmp_path):
    """Train stage 3 from a YAML file that names no encoder."""
    path = workspace.configs / "stage3_open.yaml"
    model = {k: v for k, v in SETTINGS["stage3"]["model"].items() if k != "encoder"}
    write_yaml(path, {"base": "base.yaml", "model": model})
    given = (f"init.stage2={trained / 'tiny/stage2'}", f"output_root={tmp_path}")
    return lambda *overrides: train("stage3", str(path), *given, *overrides)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "model.encoder=null",
        "model.encoder.lr_factor=0.5",
        "model.encoder.drop_path=0.1",
        "model.encoder.frozen=true",
        "model.encoder.name=swin",
        "model.encoder.embed_dim=8",  # stage 2's; no other size has to be named with it
    ],
)
def test_stage_3_takes_what_its_config_leaves_out_of_stage_2s_encoder(start, tmp_path, override):
    outcome = start(override)
    assert outcome.code == 0, outcome.err
    config = yaml.safe_load((tmp_path / "tiny/stage3/config.yaml").read_text())
    encoder = config["model"]["encoder"]
    assert (encoder["embed_dim"], encoder["depths"]) == (8, [1, 2, 1, 1])
    key, _, value = override.rpartition(".")[2].partition("=")
    if key in encoder:
        assert str(encoder[key]).lower() == value


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("data.height=96", "data.height, data.width: must be the same as in stage 2"),
        ("model.encoder.window_size=4", "model.encoder.window_size: must be the same as in stage"),
        ("model.encoder.name=timm:resnet18", "model.encoder.name: must be the same as in stage 2"),
    ],
)
def test_another_encoder_or_size_than_stage_2s_is_refused_early(start, tmp_path, override, named):
    assert named in start(override).refusal
    assert not (tmp_path / "tiny").exists()


def test_a_new_run_of_joint_takes_its_warm_start(workspace, trained, tmp_path):
    words = workspace.arguments("joint", tmp_path, f"init.stage1={trained / 'tiny/stage1'}")
    for folder, more in (("stage3", ()), ("stage3-2", ("data.mean_log_depth=0.9",))):
        assert train("joint", *words, *more).code == 0
        assert (
            "text branch starts from stage 1"
            in (tmp_path / "tiny" / folder / "log.txt").read_text()
        )
    moved = [word.replace(str(trained), "/nowhere") for word in words]
    outcome = train("joint", *moved, "train.max_steps=3")  # a resumed one needs it no more
    assert outcome.code == 2 or "resuming at step 2" in outcome.err


def test_a_plan_knows_the_folder_that_training_takes(workspace, tmp_path):
    path = workspace.configs / "stage1.yaml"
    for folder, more in (("stage1", ()), ("stage1-2", ("data.mean_log_depth=0.9",))):
        overrides = (f"output_root={tmp_path}", *more)
        assert StageRun(STAGE1, path, overrides).folder == tmp_path / "tiny" / folder
        assert train("stage1", str(path), *overrides).code == 0
        assert (tmp_path / "tiny" / folder / "checkpoints/last.pt").exists()


@pytest.mark.parametrize(
    ("stage", "override", "line"),
    [
        (
            "joint",
            "recipe=joined",
            "command line: recipe must be one of staged, joint, joint-legacy",
        ),
        ("stage1", "recipe=joint", "command line: unknown key 'recipe'"),
        ("llm_mde", "recipe=joint", "command line: recipe must be one of llm-mde, not 'joint'"),
        ("llm_mde", "model.encoder.lr_factor=0.1", "name: must be swin or timm:NAME, not ''"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(workspace, tmp_path, stage, override, line):
    assert line in train(stage, *workspace.arguments(stage, tmp_path, override)).refusal


def test_weights_of_another_network_are_refused_before_anything_is_loaded(workspace, tmp_path):
    overrides = (
        "model.encoder.name=timm:convnext_tiny",
        "model.encoder.weights=timm:swin_large_patch4_window12_384.ms_in22k",
    )
    refusal = train("joint", *workspace.arguments("joint", tmp_path, *overrides)).refusal
    assert "is of another network than timm:convnext_tiny" in refusal
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize("line", ["replace: [dta]", "keep: [data.hight]"])
def test_a_misspelled_key_to_replace_is_refused(workspace, tmp_path, line):
    path = tmp_path / "own.yaml"
    path.write_text(f"base: {workspace.configs / 'stage1.yaml'}\n{line}\n")
    refusal = train("stage1", str(path), f"output_root={tmp_path}").refusal
    assert f"{path}: unknown key" in refusal and "nearest valid key" in refusal


def test_batch_statistics_move_once_a_step(workspace, tmp_path):
    """Also where joint's totals run the network before the step, on every part of the batch."""
    overrides = (
        "model.encoder.name=timm:tf_efficientnet_lite0",
        "train.micro_batch_size=2",
        "loss.text_step_probability=0.0",
    )
    assert train("joint", *workspace.arguments("joint", tmp_path, *overrides)).code == 0
    saved = load_checkpoint(
        tmp_path / "tiny/stage3/checkpoints/last.pt", stage="stage3", recipes=("joint",)
    )
    counts = [v for k, v in saved["model"].items() if k.endswith("num_batches_tracked")]
    assert counts and all(torch.equal(count, torch.tensor(4)) for count in counts)


def test_llm_mde_needs_no_caption_file_for_words_of_its_own(workspace, tmp_path):
    words = workspace.arguments("llm_mde", tmp_path, "text.captions=null")
    assert "names no caption file" in call(llm_mde.train.main, *words).refusal
    assert call(llm_mde.train.main, *words, "text.control=category").code == 0


def test_lent_words_that_nobody_reads_are_not_missed(workspace, trained, tmp_path):
    shutil.copytree(trained / "tiny", tmp_path / "tiny")
    words = workspace.arguments(
        "stage3",
        tmp_path,
        "language.mode=none",
        "text.captions=null",
        "text.control=shuffled",
        "text.features=null",
    )
    assert train("stage3", *words).code == 0


@pytest.mark.parametrize(
    ("name", "key", "category"),
    [
        ("nyu", "kitchen_0028b/rgb_00045.jpg", "kitchen"),
        ("nyu", "study_room/rgb_1.jpg", "study room"),
        ("folder", "kitchen/rgb/0001.jpg", "kitchen"),
        ("folder", "rgb/kitchen_2/0001.jpg", "kitchen"),
        ("folder", "rgb/0001.jpg", "scene"),
        ("kitti", "2011_09_26/image_02/data/1.png", "street"),
        ("sun_rgbd", "SUNRGBD/kv1/NYUdata/NYU0001/image/NYU0001.jpg", "room"),
    ],
)
def test_the_kind_of_scene_is_the_data_sets_business(name, key, category):
    assert DATA_SETS[name].category_of(key) == category
