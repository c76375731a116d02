"""Does a split show scenes that are trained on, though none of its images is?

Neighboring frames of a video are nearly one picture: whoever puts a random tenth of all frames into
a validation list scores how well training images are remembered. Known are the scenes of folders
that name one (NYU's raw folders, KITTI's drives, the demo's rooms; `scenes.py`), of the folders of
`data.name=folder`, and all of them with `data.carve_by=frames`. A folder that may hold many scenes
(`kitchen/`, or all images there are) is told of where the split stands between training images.
"""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.data.data_config import DataConfig
from common.data.folder_search import natural_order
from common.data.lists import scene_of
from common.data.samples import Samples
from common.data.scenes import names_one_scene, scene_labels, scene_place, without_scale
from common.packed import PackedStrings

_NAMED = 3  # scenes in a line


@dataclass(frozen=True)
class SharedScenes:
    """scenes: those that both have. num_images: of the split's `num_all`, those that show them.

    is_known: they are scenes; else it looks like it. is_by_frames: most of the images stand beside
    a training image in the order of their names.
    """

    scenes: tuple[str, ...]
    num_images: int
    num_all: int
    is_known: bool
    is_by_frames: bool

    def describe(self, name: str) -> str:
        """One line; name: of the split."""
        count = f"{self.num_images} of {self.num_all} images"
        first = ", ".join(self.scenes[:_NAMED]) + (", ..." if len(self.scenes) > _NAMED else "")
        if not self.is_known:
            return (
                f"{name}: {count} stand between training images in one folder ({first}): if that "
                "is a video, or one place, this is a split by frames, and scores on them say how "
                "well training images are remembered"
            )
        shown = f"{name}: {count} are of {len(self.scenes)} scene(s) that are trained on ({first})"
        if self.is_by_frames:
            return (
                f"{shown}: a split by frames of the same videos, not by scene; neighboring frames "
                "are nearly one picture, and scores on them say how well training images are "
                "remembered"
            )
        return f"{shown}; scores on them say little about other scenes"


def find_shared_scenes(train: Samples, other: Samples, data: DataConfig) -> SharedScenes | None:
    """What a split shares with training; None: nothing that is known, or looks like it.

    Images that are in both are another matter, and do not count.
    """
    base = os.path.realpath(train.image_dir)
    scene = _scenes(train, other, base, data)
    times = Counter(_names(other, base))  # a list may have an image twice
    new = {name: scene(name) for name in times}
    labels, trained = set(new.values()), set[str]()
    for name in _names(train, base):
        if (label := scene(name)) in labels:
            trained.add(label)
            new.pop(name, None)
    split: dict[str, list[str]] = {}  # of a scene that is trained on, the names that are not
    for name, label in new.items():
        if label in trained:
            split.setdefault(label, []).append(name)
    known = {label: names for label, names in split.items() if _is_known(label, data)}
    found = known or split
    is_by_frames = 2 * _count_beside(found, train, base, scene) >= sum(map(len, found.values()))
    if not found or not (known or is_by_frames):
        return None
    num_images = sum(times[name] for names in found.values() for name in names)
    return SharedScenes(tuple(sorted(found)), num_images, len(other), bool(known), is_by_frames)


def _scenes(train: Samples, other: Samples, base: str, data: DataConfig) -> Callable[[str], str]:
    """Name of an image -> its scene."""
    if data.carve_by == "frames":
        names = [*_names(other, base), *_names(train, base)]
        return dict(zip(names, scene_labels(names), strict=True)).__getitem__
    of_folder: dict[str, str] = {}

    def scene(name: str) -> str:
        folder = name.rpartition("/")[0]
        if folder not in of_folder:
            of_folder[folder] = without_scale(scene_of(name))
        return of_folder[folder]

    return scene


def _names(samples: Samples, base: str) -> Iterator[str]:
    """Where the images really are, below `base` or from the root; lists may lead through links."""
    folders: dict[str, str] = {}
    for file in samples.image_files():
        folder, _, name = file.rpartition("/")
        if folder not in folders:
            place = os.path.realpath(folder)
            folders[folder] = f"{place}/".removeprefix(f"{base}/")
        yield folders[folder] + name


def _is_known(scene: str, data: DataConfig) -> bool:
    is_scene_by_rule = data.carve_by == "frames" or names_one_scene(scene)
    return is_scene_by_rule or (data.data_set.find_pairs is not None and bool(scene_place(scene)))


def _count_beside(
    split: Mapping[str, Sequence[str]], train: Samples, base: str, scene: Callable[[str], str]
) -> int:
    """How many images of the split have a training image of their scene next to them."""
    rows = {label: array("q") for label in split}  # of training, without a string for each
    for row, name in enumerate(_names(train, base) if split else ()):
        if (label := scene(name)) in rows:
            rows[label].append(row)
    count = 0
    for label, names in split.items():
        trained = PackedStrings.of(_names(train.take(np.array(rows[label])), base))
        order = natural_order(PackedStrings.of(names) + trained)
        is_trained = np.concatenate([[False], order >= len(names), [False]])
        count += int((~is_trained[1:-1] & (is_trained[:-2] | is_trained[2:])).sum())
    return count
