"""A run goes on with the data it started with, or not at all; and no image is scored as if unseen.

Each check compares what a checkpoint keeps (`kept_data.py`) with a split as it is now.
"""

from dataclasses import replace

from torch import Tensor

from common.data.data_config import DataConfig
from common.data.dataset import DepthDataset
from common.data.kept_data import KeptData
from common.data.pairs import PairList
from common.data.samples import MIN_SHARE
from common.data.splits import Split
from common.errors import UserError

_TOLERANCE = 0.05  # relative; machines and number formats differ by 0.01 at most
GO_ON = (
    "start a run of its own with experiment=NAME, or go on all the same with "
    "data.allow_changed=true"
)


def as_kept(split: Split, before: KeptData, is_changed_allowed: bool = False) -> Split:
    """The split with exactly the images that the run started with.

    Images that were missing then and are there now stay out. A `UserError` if the list says
    otherwise now, or if images are gone, unless that is allowed.
    """
    wanted, there = before.images[split.name], split.samples.keys
    gone = wanted.take(there.lookup.find_all(wanted) < 0)
    problem = _compare_lists(before.pairs[split.name], split.pairs)
    if not problem and not gone:
        return replace(split, samples=split.samples.take(wanted.lookup.find_all(there) >= 0))
    problem = problem or f"{len(gone)} of {len(wanted)} are not there, first {gone[0]}"
    if not is_changed_allowed:
        raise UserError(
            f"{split.name}: the images are no longer those of this run: {problem}; bring back what "
            f"was there, {GO_ON}"
        )
    note = f"{split.name}: goes on with other images than it started with: {problem}"
    return replace(split, notes=(*split.notes, note))


def compare_files(split: Split, before: KeptData, is_changed_allowed: bool) -> list[str]:
    """Notes about files that are others than those the run read; a few change no result.

    A `UserError` if there are more, unless that is allowed.
    """
    files = before.known_files(split.samples, split.name)
    changed = before.files[split.name].changed(files)
    if not changed:
        return []
    found = (
        f"{split.name}: {len(changed)} of {len(files)} files are no longer those that this run "
        f"read, first {changed[0]}"
    )
    is_few = len(changed) <= max(1, (1 - MIN_SHARE) * len(files))
    if is_few or is_changed_allowed:
        return [found]
    raise UserError(f"{found}; point data.root at the data of this run, {GO_ON}")


def compare_words(dataset: DepthDataset, before: KeptData, is_changed_allowed: bool) -> list[str]:
    """Notes about captions and features that are others than those the run read.

    A `UserError` if the network would read others, unless that is allowed.
    """
    name, now = dataset.split.name, dataset.words
    then = before.words[name]
    others = [kind for kind in ("text", "image") if _differ(then.get(kind), now.get(kind))]
    found = [
        f"{name}: the {kind} features are no longer those that this run read" for kind in others
    ]
    if now["captions_sha256"] != then["captions_sha256"]:
        found.append(f"{name}: the captions are no longer those that this run read")
    is_read = bool(others) or "text" not in now
    if not found or is_changed_allowed or not is_read:
        return found
    raise UserError(f"{found[0]}; bring them back, {GO_ON}")


def _differ(then: Tensor | None, now: Tensor | None) -> bool:
    """Whether two samples of features [S, D] are of different encoders or words."""
    if then is None or now is None:
        return False  # a network without words reads none
    if then.shape != now.shape:
        return True
    return bool(((then - now).norm(dim=1) > _TOLERANCE * then.norm(dim=1)).any())


def check_unseen(split: Split, kept: KeptData, data: DataConfig) -> None:
    """Raise a `UserError` if a checkpoint was trained on images of the split."""
    seen = describe_seen(split, kept, data, "this checkpoint")
    if seen:
        raise UserError(seen)


def describe_seen(split: Split, kept: KeptData, data: DataConfig, by: str) -> str:
    """Which images of the split were trained on and by whom, in words; empty: none."""
    rows = kept.images["train"].lookup.find_all(split.samples.keys)
    met = {s.key: s.image_file for s in split.samples.take(rows >= 0)}
    others = set(kept.files["train"].changed({**kept.places(data), **met})) if met else set()
    seen = [key for key in met if key not in others]
    if not seen:
        return ""
    settings = kept.other_settings(data)
    remedy = f"set {' '.join(settings)}, as then" if settings else "take them out of the list"
    return (
        f"{split.name}: {len(seen)} of {len(split.samples)} images were trained on by {by}, first "
        f"{seen[0]}; {remedy}"
    )


def _compare_lists(before: PairList, now: PairList) -> str:
    """What differs between two lists, in words; empty: nothing."""
    if before.images == now.images and before.depths == now.depths:
        return ""
    lines, new_lines = set(before), set(now)
    sides = (new_lines - lines, "more"), (lines - new_lines, "fewer")
    parts = [
        f"{len(pairs)} {what}, first {min(pair.image for pair in pairs)}"
        for pairs, what in sides
        if pairs
    ]
    return " and ".join(parts) or "they stand in another order"
