"""Subsets of the training images: what is drawn, of which split, and what a run records of it."""

import json

import numpy as np
import pytest
import torch
import yaml
from conftest import TEXT_DIM, evaluate, train

from common.config import load_config
from common.data.subsets import draw_rows, subset_size
from common.errors import UserError
from common.language.language import Needs
from common.programs.assembly import load_split
from common.runtime.processes import Processes
from stage3_depth.config import JointStageConfig

ITEMS = [f"image {number}" for number in range(100)]
ALONE = Processes(0, 1, torch.device("cpu"))


def draw_subset(found, images, seed):
    is_present = np.array([item in found for item in ITEMS])
    return [ITEMS[row] for row in draw_rows(is_present, images, seed)]


def test_a_subset_holds_every_smaller_one_of_its_seed_in_the_order_of_the_list():
    for seed in range(5):
        sizes = [1, 2, 7, 0.1, 32, 0.5, 99, 100, None]
        subsets = [draw_subset(ITEMS, size, seed) for size in sizes]
        assert [len(s) for s in subsets] == [1, 2, 7, 10, 32, 50, 99, 100, 100]
        for small, large in zip(subsets, subsets[1:], strict=False):
            assert set(small) <= set(large)
        assert all(subset == sorted(subset, key=ITEMS.index) for subset in subsets)
    tens = {tuple(draw_subset(ITEMS, 10, seed)) for seed in range(20)}
    assert len(tens) == 20
    counts = np.array([[item in ten for item in ITEMS] for ten in tens]).sum(axis=0)
    assert counts.max() <= 8  # no image is favored: 2 of 20 are expected


def test_a_missing_file_changes_no_other_choice():
    full = draw_subset(ITEMS, 10, 0)
    lost = full[3]
    rest = draw_subset([item for item in ITEMS if item != lost], 10, 0)
    assert len(rest) == 10 and set(full) - set(rest) == {lost}


def test_sizes():
    assert subset_size(0.001, 12) == 1
    with pytest.raises(UserError, match="13 images are asked for, the training split has only 12"):
        subset_size(13, 12)


@pytest.fixture
def split_of(workspace, tmp_path):
    """The keys of a split of the tiny data set under some overrides, and its notes."""

    def split(name: str, *overrides: str) -> tuple[list[str], tuple[str, ...]]:
        words = [f"output_root={tmp_path}", *overrides]
        config = load_config(JointStageConfig, workspace.configs / "joint.yaml", words)
        dataset = load_split(config, name, Needs(TEXT_DIM), ALONE)
        return [sample.key for sample in dataset.samples], dataset.notes

    return split


def test_only_the_training_split_becomes_smaller(split_of):
    everything, notes = split_of("train")
    assert (len(everything), notes) == (12, ())
    subset, notes = split_of("train", "data.train_images=5", "data.subset_seed=3")
    assert notes == ("train: 5 of 12 training images (subset seed 3)",)
    assert len(subset) == 5 and subset == [key for key in everything if key in subset]
    half, _ = split_of("train", "data.train_images=0.5", "data.subset_seed=3")
    assert len(half) == 6 and set(subset) < set(half)
    assert half != split_of("train", "data.train_images=0.5", "data.subset_seed=4")[0]
    for name in ("val", "test"):
        assert split_of(name, "data.train_images=2") == split_of(name)


def test_validation_is_carved_before_the_subset(split_of):
    carved = ["data.val_list=null", "data.val_share=0.2"]
    validation, _ = split_of("val", *carved)
    assert split_of("val", *carved, "data.train_images=3")[0] == validation
    for seed in range(4):
        few, _ = split_of("train", *carved, "data.train_images=9", f"data.subset_seed={seed}")
        assert len(few) == 9 and not set(few) & set(validation)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.train_images=0", "train_images: 0 is not at least 1"),
        ("data.train_images=-3", "train_images: -3 is not at least 1"),
        ("data.train_images=1.0", "train_images: 1.0 is neither a whole number"),
        ("data.train_images=0.0", "train_images: 0.0 is neither a whole number"),
        ("data.train_images=true", "data.train_images must be a whole number or a number"),
        ("data.train_images=few", "data.train_images must be a whole number or a number"),
        ("data.train_images=13", "13 images are asked for, the training split has only 12"),
        ("data.subset_seed=-1", "subset_seed: -1 is not at least 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(workspace, tmp_path, word, message):
    outcome = train("joint", *workspace.arguments("joint", tmp_path, word))
    assert message in outcome.refusal
    assert not (tmp_path / "tiny").exists()


def test_a_run_with_fewer_images_than_a_batch_is_recorded_and_is_another_run(workspace, tmp_path):
    words = workspace.arguments("joint", tmp_path, "data.train_images=1", "data.subset_seed=5")
    assert train("joint", *words).code == 0
    run = tmp_path / "tiny" / "stage3"
    assert "train: 1 of 12 training images (subset seed 5)" in (run / "log.txt").read_text()
    saved = yaml.safe_load((run / "config.yaml").read_text())["data"]
    assert (saved["train_images"], saved["subset_seed"]) == (1, 5)
    assert "already trained" in train("joint", *words).err
    assert train("joint", *words[:-1], "data.subset_seed=6").code == 0
    assert (run.parent / "stage3-2").is_dir()
    out = tmp_path / "train.json"
    words = ("--checkpoint", str(run), "--split", "train", "--json", str(out))
    assert evaluate("stage3", *words).code == 0
    assert json.loads(out.read_text())["num_images"] == 1
