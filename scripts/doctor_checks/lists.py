"""The lists of a data set: readable, whole, the published ones, without repetitions.

Whatever the split finder refuses becomes a finding, and the lines that can be read are still used.
"""

import hashlib
from collections import Counter
from pathlib import Path

from common.data.data_config import DataConfig
from common.data.data_set import ListFile
from common.data.lists import number_scenes, parse_list, read_lines
from common.data.pairs import PairList
from common.data.samples import SplitName
from common.data.split_lists import list_path
from common.data.splits import SplitFinder, configured_splits
from common.errors import UserError
from scripts.doctor_checks.findings import Finding, Fix, advice, fine, note, problem
from scripts.doctor_checks.list_edits import EditableList

Lists = dict[SplitName, PairList]


def read_lists(data: DataConfig, command: Fix) -> tuple[Lists, list[Finding]]:
    """The pairs of every configured split; those of a carved validation split stay in training.

    command: what writes the lists of this data set.
    """
    lists: Lists = {}
    findings: list[Finding] = []
    finder = SplitFinder(data)
    for split in configured_splits(data):
        try:
            lists[split] = finder.pairs(split)[0]
        except UserError as error:
            pairs, found = _salvage(data, split, str(error), command)
            if split != "val" or data.val_list is not None:
                lists[split] = pairs
            findings += [f for f in found if f not in findings]
    findings += [note("not_read", line) for line in dict.fromkeys(finder.left_out)]
    if data.val_list is None and "train" in lists:
        lists["train"] = lists["train"] + lists.pop("val", ())
    lists = {split: pairs for split, pairs in lists.items() if pairs}
    for split, pairs in lists.items():
        findings += _repeats(split, pairs, data) + _without_gt(split, pairs)
    if lists:
        counts = ", ".join(f"{split} {len(pairs):,}" for split, pairs in lists.items())
        findings.insert(0, fine("lists", f"{counts} pairs listed"))
    reported = {example for finding in findings for example in finding.examples}
    return lists, findings + _published(data, reported, command)


def editable_list(data: DataConfig, split: SplitName) -> EditableList | None:
    """The list file that a split comes from and the key that names it; None: there is no list."""
    path = list_path(data, split)
    is_carved = split == "val" and data.val_list is None
    return path and EditableList(path, f"data.{'train' if is_carved else split}_list")


def _salvage(
    data: DataConfig, split: SplitName, error: str, command: Fix
) -> tuple[PairList, list[Finding]]:
    """The readable lines of a list that the split finder refused with `error`."""
    text, _, remedy = error.partition("; ")
    listed = editable_list(data, split)
    if listed is None:
        return PairList.of(()), [problem("no_pairs", error, fix=command)]
    path = listed.path
    if not path.is_file():
        cause = "the list was not downloaded yet, or lies in another folder"
        return PairList.of(()), [problem("list_missing", text, [str(path)], cause, command)]
    try:
        lines = list(read_lines(path))
    except (OSError, UnicodeError):
        cause = "an archive or an editor's file under the list's name, or UTF-16"
        return PairList.of(()), [problem("list_unreadable", text, [str(path)], cause, command)]
    if lines and lines[0].lstrip().startswith("<"):
        text = f"{path} is a web page, not a list"
        cause = "a download that got the server's error page in place of the file"
        return PairList.of(()), [problem("list_unreadable", text, [str(path)], cause, command)]
    parsed = parse_list(path, lines)
    pairs, bad = parsed.pairs, parsed.mistakes
    if bad:
        text = f"{len(bad)} of {len(lines):,} lines of {path.name} cannot be read"
        cause = "a list that was cut off, edited, or has columns of another order or number"
        fix = advice("write each line as 'IMAGE DEPTH FOCAL', with tabs if a path has spaces")
        return pairs, [problem("list_unreadable", text, bad, cause, fix)]
    if len(pairs) > 1 and len(number_scenes(pairs.images)[1]) == 1:
        if all("\\" in pair.image for pair in pairs):  # of Windows: all of it looks like a name
            parts = listed.with_slashes()
        else:
            parts = listed.divided(len(lines), max(round(data.val_share * len(lines)), 1))
        return pairs, [problem("list_refused", text, [str(path)], fix=parts)]
    code = "list_count" if "lines" in text else "list_refused"
    return pairs, [problem(code, text, [str(path)], fix=advice(remedy) if remedy else command)]


def _repeats(split: SplitName, pairs: PairList, data: DataConfig) -> list[Finding]:
    """Images, and depth maps, that a list names more than once."""
    findings = []
    images = Counter(pair.image for pair in pairs)
    repeated = [image for image, count in images.items() if count > 1]
    if repeated:
        text = f"{split}: {len(repeated):,} images are listed more than once"
        listed = editable_list(data, split)
        fix = listed.without_repeats() if listed else advice("name every image once")
        findings.append(problem("list_repeats", text, repeated, "two lists were joined", fix))
    depths = Counter(p.depth for p in pairs if p.depth is not None and images[p.image] == 1)
    shared = [depth for depth, count in depths.items() if count > 1]
    if shared:
        text = f"{split}: {len(shared):,} depth maps belong to more than one image"
        cause = "images were matched to the nearest depth map in time, or lines are mixed up"
        findings.append(note("shared_depth", text, shared, cause))
    return findings


def _without_gt(split: SplitName, pairs: PairList) -> list[Finding]:
    without = [pair.image for pair in pairs if pair.depth is None]
    if not without:
        return []
    text = f"{split}: {len(without):,} of {len(pairs):,} images have no ground truth: skipped"
    return [note("no_ground_truth", text, without)]


def _published(data: DataConfig, reported: set[str], command: Fix) -> list[Finding]:
    """Compare list files that bear a published list's name with it, but those reported already."""
    splits = data.data_set.splits
    published = {listed.file: listed for split in splits for listed in (split.train, split.test)}
    names = [s for s in configured_splits(data) if s != "val" or data.val_list is not None]
    paths = [list_path(data, name) for name in names]
    findings = []
    for path in paths:
        if path is None or str(path) in reported or not path.is_file():
            continue
        if path.name in published:
            findings.append(_compare(path, published[path.name], command))
    return findings


def _compare(path: Path, listed: ListFile, command: Fix) -> Finding:
    content = path.read_bytes()
    lines = sum(bool(line.strip()) for line in content.splitlines())
    if lines != listed.num_lines:
        text = f"{path.name} has {lines:,} lines, the published list {listed.num_lines:,}"
        if lines > listed.num_lines / 2:
            cause = "a list that was cut off or edited; results would not compare with others"
            return problem("list_count", text, [str(path)], cause, command)
        return note("list_count", text, [str(path)], "a part of the list, for trying things out")
    if listed.sha256 is not None and hashlib.sha256(content).hexdigest()[:12] != listed.sha256:
        text = f"{path.name} has the published number of lines but not its exact content"
        cause = "another release, line endings or order; or edited lines"
        return note("list_hash", text, [str(path)], cause)
    return fine("list_hash", f"{path.name}: {lines:,} lines, as published")
