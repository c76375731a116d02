"""Write demo data sets to disk: all of it or nothing, and only once for the same settings.

A data set is made in a temporary folder beside its final place and renamed at the end. Its
`dataset.json` holds the settings it was made with and the counts of its lists.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from common.errors import UserError
from common.progress import progress_bar

Job = TypeVar("Job")
Result = TypeVar("Result")


def is_made(folder: Path, settings: dict) -> bool:
    """Say whether `folder` already holds the data set of these settings.

    Raises UserError when something else is there.
    """
    if not folder.exists():
        return False
    try:
        found = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found == settings:
        return True
    raise UserError(
        f"{folder} already holds other data{_difference(found, settings)}; "
        "give --force to replace it or another --out"
    )


def _difference(found: dict | None, wanted: dict) -> str:
    if not isinstance(found, dict):
        return ""
    keys = [key for key in wanted if found.get(key) != wanted[key]]
    return f" ({keys[0]} is {found.get(keys[0])}, not {wanted[keys[0]]})" if keys else ""


@contextmanager
def whole_folder(final: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `final` when the block ends without error."""
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{final.name}-partial-", dir=final.parent))
    partial.chmod(0o755)
    try:
        yield partial
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def map_processes(
    function: Callable[[Job], Result], jobs: list[Job], workers: int, title: str
) -> list[Result]:
    """Return the results in the order of `jobs`, computed by `workers` processes."""
    with progress_bar(title, len(jobs), unit="scene") as bar:
        results = []
        for result in _map(function, jobs, min(workers, len(jobs))):
            results.append(result)
            bar.update()
    return results


def _map(function: Callable[[Job], Result], jobs: list[Job], workers: int) -> Iterator[Result]:
    if workers <= 1:
        yield from map(function, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, initializer=_start_worker) as pool:
        yield from pool.imap(function, jobs, chunksize=min(16, -(-len(jobs) // workers)))


def _start_worker() -> None:
    cv2.setNumThreads(1)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an RGB uint8 [H, W, 3] or a 16-bit [H, W] image."""
    pixels = image[:, :, ::-1] if image.ndim == 3 else image
    write_bytes(path, _encode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 3]))


def encode_jpeg(rgb: np.ndarray) -> bytes:
    """Return the JPEG file of an RGB uint8 [H, W, 3] image."""
    return _encode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])


def _encode(kind: str, pixels: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(kind, np.ascontiguousarray(pixels), options)
    if not done:
        raise ValueError(f"cannot encode {pixels.shape} {pixels.dtype} as {kind}")
    return data.tobytes()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write one line each."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_json_lines(path: Path, rows: Iterable[dict]) -> None:
    """Write one JSON object per line."""
    write_lines(path, (json.dumps(row) for row in rows))


def write_description(folder: Path, settings: dict, counts: dict[str, int]) -> None:
    """Write `dataset.json`."""
    text = json.dumps({"settings": settings, "counts": counts}, indent=2)
    (folder / "dataset.json").write_text(text + "\n", encoding="utf-8")
