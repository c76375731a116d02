"""Published captions and text features: small files for every image.

    DIR/text/nyu/train/kitchen_0028b/rgb_00045.txt          WorDepth: one sentence
    DIR/text_feat/nyu/train/kitchen_0028b/rgb_00045.pt      one fp16 tensor [1, 1024], CLIP RN50
    DIR/nyu/train/kitchen_0028b/rgb_00045.txt               RSA: several sentences, one a line

Of WorDepth there are 48,695 of each: NYU 24,231 train and 654 test, KITTI 23,158 train and 652
test. A path is that of the image in its list without the suffix, which is put back here to make the
key.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from common.data.lists import read_list
from common.errors import UserError
from common.language.towers import Progress
from common.progress import tracked

ENCODER = "RN50:openai"
FEATURE_DIM = 1024
READERS = 8  # threads: the time goes into opening small files
SUFFIXES = {"nyu": ".jpg", "kitti": ".png"}  # of the images in the published lists
SPLITS = ("train", "test")


@dataclass(frozen=True)
class PublishedEntry:
    """What was published for one image."""

    key: str
    feature: Path
    caption: Path | None  # None: the folder has no captions at all


@dataclass(frozen=True)
class PublishedFiles:
    """The images that have both files, and the files that stand alone."""

    entries: list[PublishedEntry]
    lone: list[Path]


def find_published(
    folder: Path, datasets: Sequence[str], splits: Sequence[str], keys: dict[str, str] | None = None
) -> PublishedFiles:
    """The published files of some data sets and splits, in the order of their names.

    keys: path without suffix -> key, as `keys_of_lists` makes it; other images are left out.
    """
    _check_layout(folder)
    entries: dict[str, PublishedEntry] = {}
    lone: list[Path] = []
    for dataset, split in ((d, s) for d in datasets for s in splits):
        features = _files_below(folder / "text_feat" / dataset / split, ".pt")
        captions = _files_below(folder / "text" / dataset / split, ".txt")
        lone += [file for stem, file in features.items() if captions and stem not in captions]
        lone += [file for stem, file in captions.items() if stem not in features]
        for stem in features:
            key = stem + SUFFIXES[dataset] if keys is None else keys.get(stem)
            if key is not None and (stem in captions or not captions):
                _add(entries, PublishedEntry(key, features[stem], captions.get(stem)))
    if not entries:
        raise UserError(
            f"{folder}: no features for {', '.join(datasets)} ({', '.join(splits)}) below "
            "text_feat; check --dataset, --split and --list"
        )
    return PublishedFiles(list(entries.values()), lone)


def find_texts(
    folder: Path, datasets: Sequence[str], splits: Sequence[str], keys: dict[str, str] | None = None
) -> dict[str, Path]:
    """Key -> text file, of the published captions alone: below `folder` or its folder `text`.

    keys: path without suffix -> key, as `keys_of_lists` makes it; other images are left out. A path
    may start with the name of the split, as in lists of both splits.
    """
    roots = [folder / "text", folder]
    texts: dict[str, Path] = {}
    for dataset, split in ((d, s) for d in datasets for s in splits):
        for stem, file in _first_files([root / dataset / split for root in roots]).items():
            key = stem + SUFFIXES[dataset]
            if keys is not None:
                key = keys.get(stem) or keys.get(f"{split}/{stem}", "")
            if key and texts.setdefault(key, file) != file:
                raise UserError(
                    f"{texts[key]} and {file} are both for {key}; import them into two files with "
                    "--dataset and --split"
                )
    return texts


def _first_files(folders: Sequence[Path]) -> dict[str, Path]:
    """The text files of the first folder that is there."""
    found = next((folder for folder in folders if folder.is_dir()), None)
    return {} if found is None else _files_below(found, ".txt")


def keys_of_lists(paths: Iterable[Path]) -> dict[str, str]:
    """Image path without suffix -> image path, over list files."""
    images = (pair.image for path in paths for pair in read_list(path))
    return {str(PurePosixPath(image).with_suffix("")): image for image in images}


def read_features(files: Sequence[Path], progress: Progress = lambda count: None) -> Tensor:
    """fp16 [N, 1024]; a row of nan where a file cannot be used (`read_feature` says why)."""
    rows = []
    with ThreadPoolExecutor(READERS) as pool:
        for row in pool.map(_feature_or_nan, files):
            rows.append(row)
            progress(1)
    return torch.stack(rows)


def read_captions_of(entries: Sequence[PublishedEntry]) -> tuple[dict[str, str], list[str]]:
    """Key -> caption of those that have one, and what is wrong with the others."""
    files = {entry.key: entry.caption for entry in entries if entry.caption is not None}
    texts, problems = read_texts(files)
    problems += [
        f"{files[key]} has {len(lines)} captions, and there is one feature (of several captions "
        "scripts/import_captions.py makes a caption file)"
        for key, lines in texts.items()
        if len(lines) > 1
    ]
    return {key: lines[0] for key, lines in texts.items() if len(lines) == 1}, problems


def read_texts(files: dict[str, Path]) -> tuple[dict[str, list[str]], list[str]]:
    """Key -> captions, one a line, of text files by key; what is wrong with the others."""
    texts: dict[str, list[str]] = {}
    problems: list[str] = []
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(_lines_or_problem, files.values())
        for key, (lines, problem) in tracked(
            zip(files, read, strict=True), "reading captions", len(files)
        ):
            if problem:
                problems.append(problem)
            else:
                texts[key] = lines
    return texts, problems


def problems_of(entries: Sequence[PublishedEntry], features: Tensor) -> list[str]:
    """What is wrong with the files whose row of `features` [N, 1024] is nan."""
    usable = features.isfinite().all(dim=1).tolist()
    return [_problem(e.feature) for e, good in zip(entries, usable, strict=True) if not good]


def _problem(path: Path) -> str:
    try:
        read_feature(path)
    except UserError as error:
        return str(error)
    return f"{path} changed while it was read"


def read_feature(path: Path) -> Tensor:
    """fp16 [1024]; no pickled code runs. A `UserError` says what is wrong with the file."""
    try:
        feature = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # reading damaged bytes fails in many ways
        code = re.search(r"GLOBAL (\S+)", str(error))
        reason = (
            f"pickled code ({code[1]}), not run" if code else f"damaged: {type(error).__name__}"
        )
        raise UserError(f"{path} is no feature file ({reason})") from error
    if not isinstance(feature, Tensor) or feature.numel() != FEATURE_DIM:
        found = list(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__
        raise UserError(f"{path} holds {found}, not one tensor [1, {FEATURE_DIM}]")
    is_plain = feature.layout == torch.strided and feature.device.type == "cpu"
    if not is_plain or not feature.is_floating_point():
        found = f"{feature.dtype}, {feature.layout}, {feature.device}".replace("torch.", "")
        raise UserError(f"{path} holds a tensor of another kind ({found})")
    feature = feature.detach().flatten().half()
    if not torch.isfinite(feature).all():
        raise UserError(f"{path} holds numbers that are not finite")
    if not feature.any():
        raise UserError(f"{path} holds zeros only")
    return feature


def _lines_or_problem(path: Path) -> tuple[list[str], str]:
    """The lines that are not blank: a captioner may have said nothing."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return [], f"{path} is no caption: {error}"
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines, "" if lines else f"{path} is empty"


def _check_layout(folder: Path) -> None:
    if not (folder / "text_feat").is_dir():
        raise UserError(
            f"{folder} has no folder text_feat; expected text/<dataset>/<split>/<image>.txt and "
            "text_feat/<dataset>/<split>/<image>.pt as the authors published them"
        )


def _files_below(folder: Path, suffix: str) -> dict[str, Path]:
    """Path below `folder` without the suffix -> file; sorted, links followed, hidden names left."""
    return {
        str(path.relative_to(folder))[: -len(suffix)]: path
        for path in sorted(_walk(folder))
        if path.suffix == suffix and not path.name.startswith(".")
    }


def _walk(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder, followlinks=True):
        yield from (Path(place, name) for name in names)


def _add(entries: dict[str, PublishedEntry], entry: PublishedEntry) -> None:
    if entry.key in entries:
        raise UserError(
            f"{entries[entry.key].feature} and {entry.feature} are both for {entry.key}; import "
            "them into two files with --dataset and --split"
        )
    entries[entry.key] = entry


def _feature_or_nan(path: Path) -> Tensor:
    try:
        return read_feature(path)
    except UserError:
        return torch.full((FEATURE_DIM,), torch.nan, dtype=torch.float16)
