"""Does a split show scenes that are trained on, though none of its images is?

Neighboring frames of a video are nearly one picture: whoever puts a random tenth of all frames into
a validation list scores how well training images are remembered. Known are the scenes of folders
that name one (NYU's raw folders, KITTI's drives, the demo's rooms; `scenes.py`), of the folders of
`data.name=folder`, and all of them with `data.carve_by=frames`. A folder that may hold many scenes
(`kitchen/`, or all images there are) is told of where the split stands between training images.
"""

import os
from collections.abc import Callable, Iterator
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
    parts: dict[str, tuple[list[str], list[str]]] = {}  # of a scene, the split's and training's
    for name in _names(other, base):
        parts.setdefault(scene(name), ([], []))[0].append(name)
    for name in _names(train, base):
        if (part := parts.get(scene(name))) is not None:
            part[1].append(name)
    parts = {label: _without_same(*part) for label, part in parts.items() if part[1]}
    parts = {label: part for label, part in parts.items() if part[0]}
    known = {label: part for label, part in parts.items() if _is_known(label, data)}
    found = known or parts
    num_images = sum(len(part[0]) for part in found.values())
    num_beside = sum(_count_beside(*part) for part in found.values())
    is_by_frames = 2 * num_beside >= num_images
    if not found or not (known or is_by_frames):
        return None
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


def _without_same(split: list[str], trained: list[str]) -> tuple[list[str], list[str]]:
    same = set(trained)
    return [name for name in split if name not in same], trained


def _is_known(scene: str, data: DataConfig) -> bool:
    is_scene_by_rule = data.carve_by == "frames" or names_one_scene(scene)
    return is_scene_by_rule or (data.data_set.find_pairs is not None and bool(scene_place(scene)))


def _count_beside(split: list[str], trained: list[str]) -> int:
    """How many of a scene's images in the split have a training image next to them."""
    order = natural_order(PackedStrings.of([*split, *trained]))
    is_trained = np.concatenate([[False], order >= len(split), [False]])
    return int((~is_trained[1:-1] & (is_trained[:-2] | is_trained[2:])).sum())
