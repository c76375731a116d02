"""One line of a list file: which of its columns are the image and its depth map.

rgb/1.jpg depth/1.png 518.85                       spaces; numbers are passed over,
1305031102.17 rgb/1.png 1305031102.16 depth/1.png  wherever they stand (TUM RGB-D)
my kitchen/1.jpg, my kitchen/1.png                 tabs, commas or semicolons allow spaces,
"my kitchen/1.jpg" 'my kitchen/1.png'              and so do quotes
rgb/1.jpg depth/1.png dense/1.png                  what follows the depth map is not read
"""

import re
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
    for mark in _SEPARATORS:
        if mark in line:
            words = _without_numbers(_split_at(mark, line))
            if len(words) > 1 and all(map(is_path, words[:2])):
                return words[:2], words[2:]
    words = _without_numbers(_split_at(None, line))
    if len(words) > 2 and not _are_surely_files(words):
        return words, []
    return words[:2], words[2:]


def is_path(text: str) -> bool:
    """Whether it has a suffix, or says that there is no depth map."""
    return text == NO_DEPTH or (PurePosixPath(text).suffix != "" and not _is_number(text))


def is_header(line: str, next_line: str) -> bool:
    """Whether a list's first line names its columns: only words, above a line of files."""
    words = [word.strip("\"'") for word in re.split(r"[\s,;]+", line.strip()) if word.strip("\"'")]
    are_words = all(word.replace("_", "").isalpha() and word != NO_DEPTH for word in words)
    return len(words) > 1 and are_words and any(map(is_path, split_line(next_line)[0]))


def _are_surely_files(words: list[str]) -> bool:
    """With spaces between the columns, only suffixes tell more columns from names with spaces."""
    image, depth = words[:2]
    is_depth = depth == NO_DEPTH or has_suffix(depth, DEPTH_SUFFIXES)
    return has_suffix(image, IMAGE_SUFFIXES) and is_depth


def _split_at(mark: str | None, line: str) -> list[str]:
    """At a separator, or at spaces; quotes around a column go."""
    if '"' not in line and "'" not in line:
        return line.split() if mark is None else [word.strip() for word in line.split(mark)]
    found = (_WORD if mark is None else _COLUMN[mark]).finditer(line.strip())
    return [next((group for group in match.groups() if group), "").strip() for match in found]


def _without_numbers(words: list[str]) -> list[str]:
    return [word for word in words if word and not _is_number(word)]


def _is_number(text: str) -> bool:
    if text[-1:].isalpha() and text.lower() not in ("nan", "inf"):
        return False  # most words are paths: Python's own answer takes longer
    try:
        float(text.replace(",", "."))  # 518,86 in half of the world
    except ValueError:
        return False
    return True
