"""Which pairs a split consists of: from list files, a named split, or the folder itself.

A test split is never used to choose: validation images are carved, by scene, from the training
images, unless `data.val_list` names some.
"""

import os

from common.data import folder
from common.data.lists import Pair, carve_by_scene, find_file, read_list, scene_of
from common.data.named_splits import NAMED_SPLITS, ListFile, NamedSplit
from common.data.samples import MIN_SHARE, DataConfig, Split
from common.errors import UserError

# The same for every run, so that no run validates on what another one trained on.
CARVE_SEED = 0
_SCENES_NAMED = 20  # in a run's log
Notes = list[str]  # what a run's log should say about where the pairs came from


def configured_splits(data: DataConfig) -> list[Split]:
    """The splits that there are: by a list, by `data.split`, or as a share of the images."""
    is_scanned = data.name == "folder" and data.train_list is None
    is_named = data.split is not None
    has_train = data.test_share < 1 if is_scanned else data.train_list is not None or is_named
    has_val = data.val_list is not None or (has_train and data.val_share > 0)
    has_test = data.test_list is not None or is_named or (is_scanned and data.test_share > 0)
    present: dict[Split, bool] = {"train": has_train, "val": has_val, "test": has_test}
    return [split for split, is_there in present.items() if is_there]


def read_split(data: DataConfig, split: Split) -> tuple[list[Pair], Notes]:
    """The pairs of a split; a `UserError` if a list is not there, or is not what it should be."""
    if not data.root.is_dir():
        raise UserError(f"data.root: no folder {data.root}; set data.root to where the images are")
    if data.name == "folder" and data.train_list is None:
        return _scan_split(data, split)
    if split == "test":
        return _read_list(data, "test")
    if split == "val" and data.val_list is not None:
        return _read_list(data, "val")
    pairs, notes = _read_list(data, "train")
    if data.val_list is not None:
        return pairs, notes
    carve = folder.carve if data.name == "folder" else carve_by_scene
    train, val = carve(pairs, data.val_share, CARVE_SEED)
    return (train, notes) if split == "train" else _carved("val", val, "val_share")


def _read_list(data: DataConfig, split: Split) -> tuple[list[Pair], Notes]:
    name = {"train": data.train_list, "val": data.val_list, "test": data.test_list}[split]
    if name is not None:
        return read_list(find_file(name, data.root)), []
    if data.split is None:
        raise UserError(f"data.{split}_list is not set; name the list file of this split")
    return _read_named(data, NAMED_SPLITS[data.split], split)


def _read_named(data: DataConfig, named: NamedSplit, split: Split) -> tuple[list[Pair], Notes]:
    """A list of a named split, from the data root or the folder that holds it."""
    listed = named.test if split == "test" else named.train
    places = [data.root / listed.file, data.root.parent / listed.file]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(
            f"no list file {listed.file} (data.split={named.name}) in {data.root} or "
            f"{data.root.parent}; docs/data.md says where to get it, or set data.{split}_list"
        )
    pairs = read_list(path)
    return pairs, _check_counts(pairs, listed, f"data.split={named.name}: {path}", data)


def _check_counts(pairs: list[Pair], listed: ListFile, where: str, data: DataConfig) -> Notes:
    """Refuse a list that is cut off or is another one; with `allow_missing` note what is short."""
    num_with_gt = sum(pair.depth is not None for pair in pairs)
    if num_with_gt * MIN_SHARE > listed.num_with_gt:
        raise UserError(
            f"{where} has {num_with_gt} lines with ground truth, this split has only "
            f"{listed.num_with_gt}; correct data.split, or name your list with data.*_list"
        )
    counts = {
        "lines": (len(pairs), listed.num_lines),
        "lines with ground truth": (num_with_gt, listed.num_with_gt),
    }
    short = {what: count for what, count in counts.items() if count[0] < count[1]}
    notes = [
        f"{where} has {found} of {expected} {what}" for what, (found, expected) in short.items()
    ]
    is_cut = any(found < MIN_SHARE * expected for found, expected in short.values())
    if is_cut and not data.allow_missing:
        raise UserError(
            f"{notes[0]}; get the whole list (docs/data.md), set data.allow_missing=true to go on "
            "with these, or name your own with data.train_list and data.test_list"
        )
    return notes


def count_lost_lines(data: DataConfig, split: Split, pairs: list[Pair]) -> int:
    """How many lines with ground truth the test list of a named split has too few."""
    if split != "test" or data.test_list is not None or data.split is None:
        return 0
    num_with_gt = sum(pair.depth is not None for pair in pairs)
    return max(NAMED_SPLITS[data.split].test.num_with_gt - num_with_gt, 0)


def _scan_split(data: DataConfig, split: Split) -> tuple[list[Pair], Notes]:
    """A split of all pairs found in the folder; the listed ones of other splits are left out."""
    if split != "train":
        name = data.test_list if split == "test" else data.val_list
        if name is not None:
            return _read_list(data, split)
    train, val, test = _divide(data, _scan(data))
    if split == "train":
        if not train:
            pairs = sum(pair.depth is not None for pair in (*val, *test))
            raise UserError(
                f"no training images in {data.root}: of {pairs} images with depth that are not "
                f"in a list, data.test_share={data.test_share:g} and "
                f"data.val_share={data.val_share:g} leave none"
            )
        return train, []
    if split == "test" and data.test_share == 1:
        return test, []
    return _carved(split, val if split == "val" else test, f"{split}_share")


def _scan(data: DataConfig) -> list[Pair]:
    if data.train_dir or data.test_dir:
        raise UserError(
            "data.train_dir and data.test_dir go with lists only: set both to '' (all images "
            "below data.root are used), or name the lists"
        )
    return folder.find_pairs(data.root, data.gt_root or data.root)


def _divide(data: DataConfig, pairs: list[Pair]) -> tuple[list[Pair], list[Pair], list[Pair]]:
    """Disjoint training, validation and test pairs; images without depth stay in the first."""
    listed = {
        _real_path(data, pair)
        for name in (data.val_list, data.test_list)
        if name is not None
        for pair in read_list(find_file(name, data.root))
    }
    if data.test_share == 1:
        return [], [], pairs
    without = [pair for pair in pairs if pair.depth is None]
    rest = [
        pair
        for pair in pairs
        if pair.depth is not None and not (listed and _real_path(data, pair) in listed)
    ]
    test_share = data.test_share if data.test_list is None else 0
    rest, test = folder.carve(rest, test_share, CARVE_SEED)
    val_share = data.val_share if data.val_list is None else 0
    train, val = folder.carve(rest, val_share, CARVE_SEED)
    return train + without if train else [], val, test


def _real_path(data: DataConfig, pair: Pair) -> str:
    """One name for each image: a list may name it absolutely, or through a link."""
    return os.path.realpath(data.root / pair.image)


def _carved(split: Split, pairs: list[Pair], key: str) -> tuple[list[Pair], Notes]:
    if not pairs:
        raise UserError(f"no {split} images: set data.{split}_list or data.{key}")
    scenes = sorted({scene_of(pair.image) for pair in pairs})
    more = ", ..." if len(scenes) > _SCENES_NAMED else ""
    return pairs, [
        f"{split}: {len(pairs)} images of {len(scenes)} scene(s), set apart from training with "
        f"seed {CARVE_SEED}: {', '.join(scenes[:_SCENES_NAMED])}{more}"
    ]
