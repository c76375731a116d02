"""What is checked before the first step, and that it costs little and changes nothing."""

from collections import namedtuple

import cv2
import numpy as np
import pytest
import torch
from conftest import train

from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset, build_dataset
from common.data.splits import find_split
from common.engine.train_config import TrainConfig
from common.errors import UserError
from common.evaluation.scoring import EvalConfig
from common.losses.vae import measured
from common.programs import preflight
from stage1_vae.stage import STAGE as STAGE1
from stage3_depth.stage import STAGED as STAGE3

NONE = EvalConfig(protocol="none")
LISTS = {f"{split}_list": f"{split}.txt" for split in ("train", "val", "test")}


@pytest.fixture
def config(data):
    """The data section for that copy."""
    return DataConfig("nyu", data, 64, 96, 10.0, **LISTS)


@pytest.fixture
def refused(workspace, data, tmp_path):
    """Train stage 1 and return its one error line; no file of a run may be left."""

    def refusal(*overrides):
        words = workspace.arguments("stage1", tmp_path / "runs", f"data.root={data}", *overrides)
        line = train("stage1", *words).refusal
        assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
        return line

    return refusal


def files(data, split, column):
    """The images (column 0) or depth maps (1) of a list."""
    lines = (data / f"{split}.txt").read_text().splitlines()
    return [data / line.split()[column].lstrip("/") for line in lines]


def write_depth(path, meters, height=64, width=96):
    cv2.imwrite(str(path), np.full((height, width), meters * 1000, np.uint16))


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("eval.protocol=nyu_eigen", ["needs 480x640 ground truth, this one is 64x96"]),
        ("eval.protocol=kitti_garg_kbcrop", ["at least 352x1216, this one is 64x96"]),
    ],
)
def test_a_protocol_for_other_sizes(refused, override, parts):
    line = refused(override)
    assert all(part in line for part in parts), line
    assert "use eval.protocol=none" in line and "--protocol" not in line


@pytest.mark.parametrize(
    "change", ["data.max_depth=0.5", "data.depth_scale=100", "data.depth_scale=1e7"]
)
def test_depth_of_which_no_pixel_is_trained_on(refused, change):
    line = refused(change)
    assert "nothing to learn: all depth of 12 training images is outside the range" in line
    assert "correct data.max_depth, or data.depth_scale" in line


def test_depth_without_a_measured_pixel(refused, data):
    for path in files(data, "train", 1):
        write_depth(path, 0)
    assert "none of 12 training images has a measured pixel" in refused()


def test_validation_without_a_scored_pixel(refused, data):
    for path in files(data, "val", 1):
        write_depth(path, 12)
    assert "protocol none: none of 4 images has a valid ground-truth pixel" in refused()


def test_one_image_that_can_be_trained_on_is_enough(config, data):
    for split in ("train", "val"):
        for path in files(data, split, 1)[:-1]:
            write_depth(path, 12)
    preflight.check_configured_data(config, NONE)


def test_each_stage_counts_the_pixels_of_its_own_loss(config, data):
    """SILog leaves out what is nearer than 0.1 m, the loss of stage 1 does not."""
    for path in (*files(data, "train", 1), *files(data, "val", 1)):
        write_depth(path, 0.05)
    train_set, val = (build_dataset(config, find_split(config, name)) for name in ("train", "val"))
    preflight.check_data(train_set, val, NONE, 10.0, STAGE1.valid)
    assert STAGE1.valid is measured
    with pytest.raises(UserError, match=r"between 0\.05 and 0\.05 m"):
        preflight.check_data(train_set, val, NONE, 10.0, STAGE3.valid)


def test_one_map_of_another_size_is_found_by_the_heads_of_the_files(config, data, monkeypatch):
    paths = files(data, "val", 1)
    for image, depth in zip(files(data, "val", 0), paths, strict=True):
        cv2.imwrite(str(image), np.zeros((480, 640, 3), np.uint8))
        write_depth(depth, 2, 480, 640)
    nyu = EvalConfig(protocol="nyu_eigen")
    preflight.check_configured_data(config, nyu)
    write_depth(paths[2], 2, 481, 640)
    monkeypatch.setattr(preflight, "MOST", 1)
    with pytest.raises(UserError, match="rgb_00002.png: protocol nyu_eigen .* this one is 481x640"):
        preflight.check_configured_data(config, nyu)
    limited = EvalConfig(protocol="nyu_eigen", max_images=2)  # which never scores it
    preflight.check_configured_data(config, limited)


def test_few_images_of_a_large_set_are_read(config, monkeypatch):
    read = []
    get = DepthDataset.__getitem__
    monkeypatch.setattr(
        DepthDataset, "__getitem__", lambda self, k: (read.append(k), get(self, k))[1]
    )
    monkeypatch.setattr(preflight, "SECONDS", 0.0)
    preflight.check_configured_data(config, NONE)
    assert len(read) == 2 * preflight.FEWEST
    monkeypatch.setattr(preflight, "MOST", 2)
    preflight.check_configured_data(config, NONE)
    assert len(read) == 2 * preflight.FEWEST + 4


def test_the_doctor_hears_what_training_says(config, data, refused):
    path = files(data, "val", 0)[3]
    path.write_bytes(b"nothing")
    with pytest.raises(UserError) as error:
        preflight.check_configured_data(config, NONE)
    assert refused() == f"error: {error.value}"


def test_it_draws_no_random_number_and_writes_nothing(config, tmp_path):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    there = sorted(tmp_path.rglob("*"))
    preflight.check_configured_data(config, NONE)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.parametrize(
    ("name", "is_folder"),
    [("metrics.jsonl", True), ("log.txt", True), ("panels", False), ("tensorboard", False),
     ("checkpoints/last.pt", True)],
)  # fmt: skip
def test_a_place_that_cannot_be_written(tmp_path, name, is_folder):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.mkdir() if is_folder else path.touch()
    with pytest.raises(UserError, match=f"cannot write {path}"):
        preflight.check_outputs(tmp_path, torch.nn.Linear(1, 1), TrainConfig(max_steps=1), 1)


@pytest.mark.parametrize(
    ("settings", "num_whole"),
    [
        ({}, 3),  # the last one, the one before it, and the next that is being written
        ({"keep_every": 4}, 3 + 5),
        ({"keep_every": 4, "keep_newest": 2}, 3 + 2 + 1),
        ({"keep_every": 4, "keep_newest": 9}, 3 + 5),
    ],
)
def test_space_for_the_checkpoints(tmp_path, monkeypatch, settings, num_whole):
    """1,000 weights of 4 bytes, with Adam's moments 12,000; beside best.pt, less what is there."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.pt").write_bytes(bytes(4_000))
    (tmp_path / "checkpoints/.last.0123.tmp.pt").write_bytes(bytes(1_000))  # of a killed process
    (tmp_path / "checkpoints/last.damaged_1.pt").write_bytes(bytes(500))  # stays
    model = torch.nn.Linear(1000, 1, bias=False)
    train = TrainConfig(epochs=2, batch_size=10, **settings)  # 20 steps
    enough = 4_000 + num_whole * 12_000 - 5_000
    usage = namedtuple("usage", "total used free")
    for free in (enough, enough - 1):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: usage(free, 0, free))
        if free == enough:
            preflight.check_outputs(tmp_path, model, train, 100)
            continue
        with pytest.raises(UserError, match="saving the run needs .* make room or set output_root"):
            preflight.check_outputs(tmp_path, model, train, 100)
