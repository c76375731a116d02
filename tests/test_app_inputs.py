"""The page's desk, without a browser: every bad thing that visitors hand in."""

import json
import math
import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from prediction_runs import CAPTION, picture

from common.errors import UserError
from scripts.page import texts
from scripts.page.attempts import UNEXPECTED, attempt
from scripts.page.desk import View

pytest_plugins = ["prediction_runs", "page_desk"]


def test_ground_truth_that_is_none_is_refused(desk, predicted, tmp_path):
    def refusal(name: str, scale: object = 1000) -> str:
        found, message = attempt(lambda: desk.score(predicted, tmp_path / name, scale))
        assert found is None
        assert str(tmp_path) not in message
        assert UNEXPECTED not in message
        return message

    np.save(tmp_path / "turned.npy", np.ones((80, 48), np.float32))
    np.save(tmp_path / "nothing.npy", np.zeros((48, 80), np.float32))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.png").write_text("no depth")
    Image.fromarray(picture()).save(tmp_path / "color.png")
    head = {"descr": "<f8", "fortran_order": False, "shape": (2_000_000, 2_000_000)}
    with (tmp_path / "bomb.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
    cv2.imwrite(str(tmp_path / "large.png"), np.ones((100, 100), np.uint16))
    assert "80x48, the picture 48x80" in refusal("turned.npy")
    assert "no pixel between" in refusal("nothing.npy")
    for name in ("objects.npy", "empty.npy"):
        assert "not a readable .npy file" in refusal(name)
    assert "not a readable image" in refusal("text.png")
    assert "one channel" in refusal("color.png")
    assert "million pixels" in refusal("large.png")
    assert "must be .npy or .png" in refusal("photo.exr" if write(tmp_path / "photo.exr") else "")
    assert "out of memory" in refusal("bomb.npy") or "not a readable" in refusal("bomb.npy")
    for scale in (None, 0, -3, math.nan):
        assert "stored units of a meter" in refusal("turned.npy", scale)


def write(path: Path, content: bytes = b"content") -> bool:
    return path.write_bytes(content) > 0


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [header, b"IDAT", b"IEND"]
    chunks = [struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_pictures_of_every_kind_are_read(desk, tmp_path):
    rgb = Image.fromarray(picture())
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg")
    rgb.convert("RGBA").save(tmp_path / "rgba.png")
    cv2.imwrite(str(tmp_path / "gray16.png"), picture()[..., 0].astype(np.uint16) * 257)
    rgb.save(tmp_path / "moving.png", save_all=True, append_images=[rgb.rotate(180)])
    rgb.save(tmp_path / "phone.jpg")
    with (tmp_path / "phone.jpg").open("ab") as file:
        file.write(b"\xff\xd8\x00\x00\x00\x18ftypmp42 the film of a motion photo" * 50)
    rgb.save(tmp_path / "caf\udce9.png")  # a name in Latin-1
    for path in sorted(tmp_path.glob("*.*"), key=str):
        state = desk.predict(desk.open_picture(path), View(CAPTION))
        assert state.own.depth.shape == (48, 80), path
        assert json.dumps(texts.describe_prediction(state.own)).encode()
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(tmp_path / "turned.jpg", exif=exif)
    assert desk.open_picture(tmp_path / "turned.jpg").picture.rgb.shape == (80, 48, 3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jpg", b"", r"not a readable image \(0 bytes\)"),
        ("text.png", b"no picture", "not a readable image"),
        ("cut.jpg", b"\xff\xd8", "not a readable image"),
        ("huge.png", png_header(20_000, 20_000), "more than 0.0062 million pixels"),
        ("above.png", png_header(100, 63), "more than 0.0062 million pixels"),
        ("heavy.jpg", bytes(300_001), "more than 0.3 MB"),
        ("caf\udce9.png", b"no picture", r"caf\\udce9.png: not a readable image"),
        ("film.mp4", b"\x00\x00\x00\x18ftypmp42" + bytes(99), "not a readable image"),
        ("page.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a readable image"),
    ],
)
def test_files_that_are_no_pictures_are_one_line(desk, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    found, told = attempt(lambda: desk.open_picture(tmp_path / name))
    assert found is None
    assert re.search(message, told), told
    assert "\n" not in told
    assert str(tmp_path) not in told
    assert told.encode()  # can be sent


def test_a_huge_picture_is_not_decoded(desk, tmp_path, monkeypatch):
    (tmp_path / "huge.png").write_bytes(png_header(20_000, 20_000))
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(UserError, match="million pixels"):
        desk.open_picture(tmp_path / "huge.png")


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("", "the caption is empty"),
        (" \n ", "the caption is empty"),
        ("a \ud83d", "half a character"),
        ("auto", "'auto' is no caption here"),
        ("a" * 90_001, "90,001 characters"),
    ],
)
def test_captions_that_are_none_are_one_line(desk, photo, caption, message):
    state = desk.open_picture(photo)
    for work in (
        lambda: desk.predict(state, View(caption)),
        lambda: desk.compare(state, View(CAPTION), caption),
        lambda: desk.draw_scenes(state, View(caption), 2, 0),
    ):
        found, told = attempt(work)
        assert found is None
        assert message in told
        assert "\n" not in told
        assert told.encode()


def test_a_very_long_caption_is_read_in_part_and_that_is_told(desk, photo):
    state = desk.predict(desk.open_picture(photo), View("kitchen " * 10_000))
    told = texts.describe_prediction(state.own)
    assert "longer than what" in told
    assert len(told) < 2000
