"""What a picture file says about itself before it is decoded: where it ends, and which way is up.

Both are read by walking the parts of the file (a JPEG's marker segments, the chunks of a PNG or a
WebP). So neither a thumbnail inside nor whatever lies behind the picture, the film of a phone's
motion photo or a second picture, can be taken for the picture itself.
"""

import re
from collections.abc import Iterator
from typing import Literal

import cv2
import numpy as np

_JPEG, _PNG, _RIFF = b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"RIFF"
_TIFF = (b"II*\0", b"MM\0*")
# A marker with its code. FF00 is a pixel value, FFD0 to FFD7 restart within a scan, FFFF fills.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_SOI, _EOI, _SOS, _APP1, _TEM = 0xD8, 0xD9, 0xDA, 0xE1, 0x01
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112  # tags: in the first directory,
_EXIF_DIRECTORY = 0x8769  # where the second one is,
_FOCAL_LENGTH_35MM = 0xA405  # and in that one
_LONG = 4  # the type of 32-bit numbers
# EXIF orientation -> whether rows become columns, then how to flip, in the code of cv2.flip.
_TURNS = {2: (False, 1), 3: (False, -1), 4: (False, 0), 5: (True, None)}
_TURNS |= {6: (True, 1), 7: (True, -1), 8: (True, 0)}
_OPPOSITE = {6: 8, 8: 6}  # every other turn undoes itself

PICTURE, DEPTH_MAP = "JPEG or PNG", "a 16-bit PNG or .npy"  # what foreign contents become
# Contents that are no picture, or one of a kind that OpenCV mostly cannot read: where they show
# themselves, by which words, and what to do.
_FOREIGN = (
    (
        0,
        (b"version https://git-lfs",),
        "it is a pointer of Git LFS: fetch the files by git lfs pull",
    ),
    (0, (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML"), "it is a web page: download it again"),
    (0, (b"<?xml", b"<Error"), "it is XML, a storage's answer maybe: download it again"),
)
# The same of pictures and arrays that can be converted: the name of the kind.
_CONVERTIBLE = (
    (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), "HEIC"),
    (4, (b"ftypavif", b"ftypavis"), "AVIF"),
    (4, (b"ftyp",), "a film"),
    (0, (b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL"),
    (0, (b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51"), "JPEG 2000"),
    (0, (b"GIF8",), "GIF"),
    (0, (b"8BPS",), "a Photoshop file"),
    (0, (b"%PDF",), "PDF"),
    (0, (b"v/1\x01",), "EXR"),
    (0, (b"\x93NUMPY",), "a NumPy array"),
    (0, (b"Pf\n", b"PF\n"), "PFM"),
    (0, (b"\x89HDF",), "HDF5"),
    (0, (b"SIMPLE  =",), "FITS"),
    (0, (*_TIFF, b"II+\0", b"MM\0+"), "a TIFF of a kind that cannot be used here (floats, say)"),
)
_IF_CUT = ", or copy it again if it is damaged"
_OWN = (_JPEG, _PNG[:4], _RIFF, b"BM")  # what OpenCV knows: such a file is damaged


def foreign_remedy(data: bytes, wanted: str = PICTURE) -> str | None:
    """What to do about contents that are known and no readable picture; None: they are not.

    wanted: what they can be converted to.
    """
    start = data[:200].lstrip()
    fitting = (text for at, words, text in _FOREIGN if start.startswith(words, at))
    if (text := next(fitting, None)) is not None:
        return text
    kinds = (kind for at, words, kind in _CONVERTIBLE if data.startswith(words, at))
    kind = next(kinds, None)
    return kind and f"it is {kind}: convert it to {wanted}{_IF_CUT if 'TIFF' in kind else ''}"


def is_unknown(data: bytes) -> bool:
    """Whether it is of no kind that has a name here."""
    return bool(data) and not data.startswith(_OWN) and foreign_remedy(data) is None


def is_cut_off(data: bytes) -> bool:
    """Whether a JPEG, PNG or WebP ends before its picture does; False for all other contents.

    Some decoders fill the missing part with gray instead of failing.
    """
    if data.startswith(_JPEG):
        return not any(code == _EOI for code, _ in _jpeg_segments(data))
    if data.startswith(_PNG):
        return not any(kind == b"IEND" for kind, _ in _png_chunks(data))
    if data.startswith(_RIFF):
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


def exif_orientation(data: bytes) -> int:
    """1 to 8, how a viewer has to turn the picture; 1, as stored, where nothing valid is said."""
    exif = _exif_of(data)
    tag = _find_tag(exif, _first_directory(exif), _ORIENTATION)
    return tag if tag in _TURNS else 1


def exif_focal_35mm(data: bytes) -> int | None:
    """The focal length (mm) that has the same view on 35 mm film; None: the file does not say."""
    exif = _exif_of(data)
    directory = _find_tag(exif, _first_directory(exif), _EXIF_DIRECTORY)
    return _find_tag(exif, directory, _FOCAL_LENGTH_35MM) or None if directory else None


def turns_itself(data: bytes) -> bool:
    """Whether OpenCV turns the picture whatever its flags say, as it does with TIFF."""
    return data.startswith(_TIFF)


def turn_upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W] or [H, W, C] as stored -> as a viewer shows it; orientation: EXIF's, 1 to 8."""
    transposed, flip = _TURNS.get(orientation, (False, None))
    if transposed:
        array = cv2.transpose(array)
    return array if flip is None else cv2.flip(array, flip)


def turn_back(array: np.ndarray, orientation: int) -> np.ndarray:
    """Undo `turn_upright`."""
    return turn_upright(array, _OPPOSITE.get(orientation, orientation))


def _exif_of(data: bytes) -> bytes:
    """The EXIF block, a small TIFF file; b"" where there is none."""
    # Only a JPEG's has a mark before it, but some programs copy that into other files.
    return _exif_part(data).removeprefix(_EXIF)


def _exif_part(data: bytes) -> bytes:
    if data.startswith(_JPEG):
        for code, content in _jpeg_segments(data):
            if code == _APP1 and data.startswith(_EXIF, content.start):
                return data[content]
            if code == _SOS:  # from here on there are pixels
                break
    elif data.startswith(_PNG):
        return next((data[content] for kind, content in _png_chunks(data) if kind == b"eXIf"), b"")
    elif data.startswith(_RIFF):
        return next((data[content] for kind, content in _riff_chunks(data) if kind == b"EXIF"), b"")
    return data if data.startswith(_TIFF) else b""


def _first_directory(exif: bytes) -> int:
    """Where the first directory of a TIFF block is."""
    return int.from_bytes(exif[4:8], _byte_order(exif))


def _find_tag(exif: bytes, directory: int, tag: int) -> int:
    """The whole number that a directory of a TIFF block holds for a tag; 0: it holds none."""
    order = _byte_order(exif)

    def number(at: int, size: int = 2) -> int:
        return int.from_bytes(exif[at : at + size], order)

    # Count of the entries, of 12 bytes each.
    entries = range(directory + 2, directory + 2 + 12 * number(directory), 12)
    at = next((at for at in entries if number(at) == tag), None)
    # Of 16 bits by the standard, but for places; some programs write 32.
    return 0 if at is None else number(at + 8, 4 if number(at + 2) == _LONG else 2)


def _byte_order(exif: bytes) -> Literal["little", "big"]:
    return "little" if exif.startswith(b"II") else "big"


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, slice]]:
    """Marker codes and where what they hold lies, up to the end of the picture or of the data."""
    position = len(_JPEG)
    # What lies between two segments, the pixels of a scan above all, is passed over.
    while marker := _MARKER.search(data, position):
        code, start = marker[1][0], marker.end()
        if code == _SOI:  # the next picture begins before this one has ended
            return
        length = 0 if code in (_EOI, _TEM) else int.from_bytes(data[start : start + 2], "big")
        position = start + length
        yield code, slice(start + 2, position)
        if code == _EOI:
            return


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, slice]]:
    """Types of the chunks that are whole and where their contents lie, up to IEND."""
    position, kind = len(_PNG), b""
    while kind != b"IEND":
        start = position + 8
        kind = data[position + 4 : start]
        end = start + int.from_bytes(data[position : position + 4], "big")
        position = end + 4  # behind the checksum
        if not kind.isalpha() or position > len(data):
            return
        yield kind, slice(start, end)


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, slice]]:
    position = 12  # behind RIFF, the size and WEBP
    while position + 8 <= len(data):
        start = position + 8
        end = start + int.from_bytes(data[position + 4 : start], "little")
        yield data[position : position + 4], slice(start, end)
        position = end + end % 2
