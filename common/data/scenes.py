"""Which images show one scene: what a bootstrap resamples, and what no two folds may share.

Neighboring frames are nearly one picture, so they are no independent evidence. Three cases:

    kitchen_0028b/rgb_00045.jpg         the folder names one scene (a number is in its name), as do
                                        KITTI's drives: `scene_of`
    test/kitchen/rgb_00045.jpg          the folder is only a category, as in NYU's official split:
                                        runs of neighboring frame numbers are the scenes
    test/dollhouse_kitchen_0007/...     the generated demo rooms: the miniature shares its picture
                                        with test/kitchen_0007, so the two are one scene
"""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath

import numpy as np

from common.data.lists import scene_of
from common.language.controls import folder_category

MINIATURE_PREFIX = "dollhouse_"  # of a demo room's folder: the same picture at another scale
# Frames of one category whose numbers differ by no more are of one scene. NYU's labeled frames are
# numbered scene by scene; a hole of one or two test frames holds training frames, so the rule joins
# scenes that lie close together. That errs on the safe side: fewer scenes widen an interval.
LARGEST_GAP = 3
_STORAGE = {"rgb", "image", "images", "color", "frames", "data"}  # folders that name no place


def scene_labels(keys: Sequence[str]) -> list[str]:
    """The scene of each image, in the order of `keys`; equal labels are one scene.

    Of a folder without a number in its name, an image without a number in its own is a scene of its
    own. The labels depend on which keys there are, and not on their order.
    """
    labels: dict[str, str] = {}
    numbered: dict[tuple[str, ...], list[tuple[int, str]]] = defaultdict(list)
    for key in dict.fromkeys(keys):
        folder = scene_of(key)
        name = PurePosixPath(key).stem
        frame = re.fullmatch(r"(.*?)(\d+)(\D*)", name, re.DOTALL)
        if names_one_scene(folder):
            labels[key] = without_scale(folder)
        elif frame:
            before, number, after = frame.groups()
            numbered[folder, before, after].append((int(number), key))
        else:
            labels[key] = key
    for frames in numbered.values():
        labels |= _label_runs(sorted(frames))
    return [labels[key] for key in keys]


def count_scenes(keys: Sequence[str]) -> int:
    """How many scenes the images show."""
    return len(set(scene_labels(keys)))


def scene_type(key: str) -> str:
    """`test/living_room/rgb_1.jpg`, `living_room_0028b/rgb/1.jpg` -> living room."""
    return folder_category(f"{scene_place(scene_of(key))}/image")


def names_one_scene(folder: str) -> bool:
    """Whether the place has a number in its name."""
    return bool(re.search(r"\d", scene_place(folder)))


def scene_place(folder: str) -> str:
    """The name of the folder, or of the one above folders like `rgb`."""
    parts = [part for part in PurePosixPath(folder).parts if part not in _STORAGE]
    return parts[-1] if parts else ""


def without_scale(folder: str) -> str:
    """A demo room and its miniature are one scene."""
    path = PurePosixPath(folder)
    if not path.name:  # the images have no folder
        return folder
    return str(path.with_name(path.name.removeprefix(MINIATURE_PREFIX) or path.name))


def number_labels(keys: Collection[str]) -> tuple[np.ndarray, list[str]]:
    """int32 [N], the number of each image's scene, and the scenes' labels by their numbers."""
    numbers: dict[str, int] = {}
    of_image = [numbers.setdefault(label, len(numbers)) for label in scene_labels(list(keys))]
    return np.array(of_image, np.int32), list(numbers)


def _label_runs(frames: list[tuple[int, str]]) -> dict[str, str]:
    """Key -> first key of its run. frames: number and key, in increasing order."""
    labels = {}
    first, last = frames[0][1], frames[0][0]
    for number, key in frames:
        if number - last > LARGEST_GAP:
            first = key
        labels[key], last = first, number
    return labels
