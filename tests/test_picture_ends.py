"""Where a picture ends: files with something behind it are read, half ones are refused.

Training, the doctor and the programs that caption and encode images judge by one rule.
"""

import io

import doctor_trees as trees
import numpy as np
import pytest
from dataset_trees import one_line, picture
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from common.errors import UserError
from common.images.containers import is_cut_off
from common.images.reading import read_image

RGB = picture(48, 64, 0).astype(np.uint8)[:, :, ::-1]


def encoded(format_, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, format_, **options)
    return stream.getvalue()


def with_thumbnail() -> bytes:
    """A JPEG whose EXIF block holds a whole small JPEG, as cameras write them."""
    small = io.BytesIO()
    Image.fromarray(RGB[::4, ::4]).save(small, "JPEG")
    return encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0" + small.getvalue())


JPEGS = {
    "plain": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "restarts": encoded("JPEG", restart_marker_blocks=2),
    "thumbnail": with_thumbnail(),
    "comment": encoded("JPEG", comment=b"\xff\xda\xff\xd9 looks like markers \xff\xd8"),
}
OTHERS = {"png": encoded("PNG"), "webp": encoded("WEBP", lossless=True), "bmp": encoded("BMP")}
WHOLE = {**JPEGS, **OTHERS}
TRAILERS = {
    "zeros": bytes(500),
    "film": b"\0\0\0\x18ftypmp42" + np.random.default_rng(1).bytes(2_000_000),
    "a scan that nothing ends": b"\xff\xda\0\x08" + bytes(100),
    "another picture": encoded("JPEG"),
    "half of another picture": encoded("JPEG")[:700],
    "one byte": b"\n",
}


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_what_lies_behind_a_picture_does_not_matter(tmp_path, kind, trailer):
    path = tmp_path / "image"
    path.write_bytes(WHOLE[kind])
    alone = read_image(path)
    assert np.abs(alone.astype(int) - RGB).mean() < 4
    path.write_bytes(WHOLE[kind] + TRAILERS[trailer])
    assert np.array_equal(read_image(path), alone)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
@pytest.mark.parametrize("behind", ["nothing", "zeros", "a whole picture"])
def test_half_a_picture_is_refused_whatever_lies_behind(tmp_path, kind, share, behind):
    path, data = tmp_path / "image", WHOLE[kind]
    half = data[: int(len(data) * share)]
    rest = {"nothing": b"", "zeros": bytes(len(data) - len(half)), "a whole picture": data}
    if kind in ("bmp", "webp") and behind != "nothing":
        pytest.skip("neither marks nor checksums: any bytes are pixels")
    path.write_bytes(half + rest[behind])
    with pytest.raises(UserError, match="cut off|not a readable image") as caught:
        read_image(path)
    assert one_line(caught).endswith("copy it again")


@pytest.mark.parametrize("kind", JPEGS)
def test_a_missing_end_marker(kind):
    data = JPEGS[kind]
    assert data.endswith(b"\xff\xd9")
    assert is_cut_off(data[:-2]) and is_cut_off(data[:-1]) and not is_cut_off(data)


def test_a_jpeg_that_ends_within_its_thumbnail_is_cut_off():
    data = JPEGS["thumbnail"]
    end_of_thumbnail = data.index(b"\xff\xd9") + 2
    assert end_of_thumbnail < len(data) - 100
    assert is_cut_off(data[:end_of_thumbnail])


def test_png_data_that_spell_the_end():
    remark = PngInfo()
    remark.add_text("Comment", "IEND")
    data = encoded("PNG", pnginfo=remark)
    assert b"IEND" in data[:-12]
    assert is_cut_off(data[:-12]) and not is_cut_off(data)


@pytest.mark.parametrize(
    ("behind", "is_fine"), [(bytes(500), True), (JPEGS["plain"][:700], True), (None, False)]
)
def test_the_doctor_says_what_training_does(nyu, behind, is_fine):
    """None: the file itself is cut off."""
    for path in trees.images(nyu)[:2]:
        data = path.read_bytes()
        path.write_bytes(data[:-300] if behind is None else data + behind)
        if is_fine:
            read_image(path)
        else:
            with pytest.raises(UserError):
                read_image(path)
    assert trees.examine_nyu(nyu).codes() == ([] if is_fine else ["unreadable"])


@pytest.fixture(name="nyu")
def nyu_tree(tmp_path):
    return trees.write_nyu(tmp_path / "nyu")
