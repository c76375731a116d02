"""Is every listed file there, and is it whole?"""

import os
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from common.data.data_config import DataConfig
from common.data.pairs import Pair, PairList
from common.data.samples import MIN_SHARE, Sample, Samples, SplitName, name_files, which_exist
from common.errors import UserError
from common.files import read_bytes, retried
from common.images.containers import is_cut_off
from common.images.folder_index import FolderIndex
from common.shards import place_of, stored_facts
from scripts.doctor_checks.causes import ListColumn, RootKeys, Search, explain_missing
from scripts.doctor_checks.findings import Finding, Fix, advice, fine, in_threads, note, problem
from scripts.doctor_checks.lists import editable_list

# Where nothing follows a whole picture, its file ends so: JPEG, and PNG with its checksum.
_ENDS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND\xaeB`\x82"}
_CHUNK = 2000


@dataclass(frozen=True, eq=False)
class ListedFiles:
    """The pairs of a split that have ground truth. has_image, has_depth: bool [N], is it there?"""

    split: SplitName
    pairs: PairList  # as listed
    samples: Samples  # their files, in the same order
    has_image: np.ndarray
    has_depth: np.ndarray

    @cached_property
    def present(self) -> list[Sample]:
        """Those of which both files are there."""
        return list(self.samples.take(self.has_image & self.has_depth))

    def take(self, rows: np.ndarray) -> list[tuple[Pair, Sample]]:
        """Some as listed, each with its files. rows: bool [N]."""
        return list(zip(self.pairs.take(rows), self.samples.take(rows), strict=True))


def locate_files(data: DataConfig, split: SplitName, pairs: PairList) -> ListedFiles:
    """Where training would look for the files of a split."""
    index = FolderIndex()
    samples = name_files(data, split, pairs, index)
    return ListedFiles(split, pairs.with_depth, samples, *which_exist(samples, index))


def check_presence(files: ListedFiles, data: DataConfig, command: Fix) -> list[Finding]:
    """Missing images and missing depth maps, each with the likely cause."""
    image_keys, depth_keys = places(data, files.split)
    search = Search([image_keys.root_dir, depth_keys.root_dir])
    images = [(pair.image, s.image_file) for pair, s in files.take(~files.has_image)]
    depths = [(pair.depth or "", s.depth_file) for pair, s in files.take(~files.has_depth)]
    num_pairs, findings, source = len(files.pairs), [], editable_list(data, files.split)
    for column, what, kind, missing, keys, other in (
        (1, "missing_image", "images", images, image_keys, depth_keys),
        (2, "missing_depth", "depth maps", depths, depth_keys, image_keys),
    ):
        if not missing:
            continue
        listed = ListColumn([path for path, _ in missing], num_pairs, source, column)
        why = explain_missing(listed, keys, search, other, command)
        text = f"{files.split}: {len(missing):,} of {num_pairs:,} {kind} are missing"
        if not why.is_setting and len(missing) <= (1 - MIN_SHARE) * num_pairs:
            text += " (training would leave these out)"
        code = "wrong_root" if why.is_setting else what
        findings.append(problem(code, text, [file for _, file in missing], why.cause, why.fix))
    if len(findings) == 2:
        findings = _as_one(findings)
    return findings or [fine("present", f"{files.split}: all {num_pairs:,} pairs are there")]


def _as_one(findings: list[Finding]) -> list[Finding]:
    """Images and depth maps that one setting finds are one problem."""
    first, second = findings
    if (first.code, first.fix) != (second.code, second.fix) or first.code != "wrong_root":
        return findings
    text = first.text.replace(" are missing", f", {second.text.partition(': ')[2]}")
    return [replace(first, text=text, count=first.count + second.count)]


def places(data: DataConfig, split: SplitName) -> tuple[RootKeys, RootKeys]:
    """Where images and depth maps of a split start, and by which keys."""
    below = "data.test_dir" if split == "test" else "data.train_dir"
    folder = data.test_dir if split == "test" else data.train_dir
    gt_key = "data.root" if data.gt_root is None else "data.gt_root"
    inner = data.data_set.depth_dirs
    return (
        RootKeys("data.root", data.root, below, folder),
        RootKeys(gt_key, data.gt_root or data.root, below, folder, inner),
    )


def file_sizes(files: list[str]) -> dict[str, int]:
    """File -> bytes; -1 if the file cannot be looked at."""
    return dict(zip(files, in_threads(_size, files, "sizes"), strict=True))


def _size(file: str) -> int:
    try:
        return retried(lambda: stored_facts(file)).size
    except OSError:
        return -1


def check_whole(sizes: dict[str, int], seconds: float) -> list[Finding]:
    """Empty files, and pictures without their end; for `seconds` at most."""
    lost = [file for file, size in sizes.items() if size < 0]
    empty = [file for file, size in sizes.items() if size == 0]
    rest = [file for file, size in sizes.items() if size > 0]
    cut, num_checked, end = [], 0, time.monotonic() + seconds
    for start in range(0, len(rest), _CHUNK):
        if time.monotonic() > end:
            break
        chunk = rest[start : start + _CHUNK]
        marks = in_threads(_lacks_its_end, chunk, "file ends")
        cut += [file for file, is_cut in zip(chunk, marks, strict=True) if is_cut]
        num_checked += len(chunk)
    findings = [] if sizes else [note("no_files", "there is no file to look at")]
    if lost:
        text = f"{len(lost):,} files of {len(sizes):,} are links that lead nowhere"
        cause = "the disk they lie on is not mounted, or they were moved"
        findings.append(
            problem("unreadable", text, lost, cause, advice("mount it, or link them again"))
        )
    if empty or cut:
        text = f"{len(empty):,} files are empty, {len(cut):,} are cut off, of {len(sizes):,}"
        cause = "a full disk, or a copy, a download or an unpacking that was interrupted"
        fix = advice("copy or unpack these files again")
        findings.append(problem("unreadable", text, [*empty, *cut], cause, fix))
    if num_checked < len(rest):
        text = f"only {num_checked:,} of {len(rest):,} file ends were looked at in {seconds:.0f} s"
        findings.append(note("slow_disk", text))
    return findings or [fine("whole", f"all {len(sizes):,} files are whole at their ends")]


def _lacks_its_end(file: str) -> bool:
    """Whether training would call it cut off: its rule, where the last bytes do not settle it."""
    try:
        shards, name = place_of(file)
        if shards is not None:
            content = shards.read(name)
            return content.startswith((*_ENDS, b"RIFF")) and is_cut_off(content)
        with Path(file).open("rb") as stream:
            start = stream.read(4)
            end = next((end for mark, end in _ENDS.items() if start.startswith(mark)), b"")
            stream.seek(max(stream.seek(0, os.SEEK_END) - len(end), 0))
            if end and stream.read() == end:
                return False
        return start.startswith((*_ENDS, b"RIFF")) and is_cut_off(read_bytes(file))
    except (OSError, UserError):
        return True
