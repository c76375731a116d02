"""Which files are read: formats of images and of depth, and what a folder holds besides."""

from dataclasses import replace

import cv2
import doctor_trees as trees
import numpy as np
import pytest
from dataset_trees import one_line, picture, plain

from common.data.data_config import DataConfig
from common.errors import UserError
from common.images.reading import read_depth, read_image
from common.images.suffixes import IMAGE_SUFFIXES
from scripts.preparation.image_sets import images_below

RGB = picture(48, 64, 0).astype(np.uint8)
METERS = np.linspace(0.5, 9, 48 * 64, dtype=np.float32).reshape(48, 64)
MILLIMETERS = (METERS * 1000).round().astype(np.uint16)


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".JPG", ".Tiff", ".WEBP"])
def test_images_of_every_format(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    assert cv2.imwrite(str(path), RGB, [cv2.IMWRITE_WEBP_QUALITY, 101])
    assert np.abs(read_image(path).astype(int) - RGB[:, :, ::-1]).mean() < 4
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="copy it again"):
        read_image(path)


def write_pfm(path, meters, scale=-1.0):
    numbers = np.flipud(meters).astype("<f4" if scale < 0 else ">f4").tobytes()
    path.write_bytes(f"Pf\n{meters.shape[1]} {meters.shape[0]}\n{scale}\n".encode() + numbers)


WRITERS = {
    "16-bit.tiff": lambda path: cv2.imwrite(str(path), MILLIMETERS),
    "16-bit.TIF": lambda path: cv2.imwrite(str(path), MILLIMETERS),
    "float.tiff": lambda path: cv2.imwrite(str(path), METERS),
    "double.tif": lambda path: cv2.imwrite(str(path), METERS.astype(np.float64)),
    "float.pfm": lambda path: write_pfm(path, METERS),
    "big.pfm": lambda path: write_pfm(path, METERS, 1.0),
    "scaled.pfm": lambda path: write_pfm(path, METERS, -0.0039),
    "one.npz": lambda path: np.savez(path, METERS),
    "named.npz": lambda path: np.savez_compressed(path, mask=METERS > 1, depth=METERS),
    "integers.npz": lambda path: np.savez(path, depth=MILLIMETERS.astype(np.int64)),
    "int32.npy": lambda path: np.save(path, MILLIMETERS.astype(np.int32)),
    "uint32.NPY": lambda path: np.save(path.open("wb"), MILLIMETERS.astype(np.uint32)),
    "half.npy": lambda path: np.save(path, METERS.astype(np.float16)),
}


@pytest.mark.parametrize("name", WRITERS)
def test_floats_are_meters_and_whole_numbers_are_stored_units(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](path)
    depth = read_depth(path)
    assert depth.dtype in (np.uint16, np.float32)
    meters = depth / 1000 if depth.dtype == np.uint16 else depth
    np.testing.assert_allclose(meters, METERS, atol=0.004)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(UserError) as caught:
        read_depth(path)
    assert one_line(caught).startswith(str(path))


def test_whole_numbers_that_say_there_is_no_measurement(tmp_path):
    np.save(tmp_path / "depth.npy", np.array([[-1, 0, 7, 65535]], np.int32))
    assert read_depth(tmp_path / "depth.npy").tolist() == [[0, 0, 7, 0]]


@pytest.mark.parametrize(
    ("name", "content", "advice"),
    [
        ("d.npz", b"PK not an archive", "write it again with numpy.savez"),
        ("d.pfm", b"P6\n4 4\n255\n" + bytes(48), "not a whole .pfm file"),
        ("d.pfm", b"PF\n2 2\n-1\n" + bytes(48), r"one channel, .* \[2, 2, 3\] of float32"),
        ("a.heic", b"\0\0\0\x18ftypheic" + bytes(40), "convert it to JPEG or PNG"),
        ("a.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        ("a.png", b"<!DOCTYPE html><p>Too many requests", "a web page: download it again"),
        ("a.jpg", b"\n  <html>", "a web page: download it again"),
        ("d.tif", b"II*\0 of 16-bit floats, say", "save the depth as .npy"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_helps(tmp_path, name, content, advice):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=advice):
        (read_depth if name.startswith("d") else read_image)(path)


def test_an_archive_of_several_arrays(tmp_path):
    np.savez(tmp_path / "d.npz", left=METERS, right=METERS)
    with pytest.raises(UserError, match=r"holds left, right, .*; write it .*savez\(FILE, depth="):
        read_depth(tmp_path / "d.npz")


# Folders


@pytest.fixture
def folder(tmp_path) -> DataConfig:
    """Four scenes: .png, webp and .tiff, .jpg and .npz, and one whose depth nobody reads."""
    for scene, (image, depth) in {
        "a": ("png", "png"),
        "b": ("webp", "tiff"),
        "c": ("JPG", "npz"),
        "d": ("png", "mat"),
    }.items():
        for number in range(3):
            path = tmp_path / f"depth/{scene}/{number}.{depth}"
            trees.write_image(
                tmp_path / f"rgb/{scene}/{number}.{image}", np.random.default_rng(number)
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            if depth == "npz":
                np.savez(path, METERS)
            elif depth == "mat":
                path.write_bytes(b"MATLAB 5.0 MAT-file")
            else:
                assert cv2.imwrite(str(path), METERS if depth == "tiff" else MILLIMETERS)
    return DataConfig("folder", tmp_path, 32, 64, 10.0, test_share=1)


def test_all_that_can_be_read_is_used_and_the_rest_is_named(folder):
    dataset = plain(folder, "test")
    assert len(dataset) == 9
    for index in range(9):
        np.testing.assert_allclose(dataset[index].gt_depth[0], METERS, atol=0.001)
    files, unpaired = dataset.notes
    assert files.startswith("3 files below depth/ are not read (3 .mat), first depth/d/0.mat: ")
    assert unpaired == (
        "test: 3 of 12 images have no ground truth and are left out, first rgb/d/0.png"
    )


def test_one_picture_in_two_formats_counts_once(folder):
    for name in ("rgb/a/0.jpg", "rgb/a/1.jpg", "rgb/b/0.PNG"):
        trees.write_image(folder.root / name, np.random.default_rng(0))
    np.save(folder.root / "depth/a/0.npy", METERS)
    dataset = plain(folder, "test")
    keys = [sample.key for sample in dataset.samples]
    assert len(keys) == len({key.rpartition(".")[0] for key in keys}) == 9
    assert {"rgb/a/0.jpg", "rgb/a/1.jpg", "rgb/a/2.png", "rgb/b/0.PNG"} <= set(keys)
    assert dataset.samples[0].depth_file.endswith("depth/a/0.png")
    notes = [note for note in dataset.notes if "have the name of another one" in note]
    assert [note.split(":")[0] for note in notes] == [
        "3 files below rgb/ have the name of another one, and one of them is taken",
        "1 files below depth/ have the name of another one, and one of them is taken",
    ]
    assert "rgb/a/0.png is left out beside rgb/a/0.jpg" in notes[0]
    lines: list[str] = []
    assert set(images_below(folder.root / "rgb", log=lines.append)) == {
        f"{scene}/{name}"
        for scene, names in {
            "a": ("0.jpg", "1.jpg", "2.png"),
            "b": ("0.PNG", "1.webp", "2.webp"),
            "c": ("0.JPG", "1.JPG", "2.JPG"),
            "d": ("0.png", "1.png", "2.png"),
        }.items()
        for name in names
    }
    assert lines == ["left out 3 images in a second format: a/0.png beside a/0.jpg"]


def test_a_list_that_names_a_picture_in_two_formats_says_so(folder):
    trees.write_image(folder.root / "rgb/a/0.jpg", np.random.default_rng(0))
    lines = [f"rgb/a/{name} depth/a/{name[0]}.png" for name in ("0.png", "0.jpg", "1.png")]
    (folder.root / "list.txt").write_text("\n".join(("image depth", *lines)))
    header, repeats = plain(replace(folder, test_list="list.txt"), "test").notes
    assert "names columns and is not read" in header
    assert repeats == "test: 1 images are listed more than once, first rgb/a/0: each time counts"


def test_the_doctor_and_the_captioner_name_them_too(folder):
    words = f"data.root={folder.root}", "text.captions=null", "data.test_share=1"
    health = trees.examine("folder", folder.root, *words)
    assert health.codes() == []
    assert "3 .mat" in health.finding("not_read")["text"]
    assert health.finding("no_ground_truth")["count"] == 3
    lines: list[str] = []
    images = images_below(folder.root, log=lines.append)
    assert len(images) == 12
    assert lines[0] == "left out 6 depth maps (one channel of 16 bits or more)"
    assert "3 .npz" in lines[1] and "3 .mat" in lines[1]


def test_the_doctor_reads_what_training_reads(folder):
    """Whole numbers of more than 16 bits, with "no measurement" below zero; and too large ones."""
    path = folder.root / "depth/b/0.tiff"
    numbers = np.where(METERS > 8, -1, MILLIMETERS).astype(np.int32)
    words = f"data.root={folder.root}", "text.captions=null", "data.test_share=1"
    for suffix, save in ((".npy", np.save), (".npz", np.savez)):
        path.unlink()
        path = path.with_suffix(suffix)
        save(str(path), numbers)
        assert trees.examine("folder", folder.root, *words).codes() == []
    np.savez(path, numbers * 100)
    health = trees.examine("folder", folder.root, *words)
    assert health.codes() == ["unreadable"]
    assert "save them as floats" in health.finding("unreadable")["mend"]
