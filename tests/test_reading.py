"""Reading images and depth files: what is accepted, and one line for every defect."""

import cv2
import numpy as np
import pytest
from dataset_trees import one_line, picture, save

from common.errors import UserError
from common.images.folder_index import FolderIndex
from common.images.reading import read_depth, read_image


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_cut_off_images_are_refused(tmp_path, suffix, share):
    path = tmp_path / f"image.{suffix}"
    save(path, picture(48, 64, 0))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError) as caught:
        read_image(path)
    assert str(path) in one_line(caught)
    assert "cut off" in one_line(caught) or share == 0.0


def test_jpeg_with_trailing_bytes_is_fine(tmp_path):
    path = tmp_path / "image.jpg"
    save(path, picture(48, 64, 0))
    path.write_bytes(path.read_bytes() + b"\0" * 500)
    assert read_image(path).shape == (48, 64, 3)


def test_unreadable_files(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_text("<html>404</html>")
    with pytest.raises(UserError, match="not a readable image"):
        read_image(path)
    with pytest.raises(UserError, match="cannot read .*nowhere.png"):
        read_image(tmp_path / "nowhere.png")


def test_depth_must_be_16_bit_with_one_channel(tmp_path):
    save(tmp_path / "eight.png", np.zeros((8, 8), np.uint8))
    save(tmp_path / "color.png", np.zeros((8, 8, 3), np.uint16))
    with pytest.raises(UserError, match=r"one channel, .* with 16 bits or more .* of uint8"):
        read_depth(tmp_path / "eight.png")
    with pytest.raises(
        UserError, match=r"this is \[8, 8, 3\] of uint16; write it again from the source"
    ):
        read_depth(tmp_path / "color.png")
    save(tmp_path / "full.png", np.array([[0, 1, 65534, 65535]], np.uint16))
    assert read_depth(tmp_path / "full.png").tolist() == [[0, 1, 65534, 0]]


def test_depth_of_numpy_files(tmp_path):
    path = tmp_path / "depth.npy"
    meters = np.array([[0.5, np.nan, np.inf], [-1.0, 0.0, 7.25]])
    kept = [[0.5, 0, 0], [0, 0, 7.25]]
    for array in (meters, meters[None], meters[..., None], meters.astype(np.float16)):
        np.save(path, array)
        depth = read_depth(path)
        assert depth.dtype == np.float32
        assert depth.tolist() == kept
    np.save(path, np.array([[3, 65535]], np.uint16))
    assert read_depth(path).dtype == np.uint16
    assert read_depth(path).tolist() == [[3, 0]]


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((4, 5, 3)), r"this is \[4, 5, 3\] of float64"),
        (np.zeros((4, 5), np.int8), r"this is \[4, 5\] of int8"),
        (np.full((4, 5), 70000, np.int32), "its int32 numbers go up to 70000, above 65535; divide"),
        (np.zeros((0, 5)), r"this is \[0, 5\]"),
        (np.array(3.0), r"this is \[\]"),
        (np.array([["a"]]), "of <U1"),
    ],
)
def test_numpy_files_that_are_no_depth(tmp_path, array, problem):
    np.save(tmp_path / "depth.npy", array)
    with pytest.raises(UserError, match=problem) as caught:
        read_depth(tmp_path / "depth.npy")
    assert one_line(caught).startswith(str(tmp_path / "depth.npy"))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_cut_off_numpy_files(tmp_path, share):
    path = tmp_path / "depth.npy"
    np.save(path, np.ones((40, 40)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(UserError, match="not a readable .npy file"):
        read_depth(path)
    np.save(path, np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match="not a readable .npy file"):
        read_depth(path)


def test_exr_is_read_or_the_message_says_what_to_do(tmp_path, monkeypatch):
    """Some builds of OpenCV have no EXR at all."""
    monkeypatch.setenv("OPENCV_IO_ENABLE_OPENEXR", "1")
    path, meters = tmp_path / "depth.exr", np.array([[1.5, 0], [np.inf, 80]], np.float32)
    try:
        assert cv2.imwrite(str(path), meters)
    except cv2.error:
        path.write_bytes(b"v/1\x01 an EXR file")
        with pytest.raises(UserError, match="cannot read EXR: save the depth as .npy"):
            read_depth(path)
        return
    assert read_depth(path).tolist() == [[1.5, 0], [0, 80]]


def test_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(UserError) as caught:
        _ = f"{tmp_path}/a.png" in FolderIndex()
    assert one_line(caught) == f"cannot list {tmp_path}: Permission denied; check its permissions"


def test_an_archive_of_arrays_is_not_taken_for_an_array(tmp_path):
    """numpy.savez under the name of numpy.save; np.load would open both."""
    np.savez(tmp_path / "depth.npz", depth=np.ones((4, 5)))
    path = (tmp_path / "depth.npz").rename(tmp_path / "depth.npy")
    with pytest.raises(UserError, match="not a readable .npy file; write it again with numpy.save"):
        read_depth(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match="not a readable .npy file"):
        read_depth(path)
