"""Which files go into a pack: of every split of a config, each once, in the order of the lists."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from common.data.data_config import DataConfig
from common.data.splits import Split
from common.errors import UserError
from common.files import retried
from common.fingerprints import facts_of
from common.packed import CHUNK, PackedStrings, Packer
from common.progress import tracked
from common.shards import find_shards, hashes_of

TAR_BLOCK = 512
_HEADERS = 3 * TAR_BLOCK  # a long name takes two blocks more
_LARGEST = 2**31 - 2**12  # of what one read gives
IMAGES, DEPTHS = "root", "gt_root"  # folders of a pack of two roots


@dataclass(frozen=True, eq=False)
class PackPlan:
    """names: of N files in the pack. is_depth: bool [N]. hashes: uint64 [N], of the names.
    facts: int64 [N, 2], bytes and nanoseconds of the last change. roots: of images and depth maps.
    """

    names: PackedStrings
    is_depth: np.ndarray
    hashes: np.ndarray
    facts: np.ndarray
    roots: tuple[Path, Path]
    shard_bytes: int

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_split(self) -> bool:
        """Whether images and depth maps have folders of their own in the pack."""
        return self.roots[0] != self.roots[1]

    def source(self, row: int) -> Path:
        """Where a file lies now."""
        name = self.names[row]
        if self.is_split:
            name = name.partition("/")[2]
        return self.roots[int(self.is_depth[row])] / name

    @cached_property
    def shard_of(self) -> np.ndarray:
        """int64 [N], the number of each file's shard; a pair is in one."""
        sizes = self.facts[:, 0] + _HEADERS
        starts = np.cumsum(sizes) - sizes
        starts = np.where(self.is_depth, np.roll(starts, 1), starts)  # that of its image
        return np.unique(np.maximum.accumulate(starts // self.shard_bytes), return_inverse=True)[1]

    @property
    def num_bytes(self) -> int:
        """What the shards take, and a little more."""
        return int((self.facts[:, 0] + _HEADERS + TAR_BLOCK).sum())

    @cached_property
    def mark(self) -> str:
        """One word for all that decides what the shards hold."""
        digest = hashlib.sha256(f"1 {self.shard_bytes}\n".encode())
        for column in (self.hashes, self.is_depth, self.facts):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()[:32]


def make_plan(data: DataConfig, splits: Sequence[Split], shard_bytes: int) -> PackPlan:
    """A `UserError` where a path leaves its root, or a file is not there."""
    roots = (data.root, data.gt_root or data.root)
    if find_shards(str(roots[0])) or find_shards(str(roots[1])):
        raise UserError(f"data.root: {roots[0]} is a pack already; copy its folder")
    names, kinds = Packer(), bytearray()
    for name, is_depth in _named(splits, roots):
        names.append(name)
        kinds.append(is_depth)
    packed = names.packed()
    hashes, first = np.unique(hashes_of(packed), return_index=True)
    rows = np.sort(first)
    packed, is_depth = packed.take(rows), np.frombuffer(kinds, bool)[rows]
    hashes = hashes_of(packed)
    no_facts = np.zeros((len(rows), 2), np.int64)
    plan = PackPlan(packed, is_depth, hashes, no_facts, roots, shard_bytes)
    return replace(plan, facts=_facts(plan))


def _named(splits: Sequence[Split], roots: tuple[Path, Path]) -> Iterator[tuple[str, bool]]:
    """The name of each file in the pack, pair by pair, and whether it is a depth map."""
    starts = ("", "") if roots[0] == roots[1] else (f"{IMAGES}/", f"{DEPTHS}/")
    for split in splits:
        for sample in split.samples:
            for is_depth, file in enumerate((sample.image_file, sample.depth_file)):
                yield starts[is_depth] + _inside(file, roots[is_depth]), bool(is_depth)


def _inside(file: str, root: Path) -> str:
    name = file.removeprefix(f"{root}/")
    if name == file or ".." in name.split("/") or os.path.normpath(name) != name:
        raise UserError(
            f"{file} is not below {root}, or its path has '..', '.' or '//' in it: a pack holds "
            "files by their place below data.root and data.gt_root; write the list so"
        )
    return name


def _facts(plan: PackPlan) -> np.ndarray:
    found = []
    starts = range(0, len(plan), CHUNK)
    for start in tracked(starts, "looking at files", stays=False):
        rows = range(start, min(start + CHUNK, len(plan)))
        found.append(facts_of([plan.source(row) for row in rows]))
    facts = np.concatenate(found) if found else np.zeros((0, 2), np.int64)
    gone = np.flatnonzero(facts[:, 0] < 0)
    if len(gone):
        file = plan.source(int(gone[0]))
        retried(file.stat)  # says why
        raise UserError(f"cannot read {file}; run scripts/doctor.py")
    if len(facts) and facts[:, 0].max() >= _LARGEST:
        raise UserError(f"{plan.source(int(facts[:, 0].argmax()))} is 2 GB or more; leave it out")
    return facts
