"""Depth maps and pictures of any content, as in test_fuzz.py."""

import io
import struct
import zipfile

import cv2
import numpy as np
import pytest

pytest.importorskip("hypothesis")
from fuzzing import archive, clean, contents, fuzzed, leaves, numbers, put, words  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from common.images.reading import read_depth, read_image, read_orientation  # noqa: E402


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def npy(array):
    data = io.BytesIO()
    np.lib.format.write_array(data, array)
    return data.getvalue()


def npy_header(text):
    """A .npy file whose header is this text."""
    raw = text.encode("latin1", "replace") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + bytes(64)


headers = st.one_of(
    words,
    st.builds(
        "{{'descr': {!r}, 'fortran_order': {!r}, 'shape': {!r}}}".format,
        st.sampled_from(["<f4", "<u2", "|O", "<f8", "V8", "<U3", "x", "<M8[s]", [("a", "|O")]]),
        st.booleans(),
        st.one_of(st.lists(st.integers(-3, 10**13), max_size=3).map(tuple), leaves),
    ),
).map(npy_header)
pfm_headers = st.builds(
    "Pf\n{} {}\n{}\n".format,
    *(st.one_of(st.integers(-3, 10**25), words) for _ in range(2)),
    st.one_of(numbers, words),
).map(lambda text: text.encode() + bytes(48))
DEPTH = np.arange(12, dtype=np.uint16).reshape(3, 4)
ENCODED = {suffix: cv2.imencode(suffix, DEPTH)[1].tobytes() for suffix in (".png", ".tiff")} | {
    ".jpg": cv2.imencode(".jpg", DEPTH.astype(np.uint8))[1].tobytes()
}
DEPTH_CONTENTS = {
    ".npy": st.one_of(contents(npy(DEPTH)), headers),
    ".npz": st.one_of(contents(archive(depth=DEPTH)), headers.map(lambda raw: zipped(raw))),
    ".pfm": st.one_of(contents(b"Pf\n4 3\n-1.0\n" + bytes(48)), pfm_headers),
    ".png": contents(ENCODED[".png"]),
    ".tiff": contents(ENCODED[".tiff"]),
    ".exr": st.binary(max_size=60),
}


def zipped(raw):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as bundle:
        bundle.writestr("depth.npy", raw)
    return data.getvalue()


@pytest.mark.parametrize("suffix", DEPTH_CONTENTS)
@fuzzed
@given(data=st.data())
def test_depth_maps(place, suffix, data):
    clean(read_depth, put(place / f"depth{suffix}", data.draw(DEPTH_CONTENTS[suffix])))


@fuzzed
@given(content=contents(*ENCODED.values()))
def test_pictures(place, content):
    path = put(place / "picture.jpg", content)
    clean(read_image, path)
    clean(read_orientation, path)


def test_an_archive_that_grows(place):
    """10 MB of zeros in 10 kB are read; a terabyte in a header is not tried."""
    clean(read_depth, put(place / "bomb.npz", zipped(npy_header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}"))))  # fmt: skip
