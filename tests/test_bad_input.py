"""Bad input: exit code 2 and one line on stderr that says what, where and what to do."""

import json

import cv2
import numpy as np
import pytest
import torch
from conftest import train, train_process

from common.language.feature_files import write_features
from common.language.feature_store import FeatureStore


@pytest.fixture
def refused(workspace, tmp_path):
    """Train stage 1 and return its one error line; nothing of a run may be left."""

    def refusal(*overrides, stage="stage1"):
        runs = tmp_path / "runs"
        outcome = train(stage, *workspace.arguments(stage, runs, *overrides))
        assert outcome.err.splitlines()[-1] == outcome.refusal
        assert not [p for p in runs.rglob("*") if p.is_file()]
        return outcome.refusal.removeprefix("error: ")

    return refusal


def first_pair(data, split="train"):
    """Image and depth file of the first line of a list."""
    image, depth, _ = (data / f"{split}.txt").read_text().splitlines()[0].split()
    return data / image.lstrip("/"), data / depth.lstrip("/")


def test_as_a_real_process(workspace, tmp_path):
    words = workspace.arguments("stage3", tmp_path / "runs", "data.hieght=64")
    outcome = train_process("stage3", *words)
    assert outcome.code == 2
    expected = "error: command line: unknown key 'data.hieght'; the nearest valid key is"
    assert outcome.err == f"{expected} 'data.height'\n"
    assert outcome.out == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("trian.lr=1", ["command line", "unknown key 'trian'", "'train'"]),
        ("model.latent=8", ["unknown key 'model.latent'", "'model.latent_dim'"]),
        ("train.lr=fast", ["command line: train.lr must be a number, not 'fast'"]),
        ("data.flip=7", ["data.flip must be true or false, not 7"]),
        ("data.height=100", ["data.height: 100 is not divisible by 32; use 96 or 128"]),
        ("data.width=72", ["data.width: 72 is not divisible by 32; use 64 or 96"]),
        ("data.root=/nowhere", ["data.root: no folder /nowhere", "set data.root"]),
        ("data.train_list=no.txt", ["no list file no.txt", "data.*_list"]),
        ("data.val_list=no.txt", ["no list file no.txt", "data.*_list"]),
        ("text.captions=no.jsonl", ["no caption file no.jsonl", "text.captions"]),
    ],
)
def test_settings(refused, override, parts):
    message = refused(override)
    assert all(part in message for part in parts), message


def test_a_mistake_in_a_yaml_file_names_the_file(workspace, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"base: {workspace.configs / 'stage1.yaml'}\ntrain: {{learning: 3}}\n")
    outcome = train("stage1", str(path))
    assert outcome.code == 2
    assert outcome.errors[0].startswith(f"error: {path}: unknown key 'train.learning'")


@pytest.mark.parametrize("split", ["train", "val"])
def test_files_that_a_list_names_but_that_do_not_exist(refused, data, split):
    lines = (data / f"{split}.txt").read_text().splitlines()
    for line in lines[:4]:
        (data / line.split()[0].lstrip("/")).unlink()
    message = refused(f"data.root={data}")
    assert f"4 of {len(lines)} images are missing, first " in message
    for line in lines[:3]:
        assert line.split()[0] in message
    assert lines[3].split()[0] not in message
    assert "check data.root" in message


def test_missing_depth_maps(refused, data):
    first_pair(data)[1].unlink()
    message = refused(f"data.root={data}")
    assert "1 of 12 depth maps are missing" in message
    assert str(first_pair(data)[1]) in message
    assert "data.gt_root" in message


def test_a_line_that_is_no_pair(refused, data):
    (data / "train.txt").write_text("a.png\n")
    assert "train.txt:1: expected 'IMAGE DEPTH [FOCAL]', found 1 columns" in refused(
        f"data.root={data}"
    )


def damaged_image(data, split):
    path = first_pair(data, split)[0]
    path.write_bytes(b"no picture at all")
    return [str(path), "not a readable image", "copy it again"]


def truncated_image(data, split):
    path = first_pair(data, split)[0]
    path.write_bytes(path.read_bytes()[:-200])
    return [str(path), "cut off", "copy it again"]


def empty_depth(data, split):
    path = first_pair(data, split)[1]
    path.write_bytes(b"")
    return [str(path), "not a readable image"]


def other_size(data, split):
    image, depth = first_pair(data, split)
    cv2.imwrite(str(image), np.zeros((32, 48, 3), np.uint8))
    return [f"{image} is 32x48", f"{depth} is 64x96", "must be of one size"]


def eight_bits(data, split):
    path = first_pair(data, split)[1]
    cv2.imwrite(str(path), np.full((64, 96), 3, np.uint8))
    return [f"{path}: depth must have one channel", "of uint8"]


def three_channels(data, split):
    path = first_pair(data, split)[1]
    cv2.imwrite(str(path), np.full((64, 96, 3), 3000, np.uint16))
    return [f"{path}: depth must have one channel", "3] of uint16"]


DAMAGE = [damaged_image, truncated_image, empty_depth, other_size, eight_bits, three_channels]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("split", ["train", "val"])
def test_image_files(refused, data, damage, split):
    """A small set is read whole before anything else happens."""
    parts = damage(data, split)
    message = refused(f"data.root={data}")
    assert all(part in message for part in parts), message


def key_of(data, index):
    return (data / "train.txt").read_text().splitlines()[index].split()[0].lstrip("/")


def test_a_caption_that_is_missing(refused, data):
    missing = key_of(data, 2)
    lines = (data / "captions.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["image"] != missing]
    (data / "captions.jsonl").write_text("\n".join(kept))
    message = refused(f"data.root={data}")
    assert f"1 of 12 images have no caption, first {missing}; check" in message
    assert "text.captions" in message


def test_a_text_feature_that_is_missing(refused, data):
    store = FeatureStore.open(data / "text.safetensors")
    kept = [key_of(data, index) for index in range(9)]
    features = torch.stack([store[key] for key in kept])
    write_features(data / "text.safetensors", kept, features, {})
    message = refused(f"data.root={data}")
    assert f"3 of 12 images have no text feature, first {key_of(data, 9)}" in message
    assert "text.features" in message


def test_features_that_cannot_be_read(refused, data):
    (data / "text.safetensors").write_bytes(b"nothing")
    assert f"{data / 'text.safetensors'}: neither a packed" in refused(f"data.root={data}")
    message = refused(f"data.root={data}", "text.features=no.npz", "text.captions=null")
    assert "no feature file no.npz" in message


def test_features_of_another_length(refused):
    message = refused("model.text_dim=24")
    assert "the text features have 16 numbers, the model reads 24: check text.features" in message


@pytest.mark.parametrize(("stage", "earlier"), [("stage2", "stage1"), ("stage3", "stage2")])
def test_an_earlier_stage_that_is_missing(refused, tmp_path, stage, earlier):
    message = refused(stage=stage)
    assert f"no {earlier} checkpoint in {tmp_path / 'runs/tiny' / earlier}" in message
    assert f"sh {earlier}_" in message
    assert f"init.{earlier}=PATH" in message
    assert "no stage" in refused(f"init.{earlier}={tmp_path / 'nowhere'}", stage=stage)


@pytest.mark.parametrize(("stage", "earlier"), [("stage2", "stage1"), ("stage3", "stage2")])
def test_an_earlier_stage_of_another_recipe_or_stage(refused, trained, tmp_path, stage, earlier):
    saved = torch.load(trained / "tiny" / earlier / "checkpoints/best.pt", weights_only=True)
    torch.save({**saved, "recipe": "joint"}, tmp_path / "joint.pt")
    message = refused(f"init.{earlier}={tmp_path / 'joint.pt'}", stage=stage)
    assert f"{tmp_path / 'joint.pt'} is a checkpoint of {earlier} (joint recipe)" in message
    assert f"a {earlier} (staged) checkpoint is needed" in message
    message = refused(f"init.{earlier}={trained / 'tiny' / stage}", stage=stage)
    assert f"is a checkpoint of {stage}" in message
    (tmp_path / "joint.pt").write_bytes(b"nothing")
    message = refused(f"init.{earlier}={tmp_path / 'joint.pt'}", stage=stage)
    assert "damaged or not a checkpoint" in message


def test_an_output_folder_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").touch()
    message = refused(f"output_root={tmp_path / 'file'}")
    assert f"cannot write to {tmp_path / 'file/tiny/stage1'}" in message
    assert "set output_root" in message


def test_a_batch_that_cannot_be_shared_out(refused):
    """One process takes any batch; the error for two is in test_distributed.py."""
    message = refused("train.batch_size=0")
    assert "train.batch_size: must be at least 1, not 0" in message
