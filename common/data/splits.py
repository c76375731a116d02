"""Which samples a split consists of: from list files, a published split, or the folder itself.

    finder = SplitFinder(config.data)
    train, val = finder.find("train"), finder.find("val")     # lists and folders are read once

A test split is never used to choose: validation images are carved, by scene, from the training
images, unless `data.val_list` names some.
"""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from common.data.data_config import DataConfig
from common.data.kept_data import KeptData
from common.data.lists import Notes, find_file, read_list
from common.data.pairs import Pair, PairList
from common.data.samples import ImageFiles, Samples, SplitName, find_present, name_files
from common.data.sets import PUBLISHED_SPLITS
from common.data.split_lists import list_path, read_split_list
from common.data.subsets import draw_rows
from common.errors import UserError
from common.images.folder_index import FolderIndex
from common.images.suffixes import without_suffix

# The same for every run, so that no run validates on what another one trained on.
CARVE_SEED = 0
_SCENES_NAMED = 20  # in a run's log


@dataclass(frozen=True)
class Split:
    """The samples of a split whose files are there, and what was left out.

    num_without_gt: list lines that name no depth. num_missing: pairs that are not on disk, or that
    the test list of a published split has lost. notes: lines for the log that say so. pairs: all
    that have ground truth, before anything was left out.
    """

    name: SplitName
    samples: Samples
    num_without_gt: int = 0
    num_missing: int = 0
    notes: tuple[str, ...] = ()
    pairs: PairList = field(default_factory=lambda: PairList.of(()))

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """Key -> image file."""
        return ImageFiles(self.samples)


def configured_splits(data: DataConfig) -> list[SplitName]:
    """The splits that there are: by a list, by `data.split`, or as a share of the images."""
    is_scanned, is_named = is_searched(data), data.split is not None
    has_train = data.test_share < 1 if is_scanned else data.train_list is not None or is_named
    has_val = data.val_list is not None or (has_train and data.val_share > 0)
    has_test = data.test_list is not None or is_named or (is_scanned and data.test_share > 0)
    present: dict[SplitName, bool] = {"train": has_train, "val": has_val, "test": has_test}
    return [split for split, is_there in present.items() if is_there]


def find_split(data: DataConfig, name: SplitName) -> Split:
    """One split; for several of the same data a `SplitFinder` reads every list once."""
    return SplitFinder(data).find(name)


class SplitFinder:
    """The splits of one configured data set; what it has read it keeps.

    A `UserError` if a list is not there, or is not what it should be. kept: how a folder without
    lists is divided, where that is known already; only what it names is used. notes: lines for the
    log about pairs that are in no split. left_out: likewise of what of the lists, or of the folder,
    could not be used.
    """

    def __init__(self, data: DataConfig, kept: KeptData | None = None):
        if not data.root.is_dir():
            raise UserError(
                f"data.root: no folder {data.root}; set data.root to where the images are"
            )
        self.data, self.kept = data, kept
        self.notes: Notes = []
        self.left_out: Notes = []
        self._files = FolderIndex()

    def find(self, name: SplitName) -> Split:
        """The split, with every file checked to be there.

        A `UserError` if more than 1 % are missing, unless `data.allow_missing`.
        """
        pairs, notes = self.pairs(name)
        if is_searched(self.data):
            notes = list(dict.fromkeys((*self.left_out, *notes)))  # a list's are in both
        named = name_files(self.data, name, pairs, self._files)
        if not named:
            raise UserError(f"none of the {len(pairs)} images of the {name} list has ground truth")
        is_present, missing = self._find_present(name, named)
        notes = [*notes, *_describe_unpaired(name, pairs)]
        if missing:
            first = ", ".join(missing[:3])
            notes = [
                *notes,
                f"{name}: {len(missing)} of {len(named)} pairs are missing, first {first}",
            ]
        notes += _describe_repeats(name, pairs.with_depth)
        samples = named if is_present.all() else named.take(is_present)
        if name == "train" and self.data.train_images is not None:
            num_found, seed = len(samples), self.data.subset_seed
            samples = named.take(draw_rows(is_present, self.data.train_images, seed))
            notes = [
                *notes,
                f"train: {len(samples)} of {num_found} training images (subset seed {seed})",
            ]
        num_missing = len(missing) + self.num_lost_lines(name, pairs)
        num_without_gt = len(pairs) - len(named)
        return Split(name, samples, num_without_gt, num_missing, tuple(notes), pairs.with_depth)

    def _find_present(self, name: SplitName, named: Samples) -> tuple[np.ndarray, list[str]]:
        """bool [N], and what is missing; files that a search has just found are there."""
        is_new = self.kept is None  # a run's own may be gone
        if is_new and is_searched(self.data) and not self._is_listed(name):
            return np.ones(len(named), bool), []
        file = list_path(self.data, name)
        return find_present(self.data, name, named, self._files, file)

    def pairs(self, name: SplitName) -> tuple[PairList, Notes]:
        """What the lists or the folder say, whether the files exist or not."""
        if is_searched(self.data):
            return self._scanned_pairs(name)
        if name == "test" or (name == "val" and self.data.val_list is not None):
            return self._listed(name)
        pairs, notes = self._training_list
        if self.data.val_list is not None:
            return pairs, notes
        train, val = self._carved_list
        return (train, notes) if name == "train" else _set_apart("val", val, self.data)

    def num_lost_lines(self, name: SplitName, pairs: PairList) -> int:
        """How many lines with ground truth the test list of a published split has too few."""
        if name != "test" or self.data.test_list is not None or self.data.split is None:
            return 0
        num_with_gt = int(pairs.has_depth.sum())
        return max(PUBLISHED_SPLITS[self.data.split].test.num_with_gt - num_with_gt, 0)

    @property
    def divided(self) -> dict[SplitName, PairList]:
        """The splits that a folder without lists is divided into; none where there are lists."""
        if not is_searched(self.data):
            return {}
        listed = {"val": self.data.val_list, "test": self.data.test_list}
        names: tuple[SplitName, ...] = ("train", "val", "test")
        parts = zip(names, self._divided, strict=True)
        return {name: pairs for name, pairs in parts if listed.get(name) is None}

    @cached_property
    def _training_list(self) -> tuple[PairList, Notes]:
        return self._listed("train")

    @cached_property
    def _carved_list(self) -> tuple[PairList, PairList]:
        """Training and validation pairs."""
        return self._carve(self._training_list[0], self.data.val_share)

    def _carve(self, pairs: PairList, share: float) -> tuple[PairList, PairList]:
        """The rest, and about this share of the images, set apart by scene."""
        data = self.data
        return data.data_set.carve(pairs, share, CARVE_SEED, data.number_scenes)

    def _listed(self, name: SplitName) -> tuple[PairList, Notes]:
        pairs, notes = read_split_list(self.data, name)
        self.left_out += notes
        return pairs, notes

    def _scanned_pairs(self, name: SplitName) -> tuple[PairList, Notes]:
        """A split of all pairs found in the folder; the listed ones of other splits are out."""
        data = self.data
        if self._is_listed(name):
            return self._listed(name)
        train, val, test = self._divided
        if name == "train":
            if not train:
                raise UserError(_nothing_to_train_on(data, val + test))
            return train, []
        if name == "test" and data.test_share == 1:
            return test, []
        apart, notes = _set_apart(name, val if name == "val" else test, data)
        if len(data.number_scenes((train + val + test).images)[1]) == 1:
            notes = [_describe_last(name, apart)]
        return apart, notes

    @cached_property
    def _divided(self) -> tuple[PairList, PairList, PairList]:
        """Disjoint training, validation and test pairs; images without depth are in the first."""
        data, pairs = self.data, self._scan()
        listed = {
            _real_path(data, pair)
            for name in (data.val_list, data.test_list)
            if name is not None
            for pair in read_list(find_file(name, data.root))
        }
        if data.test_share == 1:
            return pairs[:0], pairs[:0], pairs
        rest, without = pairs.with_depth, pairs.without_depth
        if listed:
            is_free = [_real_path(data, pair) not in listed for pair in rest]
            rest = rest.take(np.array(is_free, bool))
        if self.kept is not None:
            parts, new = self.kept.divide(rest)
            self.notes += _describe_new(new, data)
            none = pairs[:0]
            return parts["train"] + without, parts.get("val", none), parts.get("test", none)
        rest, test = self._carve(rest, data.test_share if data.test_list is None else 0)
        train, val = self._carve(rest, data.val_share if data.val_list is None else 0)
        return (train + without if len(train) else train), val, test

    def _is_listed(self, name: SplitName) -> bool:
        """Whether a folder's split comes from a list nevertheless."""
        return bool({"val": self.data.val_list, "test": self.data.test_list}.get(name))

    def _scan(self) -> PairList:
        data = self.data
        if data.train_dir or data.test_dir:
            raise UserError(
                "data.train_dir and data.test_dir go with lists only: set both to '' (all images "
                "below data.root are used), or name the lists"
            )
        scan = data.data_set.find_pairs
        assert scan is not None
        pairs, notes = scan(data.root, data.gt_root or data.root)
        self.left_out += notes
        return pairs


def is_searched(data: DataConfig) -> bool:
    """Whether a folder is searched for the images and divided, for want of lists."""
    return data.data_set.find_pairs is not None and data.train_list is None


def _describe_unpaired(name: SplitName, pairs: PairList) -> Notes:
    images = pairs.without_depth.images
    if not images:
        return []
    return [
        f"{name}: {len(images)} of {len(pairs)} images have no ground truth and are left out, "
        f"first {images[0]}"
    ]


def _describe_repeats(name: SplitName, pairs: PairList) -> Notes:
    """Pictures that are in a list twice: by the same path, or in two formats."""
    shared = set(pairs.depths.take(pairs.depths.lookup.repeated()))
    if not shared:
        return []
    counts = Counter((without_suffix(p.image), p.depth) for p in pairs if p.depth in shared)
    repeated = [image for (image, _), count in counts.items() if count > 1]
    if not repeated:
        return []
    return [
        f"{name}: {len(repeated)} images are listed more than once, first {repeated[0]}: each "
        "time counts"
    ]


def _nothing_to_train_on(data: DataConfig, others: PairList) -> str:
    num_pairs = int(others.has_depth.sum())
    return (
        f"no training images in {data.root}: of {num_pairs} images with depth that are not "
        f"in a list, data.test_share={data.test_share:g} and "
        f"data.val_share={data.val_share:g} leave none"
    )


def _describe_new(pairs: PairList, data: DataConfig) -> Notes:
    if not pairs:
        return []
    scenes = sorted(data.number_scenes(pairs.images)[1])
    return [
        f"{len(pairs)} images of {len(scenes)} scene(s), first {scenes[0]}, are newer than the run "
        "and in none of its splits: not used; a new run (experiment=NAME) divides them too"
    ]


def _describe_last(name: SplitName, pairs: PairList) -> str:
    return (
        f"{name}: the last {len(pairs)} images by name, as all are in one folder: if that is "
        "a video, or one place, this is a split by frames of it, and scores say little about others"
    )


def _real_path(data: DataConfig, pair: Pair) -> str:
    """One name for each image: a list may name it absolutely, or through a link."""
    return os.path.realpath(data.root / pair.image)


def _set_apart(name: SplitName, pairs: PairList, data: DataConfig) -> tuple[PairList, Notes]:
    if not pairs:
        share = getattr(DataConfig, f"{name}_share")
        raise UserError(
            f"no {name} images: set data.{name}_share={share:g}, or name a list of them in "
            f"data.{name}_list"
        )
    scenes = sorted(data.number_scenes(pairs.images)[1])
    more = ", ..." if len(scenes) > _SCENES_NAMED else ""
    return pairs, [
        f"{name}: {len(pairs)} images of {len(scenes)} scene(s), set apart from training with "
        f"seed {CARVE_SEED}: {', '.join(scenes[:_SCENES_NAMED])}{more}"
    ]
