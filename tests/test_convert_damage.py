"""What cannot be converted is refused in one line, in both directions, and leaves no file."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from published_files import STAGED, convert, save, tiny_weights, write_published

from common.errors import UserError
from common.networks.published.names import read_safely, to_published


def refused(folder: Path, *files: Path) -> str:
    """The one error line of a conversion, which must not leave its output."""
    done = convert("--dataset", "nyu", "--from", *files, "--output", folder / "ours.pt")
    assert not (folder / "ours.pt").exists()
    return done.refusal


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
    error = refused(tmp_path, *files)
    assert key in error
    assert str(files[0]) in error


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
    assert re.search(message, refused(tmp_path, *files))


def test_joint_file_without_its_sampler_is_no_bare_encoder(tmp_path):
    file = save(tmp_path / "a.pth", without(tiny_weights("joint_nyu"), "eps_layer."))
    assert "eps_layer.eps_net.weight is missing" in refused(tmp_path, file)


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
    assert "holds pickled code (posix.mkdir)" in refused(tmp_path, file)
    assert not proof.exists()


def test_arrays_of_objects_are_refused(tmp_path):
    proof, file = tmp_path / "proof", tmp_path / "a.pth"
    trap = np.array([Trap(proof)], dtype=object)
    torch.save({"model": tiny_weights("staged_stage1"), "extra": trap}, file)
    with pytest.raises(UserError, match="more than tensors and numbers"):
        read_safely(file)
    assert not proof.exists()


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
        error = refused(tmp_path, file)
        assert message in error
        assert str(file) in error


def test_file_sets_and_options_that_make_no_sense(tmp_path):
    stage3, stage1, stage2 = write_published(tmp_path, *STAGED)
    (joint,) = write_published(tmp_path, "joint_nyu")
    nyu, output = ["--dataset", "nyu"], ["--output", tmp_path / "ours.pt"]
    for arguments, message in (
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
        done = convert(*arguments)
        assert message in done.refusal
        assert len(done.err.splitlines()) == 1
    assert convert("--from", stage1, *nyu, *output).code == 0
    done = convert("--from", tmp_path / "ours.pt", *nyu, "--output", tmp_path / "again.pt")
    assert "already in this project's format" in done.refusal


def test_position_embedding_of_another_data_set(tmp_path):
    weights = tiny_weights("joint_nyu")
    weights["backbone.absolute_pos_embed"] = torch.zeros(1, 24, 88, 304)
    file = save(tmp_path / "a.pth", weights)
    assert "give --dataset kitti" in refused(tmp_path, file)


def converted(tmp_path: Path) -> dict:
    """A converted staged checkpoint's content, to be damaged."""
    files, ours = write_published(tmp_path, *STAGED), tmp_path / "ours.pt"
    assert convert("--dataset", "nyu", "--from", *files, "--output", ours).code == 0
    return read_safely(ours)


@pytest.mark.parametrize("damage", ["weight", "shape", "key", "statistics"])
def test_damaged_own_checkpoint_is_not_published_half(tmp_path, damage):
    content = converted(tmp_path)
    if damage == "weight":
        del content["model"]["estimator.fuse0.weight"]
    elif damage == "shape":
        content["model"]["estimator.fuse0.weight"] = torch.zeros(3)
    elif damage == "key":
        del content["recipe"]
    else:  # only the second of the three files is refused, the first not written either
        content["model"]["scenes.standardize.mean"] += 1
    torch.save(content, tmp_path / "damaged.pt")
    expected = {
        "weight": "fuse0.weight",
        "shape": "fuse0.weight",
        "key": "it has no recipe",
        "statistics": "standardizes",
    }
    done = convert(
        "--to", "published", "--from", tmp_path / "damaged.pt", "--output", tmp_path / "back"
    )
    assert expected[damage] in done.refusal
    assert len(done.err.splitlines()) == 1
    assert not list(tmp_path.glob("back*"))


def test_published_files_do_not_overwrite_the_checkpoint(tmp_path):
    torch.save(converted(tmp_path), tmp_path / "net_stage_1")
    before = (tmp_path / "net_stage_1").read_bytes()
    done = convert(
        "--to", "published", "--from", tmp_path / "net_stage_1", "--output", tmp_path / "net"
    )
    assert "would overwrite" in done.refusal
    assert (tmp_path / "net_stage_1").read_bytes() == before
    assert not (tmp_path / "net").exists()


def test_own_networks_without_a_published_form(trained, tmp_path):
    for stage, message in (("stage2", "evidence 'encoder'"), ("stage3", "evidence 'encoder'")):
        file = trained / "tiny" / stage / "checkpoints" / "last.pt"
        done = convert("--to", "published", "--from", file, "--output", tmp_path / "out")
        assert message in done.refusal


def test_own_network_of_other_depth_has_no_published_form(trained, tmp_path):
    """Its text MLPs have one hidden layer; the published ones have two."""
    file = trained / "tiny" / "stage1" / "checkpoints" / "last.pt"
    done = convert("--to", "published", "--from", file, "--output", tmp_path / "theirs")
    assert "has no published form: mean and deviation: 2 layers" in done.refusal


def test_statistics_of_features_have_no_published_form():
    own = {"scenes.standardize.mean": torch.full((3,), 0.5)}
    with pytest.raises(UserError, match="standardizes"):
        to_published(own, {}, "stage1")
