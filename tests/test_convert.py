"""Published checkpoints to this project's format and back, bit for bit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import evaluate
from published_files import GRID, STAGED, convert, save, tiny_weights, write_published

from common.networks.encoder_weights import start_from
from common.networks.published.names import published_file, read_safely
from common.networks.swin import SwinConfig, SwinEncoder
from common.runtime.checkpoints import load_checkpoint, read_checkpoint, save_checkpoint
from stage1_vae.model import TextVAE, TextVAEConfig, load_text_vae
from stage2_sampler.model import load_sampled_vae
from stage3_depth.joint_model import load_joint
from stage3_depth.model import load_language_depth

SUFFIXES = {"staged_stage3": "", "staged_stage1": "_stage_1", "staged_stage2": "_stage_2"}


def assert_same_file(path: Path, original: Path) -> None:
    ours, theirs = (read_safely(p) for p in (path, original))
    assert ours.keys() == theirs.keys()
    assert ours["model"].keys() == theirs["model"].keys()
    for key, weight in theirs["model"].items():
        assert ours["model"][key].dtype == weight.dtype
        assert torch.equal(ours["model"][key], weight), key
    assert ours["global_step"] == 1234
    assert ours["best_eval_measures_lower_better"].tolist() == [0, 1, 2, 3, 4, 5]
    assert ours["best_eval_steps"] == [0.0875, 0.25, 7]


@pytest.mark.parametrize(
    ("names", "stage"),
    [(STAGED[1:2], "stage1"), (STAGED[1:], "stage2"), (STAGED, "stage3"), (STAGED[::-1], "stage3")],
)
def test_staged_there_and_back(tmp_path, names, stage):
    files = write_published(tmp_path, *names)
    ours, back = tmp_path / "ours.pt", tmp_path / "back"
    done = convert("--dataset", "nyu", "--from", *files, "--output", ours)
    assert done.code == 0, done.err
    saved = load_checkpoint(ours, stage=stage, recipes=("staged",))
    loaders = {"stage1": load_text_vae, "stage2": load_sampled_vae, "stage3": load_language_depth}
    loaders[stage](saved)
    assert saved["step"] == 1234
    done = convert("--to", "published", "--from", ours, "--output", back)
    assert done.code == 0, done.err
    for name, file in zip(names, files, strict=True):
        suffix = SUFFIXES[name] if len(names) > 1 and stage != "stage1" else ""
        assert_same_file(tmp_path / f"back{suffix}", file)


@pytest.mark.parametrize(
    ("name", "recipe", "skips"),
    [
        ("joint_nyu", None, "dropped"),
        ("joint_nyu", "joint-legacy", "kept"),
        ("joint_kitti", "joint", "dropped"),
    ],
)
def test_joint_there_and_back(tmp_path, name, recipe, skips):
    (file,) = write_published(tmp_path, name)
    ours, back = tmp_path / "ours.pt", tmp_path / "back"
    dataset = name.removeprefix("joint_")
    asked = ["--recipe", recipe] if recipe else []
    done = convert(*asked, "--dataset", dataset, "--from", file, "--output", ours)
    assert done.code == 0, done.err
    saved = load_checkpoint(ours, stage="stage3", recipes=(recipe or "joint",))
    network = load_joint(saved)
    assert network.config.skips == skips
    assert network.config.prior_mean == {"nyu": 1.54, "kitti": 2.54}[dataset]
    height, width = GRID.get(name, (8, 16))
    assert network.image_size == (4 * height, 4 * width)
    data = saved["config"]["data"]
    assert (data["height"], data["width"]) == network.image_size
    assert data["max_depth"] == {"nyu": 10.0, "kitti": 80.0}[dataset]
    assert convert("--to", "published", "--from", ours, "--output", back).code == 0
    assert_same_file(back, file)


def test_backbone_there_and_back_and_as_a_start(tmp_path):
    """What VA-DepthNet saves: the same backbone, and heads this project does not have."""
    weights = {k: w for k, w in tiny_weights("joint_nyu").items() if k.startswith("backbone.")}
    weights["vlayer.att"] = torch.randn(3)
    file = save(tmp_path / "va.pth", weights)
    ours, back = tmp_path / "swin.pt", tmp_path / "back"
    done = convert("--from", file, "--output", ours)
    assert done.code == 0, done.err
    assert "1 unused, not part of the encoder:\n    vlayer.att" in done.out
    assert convert("--to", "published", "--from", ours, "--output", back).code == 0
    assert_same_file(back, file)
    encoder = SwinEncoder(SwinConfig(embed_dim=24, depths=(2, 2, 2, 2)), (32, 64))
    start_from(encoder, str(ours), log=lambda _: None)
    reduction = weights["backbone.layers.0.downsample.reduction.weight"]
    assert torch.equal(encoder.body.layers[1].downsample.reduction.weight, reduction)


def test_own_network_in_published_form_and_back(tmp_path):
    """A stage 1 of this project has nothing kept aside; its weights survive the round trip."""
    network = TextVAE(TextVAEConfig(16, (16, 12), 16, 8, 8, prior_mean=1.54))
    content = {
        "stage": "stage1",
        "recipe": "staged",
        "model": network.state_dict(),
        "model_config": network.describe(),
        "config": {},
        "step": 3,
    }
    file, theirs, ours = tmp_path / "own.pt", tmp_path / "theirs", tmp_path / "ours.pt"
    save_checkpoint(file, content)
    assert convert("--to", "published", "--from", file, "--output", theirs).code == 0
    assert convert("--dataset", "nyu", "--from", theirs, "--output", ours).code == 0
    before, after = (read_checkpoint(path)["model"] for path in (file, ours))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_converted_checkpoint_is_scored_by_its_stage(tmp_path, workspace):
    files, ours = write_published(tmp_path, *STAGED), tmp_path / "ours.pt"
    assert convert("--dataset", "nyu", "--from", *files, "--output", ours).code == 0
    done = evaluate(
        "stage3",
        "--checkpoint",
        str(ours),
        "--json",
        str(tmp_path / "out.json"),
        "--protocol",
        "none",
        f"data.root={workspace.data}",
        "data.train_dir=''",
        "data.test_dir=''",
        "data.test_list=test.txt",
        "text.features=text.safetensors",
        "text.captions=captions.jsonl",
        "text.image_features=image.safetensors",
    )
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out.json").read_text())["num_images"] == 4


def test_every_unused_weight_is_listed_with_its_reason(tmp_path):
    files = write_published(tmp_path, *STAGED)
    done = convert("--dataset", "nyu", "--from", *files, "--output", tmp_path / "ours.pt")
    listing = " ".join(done.out.split())
    aside = read_checkpoint(tmp_path / "ours.pt")["published_unused"]
    assert all(key in listing for weights in aside.values() for key in weights)
    for reason in (
        "8 unused, computed from the window size:",
        "4 unused, nothing reads the image features after the last refinement: ref_2.fw.0.weight",
        "16 unused, the published network never reads it: vlayer.co_lambda",
        "6 unused, stage 1's own depth head; stage 3 has another: outc.conv.weight",
    ):
        assert reason in listing
    assert f"{files[2]} (stage2): 6 of 6 weights used" in done.out


def test_unknown_weights_are_listed_and_kept(tmp_path):
    unknown = {"mean.9.weight": torch.ones(2), "vlayer.conv_7.bias": torch.ones(3)}
    file = save(tmp_path / "a.pth", tiny_weights("staged_stage1") | unknown)
    ours, back = tmp_path / "ours.pt", tmp_path / "back"
    done = convert("--dataset", "nyu", "--from", file, "--output", ours)
    assert done.code == 0, done.err
    assert "2 unused, unknown: not part of the published network:" in done.out
    assert all(key in done.out for key in unknown)
    assert convert("--to", "published", "--from", ours, "--output", back).code == 0
    assert_same_file(back, file)


def test_unusual_swin_is_pointed_out(tmp_path):
    (file,) = write_published(tmp_path, "joint_nyu")
    done = convert("--dataset", "nyu", "--from", file, "--output", tmp_path / "ours.pt")
    assert "24 channels, window 12, depths 2-2-2-2; published ones are 2-2-18-2" in done.out


@pytest.mark.parametrize(
    ("value", "step"),
    [(None, 0), ("late", 0), (torch.tensor([7]), 7), (np.float32(8), 8), (float("nan"), 0)],
)
def test_any_kind_of_step(tmp_path, value, step):
    weights = {f"module.{key}": w for key, w in tiny_weights("staged_stage1").items()}
    torch.save({"model": weights, "global_step": value}, tmp_path / "a.pth")
    ours = tmp_path / "ours.pt"
    done = convert("--dataset", "nyu", "--from", tmp_path / "a.pth", "--output", ours)
    assert done.code == 0, done.err
    assert read_checkpoint(ours)["step"] == step


def test_numpy_scalars_of_numpy_1(tmp_path):
    """Files written with numpy 1 name another module."""
    file = tmp_path / "a.pth"
    content = {"model": {"module.w": torch.ones(1)}, "global_step": np.int32(5)}
    torch.save(content, file, _use_new_zipfile_serialization=False)
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    file.write_bytes(file.read_bytes().replace(new, old))
    assert old in file.read_bytes()
    read = published_file(read_safely(file), file)
    assert read.entries == {"global_step": 5}
    assert list(read.weights) == ["w"]


def test_help_has_an_example():
    done = convert("--help")
    assert done.code == 0
    assert "python scripts/convert_checkpoint.py --dataset nyu" in done.out
