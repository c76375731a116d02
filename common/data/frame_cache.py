"""Decoded training frames in one file that all processes of a machine share, and later runs too.

    cache = FrameCache(folder, "nyu", samples, (480, 640), recipe)
    image, depth = cache.get(index, samples[index], decode)     # decodes once, from then on reads

The file has a slot of fixed size for each sample: image uint8 [H, W, 3], depth [H, W], and a stamp.
A slot is believed only if its stamp names the source files as they are now (size, time of change)
and was written since this boot, by this code and this OpenCV: after a power cut a file may hold
pages that never reached the disk. Where the system does not number its boots (no Linux), only
slots that this process and its workers wrote are believed.

The stamp is written last, so a killed process leaves a slot without one. The kernel locks a slot
that is being written and forgets the lock when its process ends; nobody waits for a slot, whoever
does not get it decodes. Slots are copied out by plain reads and not mapped: nothing can be
written through an array, and a full or failing disk is an error message and not a SIGBUS.
"""

import errno
import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np

try:
    import fcntl
except ImportError:  # Windows; only a cache needs it
    fcntl = None  # type: ignore[assignment]

from common.config import REPO_ROOT
from common.data.samples import Sample
from common.errors import UserError
from common.shards import stored_facts

Frame = tuple[np.ndarray, np.ndarray]
PAGE = 4096
_BOOT = Path("/proc/sys/kernel/random/boot_id")
# What a slot's content depends on.
_CODE = (
    *("data/frames.py", "images/containers.py", "images/crops.py", "images/depth_formats.py"),
    *("images/reading.py", "images/transforms.py"),
)
_STAMP = struct.Struct("=16s6qc")  # who wrote it, size and times of both files, type of the depth
_MARK_BYTES = 8  # of each slot, in a table at the front, for counting


class FrameCache:
    """The slots of one list of samples, all of one size, for one thread of each process.

    Nothing is on disk until it is used.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        samples: Sequence[Sample],
        size: tuple[int, int],
        recipe: str,
    ) -> None:
        """size: (H, W) of every slot. recipe: all that decides what becomes of the files."""
        if fcntl is None:
            raise UserError(
                "data.cache: this system has no locks for parts of a file (Python's fcntl); set "
                "data.cache=null"
            )
        height, width = self.size = size
        self.num_frames = len(samples)
        all_png = all(sample.depth_file.lower().endswith(".png") for sample in samples)
        self._image_bytes = 3 * height * width
        self._stamp_at = self._image_bytes + (2 if all_png else 4) * height * width
        self._slot_bytes = _whole_pages(self._stamp_at + _STAMP.size)
        self._first_slot = PAGE + _whole_pages(_MARK_BYTES * self.num_frames)
        files = [(sample.image_file, sample.depth_file) for sample in samples]
        key = hashlib.sha256(repr((1, recipe, size, files)).encode()).hexdigest()
        self.path = folder / f"{name}_{height}x{width}_{self.num_frames}_{key[:16]}.frames"
        head = f"LangDepth decoded frames, version 1\n{key}\n{self._slot_bytes} bytes a slot\n"
        self._head = head.encode().ljust(PAGE, b"\0")
        self._writer = _writer_mark()
        self._file: FileIO | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens the file itself."""
        return {**self.__dict__, "_file": None}

    @property
    def num_bytes(self) -> int:
        """What the file takes on disk."""
        return self._first_slot + self.num_frames * self._slot_bytes

    def get(self, index: int, sample: Sample, decode: Callable[[Sample], Frame]) -> Frame:
        """image uint8 [H, W, 3] and depth [H, W] as `decode(sample)` gives them, arrays of its own.

        A frame whose size or type does not fit a slot is decoded every time. A `UserError` if the
        cache cannot be used.
        """
        try:
            stamp = self._stamp(sample)
        except OSError:
            return decode(sample)  # which says what is wrong with the files
        with self._errors():
            frame = self._read(index, stamp)
        if frame is None:
            frame = decode(sample)
            with self._errors():
                self._write(index, stamp, *frame)
        return frame

    def describe(self) -> str:
        """Where it is, its size, and how full; makes the file if need be."""
        with self._errors():
            table = os.pread(self._open(), _MARK_BYTES * self.num_frames, PAGE)
        mark = self._writer[:_MARK_BYTES]
        num_written = sum(
            table[at : at + _MARK_BYTES] == mark for at in range(0, len(table), _MARK_BYTES)
        )
        return (
            f"decoded frames are kept in {self.path} ({self.num_bytes / 1e9:.3g} GB); "
            f"{num_written} of {self.num_frames} were written since this boot"
        )

    def _stamp(self, sample: Sample) -> bytes:
        """All but the depth's type."""
        facts = [stored_facts(path) for path in (sample.image_file, sample.depth_file)]
        numbers = [number for fact in facts for number in fact]
        return _STAMP.pack(self._writer, *numbers, b"\0")[:-1]

    def _start(self, index: int) -> int:
        return self._first_slot + index * self._slot_bytes

    def _read(self, index: int, stamp: bytes) -> Frame | None:
        file, start = self._open(), self._start(index)
        raw = np.empty(self._stamp_at, np.uint8)
        with self._locked(index, fcntl.LOCK_SH) as mine:
            found = os.pread(file, _STAMP.size, start + self._stamp_at) if mine else b""
            if found[:-1] != stamp or os.preadv(file, [raw.data], start) != raw.size:
                return None
        kind = np.dtype(found[-1:].decode())
        end = self._image_bytes + kind.itemsize * self.size[0] * self.size[1]
        image, depth = raw[: self._image_bytes], raw[self._image_bytes : end]
        return image.reshape(*self.size, 3), depth.view(kind).reshape(self.size)

    def _write(self, index: int, stamp: bytes, image: np.ndarray, depth: np.ndarray) -> None:
        fits = image.shape[:2] == depth.shape == self.size and image.dtype == np.uint8
        room = self._stamp_at - self._image_bytes - depth.nbytes
        if not fits or room < 0 or depth.dtype not in (np.uint16, np.float32):
            return
        file, start = self._open(), self._start(index)
        last = bytes(room) + stamp + depth.dtype.char.encode()
        content: list[memoryview | bytes] = [
            np.ascontiguousarray(image).data,
            np.ascontiguousarray(depth).data,
            last,
        ]
        with self._locked(index, fcntl.LOCK_EX) as mine:
            if mine:
                os.pwrite(file, bytes(_STAMP.size), start + self._stamp_at)
                # In this order, in one piece; a filling disk may take less without an error.
                if os.pwritev(file, content, start) != self._stamp_at + _STAMP.size:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.pwrite(file, self._writer[:_MARK_BYTES], PAGE + _MARK_BYTES * index)

    @contextmanager
    def _locked(self, index: int, kind: int) -> Iterator[bool]:
        """Whether the slot was free; kind: LOCK_SH to read, LOCK_EX to write."""
        file, place = self._open(), (self._slot_bytes, self._start(index))
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB, *place)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN, *place)

    def _open(self) -> int:
        """The descriptor; makes the file, or makes it anew where it is not as it should be."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            file = FileIO(descriptor, "r+")
            if not self._is_whole(descriptor):
                self._make(descriptor)
            self._file = file
        return self._file.fileno()

    def _is_whole(self, file: int) -> bool:
        return os.fstat(file).st_size == self.num_bytes and os.pread(file, PAGE, 0) == self._head

    def _make(self, file: int) -> None:
        """One process takes all space at once, in place; what a killed one leaves is made anew."""
        fcntl.lockf(file, fcntl.LOCK_EX)
        try:
            if not self._is_whole(file):  # another process may have been first
                os.ftruncate(file, 0)
                self._allocate(file)
                os.pwrite(file, self._head, 0)
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN)

    def _allocate(self, file: int) -> None:
        if not hasattr(os, "posix_fallocate"):  # macOS: a full disk shows when a frame is written
            os.ftruncate(file, self.num_bytes)
            return
        try:
            os.posix_fallocate(file, 0, self.num_bytes)
        except BaseException:  # Ctrl-C, too
            os.ftruncate(file, 0)  # gives back what there was
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = "name a folder of your own on a local disk"
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                remedy = f"it takes {self.num_bytes / 1e9:.3g} GB: make room, name another folder"
            raise UserError(
                f"data.cache: cannot use {self.path}: {error.strerror}; {remedy}, or set "
                "data.cache=null"
            ) from error


def _whole_pages(num_bytes: int) -> int:
    return -(-num_bytes // PAGE) * PAGE


def _writer_mark() -> bytes:
    """16 bytes that change with the boot, the code that makes a frame, and OpenCV."""
    boot = _BOOT.read_bytes() if _BOOT.exists() else os.urandom(16)
    code = [(REPO_ROOT / "common" / name).read_bytes() for name in _CODE]
    parts = [boot, cv2.__version__.encode(), *code]
    return hashlib.sha256(b"\0".join(parts)).digest()[:16]
