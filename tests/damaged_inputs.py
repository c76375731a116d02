"""Damaged and odd pictures and depth maps, as real users meet them: what is done, what is said.

Each case takes the files of a pair (a PNG picture, a 16-bit PNG depth map) and changes one; a file
of another name is returned. said: a part of the line that refuses it; None: it is used as it is.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 64, 96
RGB = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8), (WIDTH, HEIGHT)
)
METERS = np.linspace(6, 1, HEIGHT, dtype=np.float32)[:, None].repeat(WIDTH, axis=1)
STORED = (METERS * 1000).astype(np.uint16)
LARGE = STORED.astype(np.int32) * 100
BYTES = (METERS * 20).astype(np.uint8)
UNREADABLE, CUT_OFF = "not a readable image", "the file is cut off"
NO_NPY, NO_DEPTH = "not a readable .npy file", "depth must have one channel"


@dataclass(frozen=True)
class Case:
    """change: file -> None, or the file that takes its place. part: which of the pair it gets."""

    part: str  # image or depth
    change: Callable[[Path], Path | None]
    said: str | None


def encoded(format_: str, image: np.ndarray | Image.Image = RGB, **options) -> bytes:
    """A file's bytes, by Pillow."""
    stream = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, format_, **options)
    return stream.getvalue()


def by_opencv(array: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, array)[1].tobytes()


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def npy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


def pfm(array: np.ndarray, kind: str = "Pf") -> bytes:
    return f"{kind}\n{WIDTH} {HEIGHT}\n-1.0\n".encode() + array.astype("<f4").tobytes()


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose head claims a size, with a right checksum."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = encoded("PNG")
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def flipped_bits(data: bytes) -> bytes:
    """In the middle of the pixels."""
    at = len(data) // 2
    return data[:at] + bytes(byte ^ 255 for byte in data[at : at + 64]) + data[at + 64 :]


def archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("rgb.png", encoded("PNG"))
    return stream.getvalue()


def holds(data: bytes, suffix: str = "") -> Callable[[Path], Path | None]:
    """The file holds other bytes, under another suffix if one is given."""

    def change(path: Path) -> Path | None:
        other = path.with_suffix(suffix) if suffix else path
        if suffix:
            path.unlink()
        other.write_bytes(data)
        return other

    return change


def cut(data: bytes, share: float, suffix: str = "") -> Callable[[Path], Path | None]:
    return holds(data[: int(len(data) * share)], suffix)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


def gone(path: Path) -> None:
    path.unlink()


def forbidden(path: Path) -> None:
    path.chmod(0)


def renamed(name: str) -> Callable[[Path], Path]:
    def change(path: Path) -> Path:
        return path.rename(path.with_name(os.fsdecode(name.encode("latin1"))))

    return change


def linked(path: Path) -> None:
    """A link to a file of any name elsewhere."""
    place = path.parent.parent / "elsewhere"
    place.mkdir(exist_ok=True)
    shutil.move(path, place / "x")
    path.symlink_to(place / "x")


JPEG, PNG, WEBP = encoded("JPEG", quality=95), encoded("PNG"), encoded("WEBP", lossless=True)
PROGRESSIVE = encoded("JPEG", progressive=True)
TURNED = Image.Exif()
TURNED[0x0112] = 6
GRAY, PALETTE = Image.fromarray(RGB).convert("L"), Image.fromarray(RGB).convert("P")
WHATEVER = np.random.default_rng(1).bytes(3000)
HTML, LFS = b"<!DOCTYPE html><html>404</html>", b"version https://git-lfs.github.com/spec/v1\noid x"
STORAGE_ERROR = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'
HEIC, AVIF = (b"\0\0\0\x18ftyp" + kind + bytes(200) for kind in (b"heic", b"avif"))
RESOURCE_FORK = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(60)
DEPTH_PNG, DEPTH_NPY, DEPTH_NPZ = by_opencv(STORED), npy(METERS), npz(depth=METERS)
TERABYTES = npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}")
DEPTH_TIFF = by_opencv(STORED, ".tiff")


def picture(change: Callable[[Path], Path | None], said: str | None = None) -> Case:
    return Case("image", change, said)


def depth(change: Callable[[Path], Path | None], said: str | None = None) -> Case:
    return Case("depth", change, said)


def with_hole(value: float) -> np.ndarray:
    meters = METERS.copy()
    meters[10:20, 20:40] = value
    return meters


# fmt: off
CASES: dict[str, Case] = {
    # Pictures that are no whole picture
    "picture: zero bytes": picture(holds(b""), UNREADABLE),
    "picture: one byte": picture(holds(b"\xff"), UNREADABLE),
    "picture: JPEG cut at 2 %": picture(cut(JPEG, 0.02), CUT_OFF),
    "picture: JPEG cut at 30 %": picture(cut(JPEG, 0.3), CUT_OFF),
    "picture: JPEG cut at 60 %": picture(cut(JPEG, 0.6), CUT_OFF),
    "picture: JPEG cut at 98 %": picture(cut(JPEG, 0.98), CUT_OFF),
    "picture: JPEG without its end": picture(holds(JPEG[:-2]), CUT_OFF),
    "picture: progressive JPEG cut": picture(cut(PROGRESSIVE, 0.5), CUT_OFF),
    "picture: PNG cut at 2 %": picture(cut(PNG, 0.02), CUT_OFF),
    "picture: PNG cut at 30 %": picture(cut(PNG, 0.3), CUT_OFF),
    "picture: PNG cut at 98 %": picture(cut(PNG, 0.98), CUT_OFF),
    "picture: PNG without its end": picture(holds(PNG[:-12]), CUT_OFF),
    "picture: PNG of no width": picture(holds(png_of_size(0, 64)), UNREADABLE),
    "picture: PNG of huge size": picture(holds(png_of_size(400_000, 400_000)), UNREADABLE),
    "picture: WebP cut": picture(cut(WEBP, 0.5), CUT_OFF),
    "picture: a preallocated file of zeros": picture(holds(bytes(5000)), UNREADABLE),
    "picture: bytes of anything": picture(holds(WHATEVER), "its kind is not known"),
    "picture: a JPEG's first bytes, then zeros": picture(holds(JPEG[:300] + bytes(3000)), CUT_OFF),
    # Pictures that are something else
    "picture: web page": picture(holds(HTML), "web page: download it again"),
    "picture: storage's error page": picture(holds(STORAGE_ERROR), UNREADABLE),
    "picture: pointer of Git LFS": picture(holds(LFS), "git lfs pull"),
    "picture: text": picture(holds(b"see the other disk\n"), UNREADABLE),
    "picture: HEIC of a phone": picture(holds(HEIC), "HEIC: convert it"),
    "picture: AVIF": picture(holds(AVIF), "AVIF: convert it"),
    "picture: macOS resource fork": picture(holds(RESOURCE_FORK), UNREADABLE),
    "picture: film": picture(holds(b"\0\0\0\x18ftypmp42" + WHATEVER), "a film"),
    "picture: zip of pictures": picture(holds(archive()), UNREADABLE),
    "picture: numpy array": picture(holds(npy(RGB)), "NumPy array: convert it"),
    "picture: PDF": picture(holds(b"%PDF-1.7\n" + WHATEVER), UNREADABLE),
    "picture: TIFF of floats": picture(holds(by_opencv(METERS, ".tiff")), "TIFF of a kind"),
    "picture: TIFF of 32 bits": picture(holds(by_opencv(LARGE, ".tiff")), "convert it to JPEG"),
    "picture: JPEG XL": picture(holds(b"\xff\x0a" + WHATEVER), "JPEG XL: convert it to JPEG"),
    "picture: Photoshop": picture(holds(b"8BPS\0\1" + WHATEVER), "Photoshop file: convert it"),
    # Pictures that do not fit
    "picture: 1x1": picture(holds(encoded("PNG", RGB[:1, :1])), "must be of one size"),
    "picture: another size": picture(holds(encoded("PNG", RGB[:32])), "must be of one size"),
    "picture: turned by EXIF": picture(holds(encoded("JPEG", exif=TURNED)), "EXIF orientation 6"),
    # Places where a picture should be
    "picture: folder": picture(folder, "Is a directory"),
    "picture: link to itself": picture(loop, "symbolic links"),
    "picture: link to nowhere": picture(dangling, "No such file"),
    "picture: deleted after the start": picture(gone, "No such file"),
    "picture: not allowed": picture(forbidden, "Permission denied"),
    # Odd pictures that are used
    "picture: gray": picture(holds(encoded("PNG", GRAY))),
    "picture: gray JPEG": picture(holds(encoded("JPEG", GRAY))),
    "picture: transparent": picture(holds(encoded("PNG", Image.fromarray(RGB).convert("RGBA")))),
    "picture: palette": picture(holds(encoded("PNG", PALETTE))),
    "picture: black and white, 1 bit": picture(holds(encoded("PNG", GRAY.convert("1")))),
    "picture: 16 bits": picture(holds(by_opencv(RGB.astype(np.uint16) * 257))),
    "picture: CMYK JPEG": picture(holds(encoded("JPEG", Image.fromarray(RGB).convert("CMYK")))),
    "picture: black": picture(holds(encoded("PNG", RGB * 0))),
    "picture: JPEG under the name of a PNG": picture(holds(JPEG)),
    "picture: bytes behind it": picture(holds(JPEG + WHATEVER)),
    "picture: suffix in capitals": picture(renamed("rgb.PNG")),
    "picture: name that is not UTF-8": picture(renamed("k\xfcche.png")),
    "picture: name of 255 bytes": picture(renamed("k" * 251 + ".png")),
    "picture: name with quotes and a hash": picture(renamed("a'b#c.png")),
    "picture: link to another folder": picture(linked),
    # Depth maps that are no whole map
    "depth: zero bytes": depth(holds(b""), UNREADABLE),
    "depth: PNG cut at 30 %": depth(cut(DEPTH_PNG, 0.3), CUT_OFF),
    "depth: PNG cut at 98 %": depth(cut(DEPTH_PNG, 0.98), CUT_OFF),
    "depth: PNG with flipped bits": depth(holds(flipped_bits(DEPTH_PNG)), UNREADABLE),
    "depth: TIFF cut": depth(cut(DEPTH_TIFF, 0.5, ".tiff"), UNREADABLE),
    "depth: .npy cut": depth(cut(DEPTH_NPY, 0.7, ".npy"), NO_NPY),
    "depth: .npy of zero bytes": depth(holds(b"", ".npy"), NO_NPY),
    "depth: .npy that claims a terabyte": depth(holds(TERABYTES, ".npy"), NO_NPY),
    "depth: .npz cut": depth(cut(DEPTH_NPZ, 0.7, ".npz"), "not a readable .npz file"),
    "depth: .pfm cut": depth(cut(pfm(METERS), 0.7, ".pfm"), "not a whole .pfm file"),
    "depth: .exr that is none": depth(holds(WHATEVER, ".exr"), UNREADABLE),
    "depth: bytes of anything": depth(holds(WHATEVER), UNREADABLE),
    "depth: zeros for a file": depth(holds(bytes(5000)), UNREADABLE),
    # Depth maps that are something else
    "depth: web page": depth(holds(HTML), "web page: download it again"),
    "depth: pointer of Git LFS": depth(holds(LFS), "git lfs pull"),
    "depth: .npy that is a PNG": depth(holds(DEPTH_PNG, ".npy"), NO_NPY),
    "depth: .png that is an array": depth(holds(DEPTH_NPY), "convert it to a 16-bit PNG"),
    "depth: pickled objects": depth(holds(npy(np.array([{}]), True), ".npy"), NO_NPY),
    "depth: archive of two": depth(holds(npz(a=METERS, b=METERS), ".npz"), "one called depth"),
    "depth: 8 bits": depth(holds(by_opencv(BYTES)), NO_DEPTH),
    "depth: JPEG": depth(holds(by_opencv(BYTES, ".jpg"), ".jpg"), NO_DEPTH),
    "depth: colors of a viewer": depth(holds(PNG), NO_DEPTH),
    "depth: three channels of 16 bits": depth(holds(by_opencv(np.dstack([STORED] * 3))), NO_DEPTH),
    "depth: four channels of 16 bits": depth(holds(by_opencv(np.dstack([STORED] * 4))), NO_DEPTH),
    "depth: .npy of three channels": depth(holds(npy(np.dstack([METERS] * 3)), ".npy"), NO_DEPTH),
    "depth: color .pfm": depth(holds(pfm(np.dstack([METERS] * 3), "PF"), ".pfm"), NO_DEPTH),
    "depth: bytes in .npy": depth(holds(npy(BYTES), ".npy"), NO_DEPTH),
    "depth: truth values": depth(holds(npy(STORED > 9), ".npy"), NO_DEPTH),
    "depth: complex numbers": depth(holds(npy(METERS + 1j), ".npy"), NO_DEPTH),
    "depth: words": depth(holds(npy(np.array([["a"]])), ".npy"), NO_DEPTH),
    "depth: one number": depth(holds(npy(np.array(3.0)), ".npy"), NO_DEPTH),
    "depth: no pixel": depth(holds(npy(METERS[:0]), ".npy"), NO_DEPTH),
    "depth: 32 bits above 65535": depth(holds(npy(LARGE), ".npy"), "above 65535; divide"),
    "depth: 1x1": depth(holds(by_opencv(STORED[:1, :1])), "must be of one size"),
    "depth: another size": depth(holds(by_opencv(STORED[:, :80])), "must be of one size"),
    # Places where a map should be
    "depth: folder": depth(folder, "Is a directory"),
    "depth: link to itself": depth(loop, "symbolic links"),
    "depth: link to nowhere": depth(dangling, "No such file"),
    "depth: deleted after the start": depth(gone, "No such file"),
    "depth: not allowed": depth(forbidden, "Permission denied"),
    # Odd maps that are used
    "depth: nothing measured": depth(holds(by_opencv(STORED * 0))),
    "depth: all 65535": depth(holds(by_opencv(STORED * 0 + 65535))),
    "depth: NaN": depth(holds(npy(with_hole(np.nan)), ".npy")),
    "depth: all NaN": depth(holds(npy(METERS * np.nan), ".npy")),
    "depth: infinite": depth(holds(npy(with_hole(np.inf)), ".npy")),
    "depth: negative": depth(holds(npy(with_hole(-1.0)), ".npy")),
    "depth: beyond all": depth(holds(npy(with_hole(1e30)), ".npy")),
    "depth: doubles": depth(holds(npy(METERS.astype(np.float64)), ".npy")),
    "depth: float TIFF": depth(holds(by_opencv(METERS, ".tiff"), ".tiff")),
    "depth: one channel more": depth(holds(npy(METERS[None]), ".npy")),
    "depth: .pfm": depth(holds(pfm(METERS), ".pfm")),
}
# fmt: on
