"""Are there test images among the training images: by path, by scene, or by content?

Contents are compared without reading them all: only files of equal size can be equal, of these the
beginning and the end are hashed, and of those that still agree the whole.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from common.data.data_config import DataConfig
from common.data.lists import scene_of
from common.data.shared_scenes import find_shared_scenes
from common.errors import UserError
from common.fingerprints import file_sha256
from common.shards import place_of
from scripts.doctor_checks.files import ListedFiles
from scripts.doctor_checks.findings import (
    Finding,
    advice,
    fine,
    in_threads,
    note,
    problem,
    settings,
)

_ENDS = 4096
_DIVIDE = advice("divide the images by scene, each with all its frames in one list")
FileSizes = dict[str, int]  # file -> bytes
Files = dict[str, str]  # image key -> file


def compare_lists(name: str, other: str, files: Files, other_files: Files) -> list[Finding]:
    """Images that are in both lists."""
    taken = set(other_files.values())
    shared = [key for key, file in files.items() if file in taken]
    if shared and len(shared) == len(files) == len(other_files):
        return [_same_list(name, other, shared)]
    if shared:
        return [_overlap(name, other, f"{len(shared):,} images are in both lists", shared)]
    return []


def compare_scenes(listed: ListedFiles, other: ListedFiles, data: DataConfig) -> list[Finding]:
    """Scenes that are in both lists; where they are known, training must have none of them."""
    name, other_name = listed.split, other.split
    scenes = {scene_of(key) for key in listed.samples.keys}
    shared = find_shared_scenes(listed.samples, other.samples, data)
    if shared is not None and shared.is_known and name == "train" and len(scenes) > 1:
        cause = "the frames were divided, and not the scenes (videos, drives, rooms)"
        fix = settings("data.val_list=null") if other_name == "val" else _DIVIDE
        text = shared.describe(other_name)
        return [problem("scene_overlap", text, shared.scenes, cause, fix)]
    if shared is not None and name == "train":
        return [note("scene_overlap", shared.describe(other_name), shared.scenes)]
    scenes &= {scene_of(key) for key in other.samples.keys}
    if not scenes:
        return []
    text = f"{name} and {other_name} have {len(scenes):,} scenes (folders) in common"
    cause = "fine for splits by frame and for folders named by room type; not for splits by scene"
    return [note("scene_overlap", text, sorted(scenes), cause)]


def _same_list(name: str, other: str, shared: list[str]) -> Finding:
    text = f"{name} and {other} are the same {len(shared):,} images"
    if "train" in (name, other):
        return _overlap(name, other, text, shared)
    cause = "best.pt is then chosen on the images it is tested on: quote last.pt"
    return note("val_is_test", text, shared, cause, advice("set data.val_list to other images"))


def _overlap(name: str, other: str, text: str, shared: list[str]) -> Finding:
    cause = f"{name} and {other} were not split, or one list was copied into the other"
    fix = advice(f"take these lines off the {name if name != 'test' else other} list")
    return problem("train_test_overlap", f"{name}, {other}: {text}", shared, cause, fix)


def compare_contents(
    name: str, other: str, files: Files, other_files: Files, sizes: FileSizes
) -> list[Finding]:
    """Different files of the two lists with the very same bytes."""
    shared = set(files.values()) & set(other_files.values())
    left = {file: key for key, file in files.items() if file not in shared}
    right = {file: key for key, file in other_files.items() if file not in shared}
    pairs = _equal_files(left, right, sizes)
    if not pairs:
        compared = f"{name}/{other}: no image of the one has the content of one of the other"
        return [fine("duplicates", compared)]
    cases = [f"{left[a]} = {right[b]}" for a, b in pairs]
    text = f"{len(pairs):,} images of {name} have the same content as one of {other}"
    return [_overlap(name, other, text, cases)]


def _equal_files(left: Files, right: Files, sizes: FileSizes) -> list[tuple[str, str]]:
    """One pair for each file of `left` that has a twin in `right`."""
    groups = _grouped(left, right, lambda file: str(sizes.get(file, -1)))
    for digest, label in ((_digest_ends, "comparing sizes"), (_digest, "comparing contents")):
        candidates = [file for one, two in groups for file in (*one, *two)]
        digests = dict(zip(candidates, in_threads(digest, candidates, label), strict=True))
        groups = [part for one, two in groups for part in _grouped(one, two, digests.__getitem__)]
    return [(file, two[0]) for one, two in groups for file in one]


def _grouped(
    left: Iterable[str], right: Iterable[str], mark: Callable[[str], str]
) -> list[tuple[list[str], list[str]]]:
    """The files of both sides with equal marks; marks of one side only, and "", are dropped."""
    groups: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, files in enumerate((left, right)):
        for file in files:
            groups[mark(file)][side].append(file)
    return [(one, two) for name, (one, two) in groups.items() if one and two and name]


def _digest_ends(file: str) -> str:
    try:
        shards, name = place_of(file)
        if shards is not None:
            content = shards.read(name)
            ends = content[:_ENDS] + content[max(len(content) - _ENDS, 0) :]
            return hashlib.md5(ends, usedforsecurity=False).hexdigest()
        with Path(file).open("rb") as stream:
            start = stream.read(_ENDS)
            stream.seek(max(stream.seek(0, os.SEEK_END) - _ENDS, 0))
            return hashlib.md5(start + stream.read(_ENDS), usedforsecurity=False).hexdigest()
    except (OSError, UserError):
        return ""


def _digest(file: str) -> str:
    try:
        return file_sha256(file)
    except UserError:
        return ""
