"""Which files are images and which are depth maps, by the ends of their names."""

from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

# Where a picture is there twice, in two formats, the earlier suffix is taken.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
DEPTH_SUFFIXES = (".png", ".npy", ".exr", ".tif", ".tiff", ".pfm", ".npz")


def has_suffix(path: str, suffixes: tuple[str, ...]) -> bool:
    """Upper and lower case are one."""
    return path.lower().endswith(suffixes)


def without_suffix(path: str) -> str:
    """`a/b.c.jpg` -> `a/b.c`; `.jpg` and `a` have none."""
    dot = path.rfind(".")
    is_suffix = path.rfind("/") + 1 < dot < len(path) - 1
    return path[:dot] if is_suffix else path


def one_of_each(
    paths: Iterable[str], suffixes: tuple[str, ...]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Paths that differ in more than their suffix, and (left out, taken instead) for the others.

    Of `0001.jpg` and `0001.png`, one picture in two formats, the one whose suffix is earlier in
    `suffixes` is taken; the order of the paths stays.
    """
    paths = list(paths)
    chosen: dict[str, str] = {}
    for path in paths:
        name = without_suffix(path)
        chosen[name] = min(chosen.get(name, path), path, key=lambda p: _rank(p, suffixes))
    pairs = [(path, chosen[without_suffix(path)]) for path in paths]
    return [path for path, taken in pairs if path == taken], [p for p in pairs if p[0] != p[1]]


def _rank(path: str, suffixes: tuple[str, ...]) -> tuple[int, str]:
    return suffixes.index(PurePosixPath(path).suffix.lower()), path


def counted_suffixes(paths: Iterable[str]) -> str:
    """`6 .heic, 1 .txt`: how many files have which suffix, the most frequent one first."""
    counts = Counter(PurePosixPath(path).suffix.lower() or "no suffix" for path in paths)
    return ", ".join(f"{count:,} {suffix}" for suffix, count in counts.most_common())
