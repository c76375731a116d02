"""The list file of a split: which one it is, and what it says."""

from pathlib import Path

from common.data.data_config import DataConfig
from common.data.data_set import ListFile
from common.data.lists import Notes, find_file, read_noted_list
from common.data.pairs import PairList
from common.data.samples import MIN_SHARE, SplitName
from common.data.sets import PUBLISHED_SPLITS
from common.errors import UserError


def list_path(data: DataConfig, split: SplitName) -> Path | None:
    """The list file that a split comes from; it may not exist. None: there is no list."""
    name = _named(data, split) or (data.train_list if split == "val" else None)
    if name is not None:
        return find_file(name, data.root)
    return None if data.split is None else _published_path(data, _published(data.split, split))


def read_split_list(data: DataConfig, split: SplitName) -> tuple[PairList, Notes]:
    """The pairs of a split's own list; notes for the log: what of it is not read, or lacking.

    A `UserError` if there is none, or if it is not the published list it should be.
    """
    name = _named(data, split)
    if name is not None:
        return read_noted_list(find_file(name, data.root))
    if data.split is None:
        raise UserError(f"data.{split}_list is not set; name the list file of this split")
    listed = _published(data.split, split)
    path = _published_path(data, listed)
    if not path.is_file():
        raise UserError(
            f"no list file {listed.file} (data.split={data.split}) in {data.root} or "
            f"{data.root.parent}; docs/data.md says where to get it, or set data.{split}_list"
        )
    pairs, notes = read_noted_list(path)
    where = f"data.split={data.split}: {path}"
    return pairs, notes + _check_counts(pairs, listed, where, data.allow_missing)


def _named(data: DataConfig, split: SplitName) -> str | None:
    return {"train": data.train_list, "val": data.val_list, "test": data.test_list}[split]


def _published(name: str, split: SplitName) -> ListFile:
    published = PUBLISHED_SPLITS[name]
    return published.test if split == "test" else published.train


def _published_path(data: DataConfig, listed: ListFile) -> Path:
    """In the data root, or in the folder that holds it."""
    places = [data.root / listed.file, data.root.parent / listed.file]
    return next((place for place in places if place.is_file()), places[0])


def _check_counts(pairs: PairList, listed: ListFile, where: str, allow_missing: bool) -> Notes:
    """Refuse a list that is cut off or is another one; with `allow_missing` note what is short."""
    num_with_gt = int(pairs.has_depth.sum())
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
    if is_cut and not allow_missing:
        raise UserError(
            f"{notes[0]}; get the whole list (docs/data.md), set data.allow_missing=true to go on "
            "with these, or name your own with data.train_list and data.test_list"
        )
    return notes
