"""Published checkpoints to this project's format and back, bit for bit; damaged files are refused.

The files have the published names, types and layout, and every size cut to an eighth.
"""

import json
import os
import re
import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from common.checkpoint import load_checkpoint, save_checkpoint
from common.config import REPO_ROOT
from common.errors import UserError
from common.published import published_file, read_safely, to_published
from common.swin import SwinConfig, SwinEncoder
from common.swin_weights import start_from
from stage1_vae.model import TextVAE, TextVAEConfig, load_text_vae
from stage2_sampler.model import load_sampled_vae
from stage3_depth.joint_model import load_joint
from stage3_depth.model import load_language_depth
from tests.conftest import IMAGE_DIM, TEXT_DIM, Outcome, call, evaluate
from tests.golden.networks import published_shapes

PROGRAM = REPO_ROOT / "scripts" / "convert_checkpoint.py"
STAGED = ("staged_stage3", "staged_stage1", "staged_stage2")
SUFFIXES = {"staged_stage3": "", "staged_stage1": "_stage_1", "staged_stage2": "_stage_2"}
FIRST_LAYERS = {"mean.0": TEXT_DIM, "deviation.0": TEXT_DIM, "eps_net.0": IMAGE_DIM}
GRID = {"joint_kitti": (8, 24)}  # of the position embedding; the others: (8, 16)


def convert(*words) -> Outcome:
    """Run the program in this process."""
    return call(partial(runpy.run_path, str(PROGRAM), run_name="__main__"), *map(str, words))


def tiny_shape(key: str, shape: tuple[int, ...], grid: tuple[int, int]) -> list[int]:
    if "relative_position" in key:
        return list(shape)
    small = [size // 8 if size >= 64 else size for size in shape]
    if key.endswith("absolute_pos_embed"):
        small[2:] = grid
    first = re.search(r"(?:^|\.)(mean\.0|deviation\.0|eps_net\.0)\.weight$", key)
    if first:
        small[1] = FIRST_LAYERS[first[1]]
    return small


def tiny_weights(name: str) -> dict[str, torch.Tensor]:
    """Random weights under the published names; two blocks in each Swin stage."""
    generator = torch.Generator().manual_seed(len(name))
    weights = {}
    for key, like in published_shapes(name).items():
        if re.search(r"blocks\.([2-9]|1\d)\.", key):
            continue
        shape = tiny_shape(key, tuple(like.shape), GRID.get(name, (8, 16)))
        if key.endswith("relative_position_index"):
            weights[key] = torch.randint(0, 529, shape, generator=generator)
        else:
            weights[key] = 0.1 * torch.randn(shape, generator=generator)
    return weights


def save(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """As the published training code saves."""
    torch.save(
        {
            "model": {f"module.{key}": weight for key, weight in weights.items()},
            "global_step": np.int64(1234),
            "best_eval_measures_higher_better": torch.zeros(3),
            "best_eval_measures_lower_better": np.arange(6.0),
            "best_eval_steps": [np.float64(0.0875), np.float32(0.25), 7],
        },
        path,
    )
    return path


@pytest.fixture
def published(tmp_path):
    """Write the named published files; returns their paths."""
    return lambda *names: [save(tmp_path / f"{name}.pth", tiny_weights(name)) for name in names]


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
def test_staged_there_and_back(published, tmp_path, names, stage):
    files = published(*names)
    ours, back = tmp_path / "ours.pt", tmp_path / "back"
    done = convert("--dataset", "nyu", "--from", *files, "--output", ours)
    assert done.code == 0, done.err
    saved = load_checkpoint(ours, stage=stage)
    loaders = {
        "stage1": load_text_vae, "stage2": load_sampled_vae, "stage3": load_language_depth,
    }  # fmt: skip
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
def test_joint_there_and_back(published, tmp_path, name, recipe, skips):
    (file,) = published(name)
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


def test_converted_checkpoint_is_scored_by_its_stage(published, tmp_path, workspace):
    files, ours = published(*STAGED), tmp_path / "ours.pt"
    assert convert("--dataset", "nyu", "--from", *files, "--output", ours).code == 0
    done = evaluate(
        "stage3", "--checkpoint", str(ours), "--json", str(tmp_path / "out.json"),
        "--protocol", "none", f"data.root={workspace.data}", "data.train_dir=''",
        "data.test_dir=''", "data.test_list=test.txt", "text.features=text.safetensors",
        "text.captions=captions.jsonl", "text.image_features=image.safetensors",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out.json").read_text())["num_images"] == 4


def test_every_unused_weight_is_listed_with_its_reason(published, tmp_path):
    files = published(*STAGED)
    done = convert("--dataset", "nyu", "--from", *files, "--output", tmp_path / "ours.pt")
    listing = " ".join(done.out.split())
    aside = load_checkpoint(tmp_path / "ours.pt", stage="stage3")["published_unused"]
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


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (["staged_stage1"], "mean.0.weight"),
        (["staged_stage1"], "deviation.4.bias"),
        (["staged_stage1"], "ref_3.dw.2.weight"),
        (["staged_stage1"], "mlayer.ln.2.bias"),
        (["staged_stage1"], "outc.conv.weight"),
        (["staged_stage2", "staged_stage1"], "eps_net.4.weight"),
        (STAGED, "backbone.absolute_pos_embed"),
        (STAGED, "backbone.patch_embed.proj.weight"),
        (STAGED, "backbone.layers.1.blocks.1.attn.relative_position_bias_table"),
        (STAGED, "backbone.norm2.bias"),
        (STAGED, "up_3.conv.bt.weight"),
        (STAGED, "fuse_4.conv.weight"),
        (["joint_nyu"], "text_encoder.deviation.0.weight"),
        (["joint_nyu"], "eps_layer.post.bias"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_damaged_weight_is_named(tmp_path, names, key, damage):
    files = []
    for name in names:
        weights = tiny_weights(name)
        if name == names[0] and damage == "missing":
            del weights[key]
        elif name == names[0]:
            weights[key] = torch.cat((weights[key], weights[key]))
        files.append(save(tmp_path / f"{name}.pth", weights))
    done = convert("--dataset", "nyu", "--from", *files, "--output", tmp_path / "ours.pt")
    assert done.code == 2
    assert key in done.errors[0]
    assert str(files[0]) in done.errors[0]
    assert not (tmp_path / "ours.pt").exists()


class Trap:
    """Leaves a file behind where pickled code is run."""

    def __init__(self, proof: Path):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_pickled_code_is_refused_and_not_run(tmp_path, options):
    proof = tmp_path / "proof"
    file = tmp_path / "a.pth"
    torch.save({"model": tiny_weights("staged_stage1"), "extra": Trap(proof)}, file, **options)
    done = convert("--dataset", "nyu", "--from", file, "--output", tmp_path / "ours.pt")
    assert done.code == 2
    assert "holds pickled code (posix.mkdir)" in done.errors[0]
    assert not proof.exists()


def test_arrays_of_objects_are_refused(tmp_path):
    proof, file = tmp_path / "proof", tmp_path / "a.pth"
    trap = np.array([Trap(proof)], dtype=object)
    torch.save({"model": tiny_weights("staged_stage1"), "extra": trap}, file)
    with pytest.raises(UserError, match="more than tensors and numbers"):
        read_safely(file)
    assert not proof.exists()


def test_numpy_scalars_of_numpy_1(tmp_path):
    """Files written with numpy 1 name another module."""
    file = tmp_path / "a.pth"
    content = {"model": {"module.w": torch.ones(1)}, "global_step": np.int32(5)}
    torch.save(content, file, _use_new_zipfile_serialization=False)
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    assert new in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(new, old))
    read = published_file(read_safely(file), file)
    assert read.entries == {"global_step": 5}
    assert list(read.weights) == ["w"]


def test_files_that_are_no_checkpoints(tmp_path):
    junk, empty = tmp_path / "junk.pth", tmp_path / "empty.pth"
    junk.write_bytes(b"not a checkpoint" * 100)
    empty.write_bytes(b"")
    for file, message in (
        (tmp_path / "absent.pth", "no file"),
        (junk, "it is damaged"),
        (empty, "it is damaged"),
        (save(tmp_path / "other.pth", {"conv.weight": torch.ones(1)}), "none of the published"),
    ):
        done = convert("--dataset", "nyu", "--from", file, "--output", tmp_path / "ours.pt")
        assert done.code == 2
        assert message in done.errors[0]
        assert str(file) in done.errors[0]


def test_file_sets_and_options_that_make_no_sense(published, tmp_path):
    stage3, stage1, stage2 = published(*STAGED)
    (joint,) = published("joint_nyu")
    nyu, output = ["--dataset", "nyu"], ["--output", tmp_path / "ours.pt"]
    for words, message in (
        (["--from", stage3, *nyu, *output], "stage3 do not make a whole checkpoint"),
        (
            ["--from", stage2, stage3, *nyu, *output],
            "stage2, stage3 do not make a whole checkpoint",
        ),
        (
            ["--from", stage1, stage1, *nyu, *output],
            "stage1, stage1 do not make a whole checkpoint",
        ),
        (["--from", joint, "--recipe", "staged", *nyu, *output], "joint do not make a staged"),
        (["--from", stage1, "--recipe", "joint", *nyu, *output], "stage1 do not make a joint"),
        (["--from", stage1, *output], "give --dataset"),
        (["--from", stage1, "--output", stage1], "also an input"),
        (["--from", stage1, "--to", "published", *output], "not a checkpoint of this project"),
        (["--from", stage1, joint, "--to", "published", *output], "one checkpoint at a time"),
    ):
        done = convert(*words)
        assert done.code == 2
        assert message in done.errors[0]
        assert len(done.err.splitlines()) == 1
    assert convert("--from", stage1, *nyu, *output).code == 0
    done = convert("--from", tmp_path / "ours.pt", *nyu, "--output", tmp_path / "again.pt")
    assert "already in this project's format" in done.errors[0]


def test_position_embedding_of_another_data_set(tmp_path):
    weights = tiny_weights("joint_nyu")
    weights["backbone.absolute_pos_embed"] = torch.zeros(1, 24, 88, 304)
    file = save(tmp_path / "a.pth", weights)
    done = convert("--dataset", "nyu", "--from", file, "--output", tmp_path / "ours.pt")
    assert done.code == 2
    assert "give --dataset kitti" in done.errors[0]


def test_own_networks_without_a_published_form(trained, tmp_path):
    for stage, message in (("stage2", "evidence 'swin'"), ("stage3", "evidence 'swin'")):
        file = trained / "tiny" / stage / "checkpoints" / "last.pt"
        done = convert("--to", "published", "--from", file, "--output", tmp_path / "out")
        assert done.code == 2
        assert message in done.errors[0]


def without(weights: dict[str, torch.Tensor], *prefixes: str) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in weights.items() if not name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("name", "gone", "message"),
    [
        ("staged_stage1", ("mean.4", "deviation.4"), "2 layers in a row, .* mean.4.weight"),
        ("staged_stage2", ("eps_net.4",), "2 layers in a row, .* eps_net.4.weight"),
        ("staged_stage3", ("mlayer.1.ln.2",), "mlayer.1.ln.2.weight"),
        ("staged_stage3", ("backbone.layers.2.blocks.1.",), "layers.2.blocks.1. is missing"),
        ("staged_stage3", ("backbone.layers.2.blocks.",), "layers.2.blocks.0. is missing"),
        ("staged_stage3", ("fuse_",), "fuse_0.conv.weight is missing"),
    ],
)
def test_file_without_its_last_layers_is_no_smaller_network(tmp_path, name, gone, message):
    files = [save(tmp_path / f"{n}.pth", tiny_weights(n)) for n in STAGED if n != name]
    files.append(save(tmp_path / f"{name}.pth", without(tiny_weights(name), *gone)))
    done = convert("--dataset", "nyu", "--from", *files, "--output", tmp_path / "ours.pt")
    assert done.code == 2
    assert re.search(message, done.errors[0])
    assert not (tmp_path / "ours.pt").exists()


def test_joint_file_without_its_sampler_is_no_bare_encoder(tmp_path):
    file = save(tmp_path / "a.pth", without(tiny_weights("joint_nyu"), "eps_layer."))
    done = convert("--dataset", "nyu", "--from", file, "--output", tmp_path / "ours.pt")
    assert done.code == 2
    assert "eps_layer.eps_net.weight is missing" in done.errors[0]


def test_unusual_swin_is_pointed_out(published, tmp_path):
    (file,) = published("joint_nyu")
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
    assert load_checkpoint(ours, stage="stage1")["step"] == step


def converted(published, tmp_path) -> dict:
    """A converted staged checkpoint's content, to be damaged."""
    ours = tmp_path / "ours.pt"
    assert convert("--dataset", "nyu", "--from", *published(*STAGED), "--output", ours).code == 0
    return read_safely(ours)


@pytest.mark.parametrize("damage", ["weight", "shape", "key", "statistics"])
def test_damaged_own_checkpoint_is_not_published_half(published, tmp_path, damage):
    content = converted(published, tmp_path)
    if damage == "weight":
        del content["model"]["estimator.fuse0.weight"]
    elif damage == "shape":
        content["model"]["estimator.fuse0.weight"] = torch.zeros(3)
    elif damage == "key":
        del content["recipe"]
    else:  # only the second of the three files is refused, the first not written either
        content["model"]["scenes.standardize.mean"] += 1
    torch.save(content, tmp_path / "damaged.pt")
    words = {"weight": "fuse0.weight", "shape": "fuse0.weight", "key": "it has no recipe",
             "statistics": "standardises"}  # fmt: skip
    done = convert("--to", "published", "--from", tmp_path / "damaged.pt",
                   "--output", tmp_path / "back")  # fmt: skip
    assert done.code == 2
    assert words[damage] in done.errors[0]
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.glob("back*"))


def test_published_files_do_not_overwrite_the_checkpoint(published, tmp_path):
    torch.save(converted(published, tmp_path), tmp_path / "net_stage_1")
    before = (tmp_path / "net_stage_1").read_bytes()
    done = convert("--to", "published", "--from", tmp_path / "net_stage_1",
                   "--output", tmp_path / "net")  # fmt: skip
    assert done.code == 2
    assert "would overwrite" in done.errors[0]
    assert (tmp_path / "net_stage_1").read_bytes() == before
    assert not (tmp_path / "net").exists()


def test_own_network_of_other_depth_has_no_published_form(trained, tmp_path):
    """Its text MLPs have one hidden layer; the published ones have two."""
    file = trained / "tiny" / "stage1" / "checkpoints" / "last.pt"
    done = convert("--to", "published", "--from", file, "--output", tmp_path / "theirs")
    assert done.code == 2
    assert "has no published form: mean and deviation: 2 layers" in done.errors[0]


def test_own_network_in_published_form_and_back(tmp_path):
    """A stage 1 of this project has nothing kept aside; its weights survive the round trip."""
    network = TextVAE(TextVAEConfig(16, (16, 12), 16, 8, 8))
    content = {"stage": "stage1", "recipe": "staged", "model": network.state_dict(),
               "model_config": network.describe(), "config": {}, "step": 3}  # fmt: skip
    file, theirs, ours = tmp_path / "own.pt", tmp_path / "theirs", tmp_path / "ours.pt"
    save_checkpoint(file, content)
    assert convert("--to", "published", "--from", file, "--output", theirs).code == 0
    assert convert("--dataset", "nyu", "--from", theirs, "--output", ours).code == 0
    before, after = (load_checkpoint(path, stage="stage1")["model"] for path in (file, ours))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_statistics_of_features_have_no_published_form():
    own = {"scenes.standardize.mean": torch.full((3,), 0.5)}
    with pytest.raises(UserError, match="standardises"):
        to_published(own, {}, "stage1")


def test_help_has_an_example():
    done = convert("--help")
    assert done.code == 0
    assert "python scripts/convert_checkpoint.py --dataset nyu" in done.out
