"""Arrays out of depth files that are no pictures: NumPy's .npy and .npz, and .pfm.

Each takes the bytes of a file and raises `ValueError`, with what to do, where they are not that.
"""

import io
import math
import re
import zipfile
import zlib

import numpy as np

_NPZ_NAME = "depth"
MOST_BYTES = 1_000_000_000  # of an unpacked map: a few kB may become any number of zeros
_PFM = re.compile(rb"(P[Ff])\s+(\d+)\s+(\d+)\s+(\S+)\s")  # kind, width, height, scale


def load_npy(data: bytes) -> np.ndarray:
    """The one array of a .npy file."""
    try:
        # Not np.load, which also opens archives of several arrays, whatever they are called.
        return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # a damaged header fails in many ways, of Python's parser too
        if isinstance(error, MemoryError) and _is_whole(data):
            raise
        raise ValueError("not a readable .npy file; write it again with numpy.save") from error


def _is_whole(data: bytes) -> bool:
    """Whether a .npy file is as long as its header says: a damaged one may ask for any memory."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        is_first = version == (1, 0)
        formats = np.lib.format
        read = formats.read_array_header_1_0 if is_first else formats.read_array_header_2_0
        shape, _, kind = read(stream)
    except Exception:  # as above
        return False
    return math.prod(shape) * kind.itemsize <= len(data) - stream.tell()


def load_npz(data: bytes) -> np.ndarray:
    """The array called `depth` of a .npz archive, or its only one."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            wanted = names if len(names) == 1 else [n for n in names if n == f"{_NPZ_NAME}.npy"]
            if wanted and archive.getinfo(wanted[0]).file_size > MOST_BYTES:
                raise ValueError(f"its array is larger than {MOST_BYTES / 1e9:g} GB: no depth map")
            content = archive.read(wanted[0]) if wanted else b""
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError("not a readable .npz file; write it again with numpy.savez") from error
    if not wanted:
        held = ", ".join(name.removesuffix(".npy") for name in names) or "nothing"
        raise ValueError(
            f"it holds {held}, and must hold one array, or one called {_NPZ_NAME}; write it again "
            f"with numpy.savez(FILE, {_NPZ_NAME}=ARRAY)"
        )
    return load_npy(content)


def load_pfm(data: bytes) -> np.ndarray:
    """float32 [H, W], or [H, W, 3] of a color file; stored from the bottom row upwards.

    The sign of the scale says which end of a number comes first. Its size is a remark for viewers:
    the numbers are what they are, as other programs read them. (OpenCV would divide by it.)
    """
    header = _PFM.match(data)
    try:
        kind, width, height, scale = header.groups() if header else (b"", b"", b"", b"")
        shape = (int(height), int(width), 3 if kind == b"PF" else 1)
        numbers = np.dtype("<f4" if float(scale) < 0 else ">f4")
        start = header.end() if header else 0
        array = np.frombuffer(data, numbers, int(np.prod(shape)), start).reshape(shape)
    except (ValueError, OverflowError) as error:
        raise ValueError("not a whole .pfm file; copy it again") from error
    return array[::-1].astype(np.float32)
