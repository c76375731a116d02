"""The focal length of each picture: from a data set's list, else the one that is given for all.

kitchen/rgb_00045.jpg kitchen/sync_depth_00045.png 518.8579      NYU and KITTI, as published
mine.jpg 812.5                                                   without a depth map
"""

import math
import re
from pathlib import Path

from common.data.list_lines import split_line
from common.data.lists import read_lines
from common.errors import UserError
from scripts.prediction.cameras import check_focal
from scripts.prediction.inputs import name_in

_SEPARATOR = re.compile(r"[\s,;]+")


class FocalSource:
    """focal: pixels, for all. file: a list whose lines end with a focal length, in pixels of the
    picture's own size.
    """

    def __init__(self, focal: float | None, file: Path | None) -> None:
        self.focal = None if focal is None else check_focal(focal)
        self._focals = {} if file is None else _read(file)

    def of(self, path: Path | None) -> float | None:
        """Pixels; None: neither says it. path: None for a webcam."""
        found = None if path is None else name_in(self._focals, path)
        return self.focal if found is None else self._focals[found]


def _read(file: Path) -> dict[str, float]:
    """Image -> focal length, of the lines that have one; a `UserError` if none has."""
    try:
        lines = list(read_lines(file))
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeError as error:
        raise UserError(f"{file} is no list of pictures: it is no text") from error
    focals: dict[str, float] = {}
    for line in lines:
        (image, *_), focal = split_line(line)[0] or [""], _last_number(line)
        if image and focal is not None:
            focals[image.lstrip("/")] = focal
    if not focals:
        raise UserError(
            f"{file}: no line ends with a focal length above 0; write IMAGE PIXELS, or name a list "
            "of a data set (IMAGE DEPTH PIXELS)"
        )
    return focals


def _last_number(line: str) -> float | None:
    try:
        number = float(_SEPARATOR.split(line.strip().rstrip(",;"))[-1])
    except ValueError:
        return None
    return number if 0 < number < math.inf else None
