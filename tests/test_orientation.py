"""EXIF orientation: a picture is read as a viewer shows it, everywhere, and the doctor says so."""

import io
import zlib
from dataclasses import replace

import cv2
import doctor_trees as trees
import numpy as np
import pytest
import torch
from dataset_trees import one_line, picture, plain
from PIL import Image, ImageOps

from common.data.data_config import DataConfig
from common.errors import UserError
from common.images.containers import exif_orientation, turn_back, turn_upright
from common.images.reading import read_image, read_pair
from common.language.towers import TowerImageEncoder

HEIGHT, WIDTH = 48, 64
STORED = picture(HEIGHT, WIDTH, 3).astype(np.uint8)[:, :, ::-1]
METERS = np.linspace(1, 5, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
LOSSLESS = {"webp": {"lossless": True}, "jpg": {"quality": 97, "subsampling": 0}}
ALL = range(1, 9)


def save_turned(path, orientation, pixels=STORED):
    """Stored pixels, and in their EXIF block how to turn them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = LOSSLESS.get(path.suffix[1:], {})
    Image.fromarray(pixels).save(path, exif=exif, **options)


def as_shown(path) -> np.ndarray:
    """What PIL makes of it: a second opinion."""
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def near(a, b) -> bool:
    return a.shape == b.shape and np.abs(a.astype(int) - b).max() <= 6


@pytest.mark.parametrize("orientation", ALL)
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_pictures_are_read_as_a_viewer_shows_them(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    save_turned(path, orientation)
    assert near(read_image(path), as_shown(path))
    assert near(read_image(path, upright=False), STORED)
    assert near(read_image(path), STORED) == (orientation == 1)


@pytest.mark.parametrize("orientation", ALL)
def test_turning_and_turning_back(orientation):
    for array in (STORED, METERS):
        turned = turn_upright(array, orientation)
        assert np.array_equal(turn_back(turned, orientation), array)
        assert turned.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))


@pytest.mark.parametrize("wrong", [0, 9, 6000])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, wrong):
    save_turned(tmp_path / "a.jpg", wrong)
    assert near(read_image(tmp_path / "a.jpg"), STORED)


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_exif_with_a_jpegs_mark_before_it_is_read_all_the_same(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    save_turned(path, 6)
    data, size = path.read_bytes(), lambda n: n.to_bytes(4, "little" if suffix == "webp" else "big")
    kind = {"webp": b"EXIF", "png": b"eXIf"}[suffix]
    at = data.index(kind)
    if suffix == "webp":
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        block = data[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0")
        marked = kind + size(len(block) + 6) + b"Exif\0\0" + block + b"\0" * (len(block) % 2)
        data = data[:at] + marked
        data = data[:4] + size(len(data) - 8) + data[8:]
    else:
        length = int.from_bytes(data[at - 4 : at], "big")
        marked = kind + b"Exif\0\0" + data[at + 4 : at + 4 + length].removeprefix(b"Exif\0\0")
        rest = data[at + 8 + length :]
        data = data[: at - 4] + size(len(marked) - 4) + marked + size(zlib.crc32(marked)) + rest
    assert exif_orientation(data) == 6
    path.write_bytes(data)
    assert near(read_image(path), turn_upright(STORED, 6))


def test_damaged_exif_is_passed_over(tmp_path):
    path = tmp_path / "a.jpg"
    save_turned(path, 6)
    data = path.read_bytes()
    for block in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"Exif\0\0no TIFF at all"):
        stream = io.BytesIO()
        Image.fromarray(STORED).save(stream, "JPEG", exif=block, quality=97, subsampling=0)
        path.write_bytes(stream.getvalue())
        assert near(read_image(path), STORED)
    assert exif_orientation(data) == 6
    for order in (
        "II*\0\x08\0\0\0\x01\0\x12\x01\x04\0\x01\0\0\0\x06\0\0\0",
        "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06",
    ):
        assert exif_orientation(order.encode()) == 6  # 32 bits, which is not the standard
    assert exif_orientation(b"") == exif_orientation(data[:30]) == 1


# Pairs


def write_pair(root, orientation, depth_is_upright=True, name="1"):
    save_turned(root / f"rgb/{name}.jpg", orientation)
    meters = turn_upright(METERS, orientation) if depth_is_upright else METERS
    trees.write_depth(root / f"depth/{name}.png", meters)
    return str(root / f"rgb/{name}.jpg"), str(root / f"depth/{name}.png")


@pytest.mark.parametrize("orientation", ALL)
def test_upright_depth_fits_the_picture_and_stored_depth_the_stored_one(tmp_path, orientation):
    image, depth = read_pair(*write_pair(tmp_path, orientation))
    expected = turn_upright(METERS, orientation)
    assert near(image, turn_upright(STORED, orientation))
    assert np.abs(depth / 1000 - expected).max() < 0.001
    image, depth = read_pair(*write_pair(tmp_path, orientation, False), upright=False)
    assert near(image, STORED) and np.abs(depth / 1000 - METERS).max() < 0.001


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("depth_is_upright", [True, False])
def test_depth_that_fits_the_other_way_names_the_key_that_helps(
    tmp_path, orientation, depth_is_upright
):
    files = write_pair(tmp_path, orientation, depth_is_upright)
    with pytest.raises(UserError) as caught:
        read_pair(*files, upright=not depth_is_upright)
    assert f"orientation {orientation}" in one_line(caught)
    assert f"set data.exif_orientation={str(depth_is_upright).lower()} if" in one_line(caught)
    assert read_pair(*files, upright=depth_is_upright)[0].shape[:2] == (
        (WIDTH, HEIGHT) if depth_is_upright else (HEIGHT, WIDTH)
    )


def test_a_resized_picture_is_no_matter_of_orientation(tmp_path):
    image, depth = write_pair(tmp_path, 6)
    cv2.imwrite(depth, np.ones((20, 20), np.uint16))
    with pytest.raises(UserError, match="they must be of one size"):
        read_pair(image, depth)


def test_training_and_scoring_read_the_same_pixels(tmp_path):
    for number in range(8):
        write_pair(tmp_path, 3, name=f"scene{number}/1")
    data = DataConfig("folder", tmp_path, HEIGHT - 16, WIDTH, 10.0, jitter=False, test_share=0.5)
    for settings, expected in ((data, turn_upright(STORED, 3)), (data_as_stored(data), STORED)):
        train, test = plain(settings), plain(settings, "test")
        frame = train.reader._read(train.samples[0])  # before it is resized
        assert near(frame[0], expected)
        assert near(test.reader._read(test.samples[0])[0], expected)
        assert "3 of 3 images looked at" in train.notes[-1]
        assert f"exif_orientation={str(settings.exif_orientation).lower()}" in train.notes[-1]
    assert not torch.equal(plain(data)[0].image, plain(data_as_stored(data))[0].image)


def data_as_stored(data: DataConfig) -> DataConfig:
    return replace(data, exif_orientation=False)


def test_image_features_are_of_the_picture_as_shown(tmp_path):
    save_turned(tmp_path / "turned.png", 6)
    save_turned(tmp_path / "upright.png", 1, turn_upright(STORED, 6))

    def pixels(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()

    tower = TowerImageEncoder(pixels, lambda x: x.flatten(1), torch.device("cpu"))
    turned, upright = tower.encode([tmp_path / "turned.png", tmp_path / "upright.png"])
    assert torch.equal(turned, upright)


# The doctor


@pytest.mark.parametrize(("orientation", "depth_is_upright"), [(3, True), (6, True), (8, False)])
def test_the_doctor_counts_turned_pictures_and_its_advice_works(
    tmp_path, orientation, depth_is_upright
):
    trees.write_folder(tmp_path)
    meters = trees.room(np.random.default_rng(0), (HEIGHT, WIDTH))
    turned = turn_upright(meters, orientation) if depth_is_upright else meters
    for number in range(4):
        save_turned(tmp_path / f"rgb/turned{number}.jpg", orientation)
        trees.write_depth(tmp_path / f"depth/turned{number}.png", turned)
    words = f"data.root={tmp_path}", "text.captions=null", "data.test_share=1"
    health = trees.examine("folder", tmp_path, *words)
    finding = health.finding("turned_images")
    assert finding["count"] == 4
    assert f"4 of 10 images (4 of orientation {orientation})" in finding["text"]
    if depth_is_upright:
        assert health.codes() == []
        return
    assert health.codes() == ["size_mismatch"]
    fix = health.finding("size_mismatch")["mend"]
    assert fix == "data.exif_orientation=false"
    assert trees.examine("folder", tmp_path, *words, fix).codes() == []
