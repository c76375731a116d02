"""One line of a list file: which of its columns are the image and its depth map.

rgb/1.jpg depth/1.png 518.85                       spaces; numbers are passed over,
1305031102.17 rgb/1.png 1305031102.16 depth/1.png  wherever they stand (TUM RGB-D)
my kitchen/1.jpg, my kitchen/1.png                 tabs, commas or semicolons allow spaces,
"my kitchen/1.jpg" 'my kitchen/1.png'              and so do quotes
rgb/1.jpg depth/1.png dense/1.png                  what follows the depth map is not read
kitchen,rgb/1.jpg,depth/1.png                      nor words between marks before the image
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from common.images.suffixes import DEPTH_SUFFIXES, IMAGE_SUFFIXES, has_suffix

NO_DEPTH = "None"
_SEPARATORS = ("\t", ",", ";")
# A quoted name stands between separators, so that an apostrophe within a name is no quote.
_QUOTED = r"""\s*"([^"]*)"\s*(?={end}|$)|\s*'([^']*)'\s*(?={end}|$)|({rest})"""
_COLUMN = {
    mark: re.compile(_QUOTED.format(end=mark, rest=f"[^{mark}]*") + f"(?:{mark}|$)")
    for mark in _SEPARATORS
}
_WORD = re.compile(_QUOTED.format(end=r"\s", rest=r"\S+"))


def split_line(line: str) -> tuple[list[str], list[str]]:
    """The paths of a line without the numbers: image and depth, and columns that are not read.

    The first list has fewer than two paths, or others than of files, where the line is not clear.
    """
    line = line.strip().rstrip(",;")  # an empty last column
    for mark in _SEPARATORS:
        if mark in line:
            words = _without_numbers(map(_without_focal, _split_at(mark, line)))
            first = _first_of_pair(words)
            pair, others = words[first : first + 2], words[:first] + words[first + 2 :]
            if len(pair) > 1 and all(map(is_path, pair)):
                return pair, others
    words = _without_numbers(_split_at(None, line))
    if len(words) > 2 and not _are_surely_files(words):
        return words, []
    return words[:2], words[2:]


def is_path(text: str) -> bool:
    """Whether it has a suffix, or says that there is no depth map."""
    return text == NO_DEPTH or (PurePosixPath(text).suffix != "" and not _is_number(text))


def is_header(line: str, next_line: str) -> bool:
    """Whether a list's first line names its columns: no files, above a line of files."""
    words = [word.strip("\"'") for word in re.split(r"[\s,;]+", line.strip()) if word.strip("\"'")]
    names_files = any("/" in word or _is_file(word) for word in words)
    above_files = any(map(_is_file, split_line(next_line)[0]))
    return len(words) > 1 and not names_files and above_files


def _is_file(word: str) -> bool:
    return word == NO_DEPTH or has_suffix(word, IMAGE_SUFFIXES + DEPTH_SUFFIXES)


def _are_surely_files(words: list[str]) -> bool:
    """With spaces between the columns, only suffixes tell more columns from names with spaces."""
    image, depth = words[:2]
    is_depth = depth == NO_DEPTH or has_suffix(depth, DEPTH_SUFFIXES)
    return has_suffix(image, IMAGE_SUFFIXES) and is_depth


def _first_of_pair(words: list[str]) -> int:
    """Where the image stands; 0 where no two columns are surely image and depth map."""
    pairs = range(len(words) - 1)
    return next((at for at in pairs if _are_surely_files(words[at : at + 2])), 0)


def _without_focal(column: str) -> str:
    """`b.png 518.86` -> `b.png`: numbers behind a file, after spaces instead of the mark."""
    words = column.split()
    last = next((n for n in range(len(words), 0, -1) if not _is_number(words[n - 1])), 0)
    if last == len(words) or not last or not _is_file(words[last - 1]):
        return column
    return column[: column.rindex(words[last - 1]) + len(words[last - 1])]


def _split_at(mark: str | None, line: str) -> list[str]:
    """At a separator, or at spaces; quotes around a column go."""
    if '"' not in line and "'" not in line:
        return line.split() if mark is None else [word.strip() for word in line.split(mark)]
    found = (_WORD if mark is None else _COLUMN[mark]).finditer(line.strip())
    return [next((group for group in match.groups() if group), "").strip() for match in found]


def _without_numbers(words: Iterable[str]) -> list[str]:
    return [word for word in words if word and not _is_number(word)]


def _is_number(text: str) -> bool:
    if text[-1:].isalpha() and text.lower() not in ("nan", "inf"):
        return False  # most words are paths: Python's own answer takes longer
    try:
        float(text.replace(",", "."))  # 518,86 in half of the world
    except ValueError:
        return False
    return True
