"""Captions and features: is there one for every image, and do they belong to these images?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from common.errors import UserError
from common.language.captions import Captions, captions_of, sift_entries
from common.language.feature_files import FeatureTable, open_table
from common.language.feature_store import FeatureStore
from common.language.features import Resolve, TextConfig, has_other_captions, names_in
from llm_mde.config import LLMMDEConfig
from scripts.doctor_checks.commands import Commands
from scripts.doctor_checks.findings import (
    Finding,
    Fix,
    advice,
    fine,
    note,
    problem,
    settings,
    some_of,
)
from scripts.doctor_checks.lengths import check_cut, check_prompts, cut_finding

ImageKeys = dict[str, list[str]]  # list name -> image keys
_NUM_CHECKED_ROWS = 20_000
_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)


def check_text(
    text: TextConfig,
    keys: ImageKeys,
    resolve: Resolve,
    commands: Commands,
    flip: bool = True,
    is_needed: bool = True,
    llm_mde: LLMMDEConfig | None = None,
) -> list[Finding]:
    """Captions, text features and image features of all lists.

    commands: what makes each of them, see `commands_for`.
    flip: training flips images.
    is_needed: a caption file that is not there is a problem, and not a note.
    llm_mde: its config, whose language model reads the captions in place of `text.encoder`.
    """
    captions, findings = _check_captions(text, keys, resolve, commands["caption"], flip, is_needed)
    used = _used(captions, keys)
    if llm_mde is not None:
        findings += check_prompts(llm_mde, used)
    elif used and not text.features:
        findings += check_cut(text, used)
    findings += _check_features(
        "text", text.features, text, keys, resolve, captions, *_encoding(commands, "encode")
    )
    again = _encoding(commands, "encode_images")
    no_captions = Captions.of({})
    findings += _check_features(
        "image", text.image_features, text, keys, resolve, no_captions, *again
    )
    if not text.captions and not text.features:
        line = "neither captions nor text features are configured: training without language only"
        findings.append(note("caption_missing", line, fix=advice("set text.captions")))
    return findings


def _encoding(commands: Commands, name: str) -> tuple[Fix, Fix]:
    """What adds to a feature file, and what makes a new one."""
    return commands[name], commands[f"{name}_anew"]


def _check_captions(
    text: TextConfig, keys: ImageKeys, resolve: Resolve, command: Fix, flip: bool, is_needed: bool
) -> tuple[Captions, list[Finding]]:
    """All captions by key, and what is wrong with them."""
    entries: list[tuple[str, list[str]]] = []
    findings: list[Finding] = []
    for name in names_in(text.captions):
        path = resolve(name)
        if path.is_file():
            found, bad = _read_captions(path)
            entries += found
            findings += bad
        else:
            line = f"there is no caption file {path}"
            make, fix = (
                (problem, command) if is_needed else (note, replace(command, advice=_WITHOUT))
            )
            findings.append(make("caption_missing", line, [str(path)], _NOT_MADE, fix))
    captions = Captions.of(entries, text.join_captions)
    if captions:
        findings += _coverage("caption", captions, keys, command) + _contents(captions, keys, flip)
    if not text.join_captions:
        findings += _replaced(entries, len(captions))
    return captions, findings


def _replaced(entries: list[tuple[str, list[str]]], num_images: int) -> list[Finding]:
    """Images with several lines, of which only the last is read."""
    if len(entries) == num_images:
        return []
    times = Counter(key for key, _ in entries)
    images = [key for key, count in times.items() if count > 1]
    text = f"{len(images):,} images come several times in text.captions; the last one is read"
    return [note("caption_replaced", text, images, fix=settings("text.join_captions=true"))]


_NOT_MADE = "captions were not made or downloaded yet, or text.captions names another place"
_WITHOUT = "a network without words needs none: text.captions=null"


def _read_captions(path: Path) -> tuple[list[tuple[str, list[str]]], list[Finding]]:
    """Key and captions of the good lines of a file, and one finding about all the others."""
    try:
        entries, bad = sift_entries(path)
    except UserError as error:
        return [], [problem("caption_unreadable", str(error), [str(path)])]
    captions = [(entry["image"], captions_of(entry)) for entry in entries]
    if not bad:
        return captions, []
    text = f"{len(bad)} lines of {path.name} are not a caption"
    cause = "empty captions, half characters, or a file that was cut off or is not UTF-8"
    line = '{"image": "<path as in the list>", "caption": "..."}'
    fix = advice(f'each line must be {line}, or have "captions": ["...", ...]')
    return captions, [problem("caption_unreadable", text, bad, cause, fix)]


def _coverage(kind: str, known: Iterable[str], keys: ImageKeys, command: Fix) -> list[Finding]:
    """One finding per list: all images have a caption (or feature), or which have none."""
    known = set(known)
    findings, covered = [], []
    for name, wanted in keys.items():
        missing = [key for key in wanted if key not in known]
        if not missing:
            covered.append(f"{name} {len(wanted):,}")
            continue
        text = f"{name}: {len(missing):,} of {len(wanted):,} images have no {kind}"
        cause = _why_uncovered(kind, missing, known, len(wanted))
        findings.append(problem(f"{kind.split()[-1]}_missing", text, missing, cause, command))
    if covered:
        findings.insert(
            0,
            fine(f"{kind}s".replace(" ", "_"), f"{kind}s cover every image: {', '.join(covered)}"),
        )
    return findings


def _why_uncovered(kind: str, missing: list[str], known: set[str], total: int) -> str:
    """The usual reason is a key that is written in another way."""
    key, other = missing[0], _same_image(missing[0], known)
    if other is not None:
        return f"the {kind}s are keyed by another path: '{other}' where the list has '{key}'"
    if len(missing) == total:
        return f"the {kind}s were made for other images"
    return f"the {kind}s were made for another list, or making them was interrupted"


def _same_image(key: str, known: set[str]) -> str | None:
    """A known key that ends like `key` or is a part of its end; suffixes do not count."""
    stem = key.rsplit(".", 1)[0]
    for other in known:
        short, long = sorted((stem, other.rsplit(".", 1)[0]), key=len)
        if short.count("/") and (long == short or long.endswith(f"/{short}")):
            return other
    return None


def _used(captions: Captions, keys: ImageKeys) -> Captions:
    return captions.select(dict.fromkeys(key for wanted in keys.values() for key in wanted))


def _contents(captions: Captions, keys: ImageKeys, flip: bool) -> list[Finding]:
    used = _used(captions, keys)
    findings = []
    if used.lists.has_several:
        fewest, most = used.lists.counts.min(), used.lists.counts.max()
        text = f"an image has {fewest} to {most} captions: training draws one, scoring reads the"
        findings.append(fine("captions_per_image", f"{text} first (text.caption_choice)"))
    distinct = Counter(caption for _, caption in used.every())
    if len(used) >= 20 and len(distinct) <= len(used) / 100:
        usual = distinct.most_common(1)[0][0]
        text = f"{len(used):,} images share {len(distinct)} captions, most often '{usual}'"
        findings.append(note("caption_constant", text, cause="language can tell nothing apart"))
    sided = [key for key, caption in used.every() if flip and _SIDE.search(caption)]
    if sided:
        text = f"{len(sided):,} captions say left or right, and training flips images"
        findings.append(note("caption_side", text, sided, fix=settings("data.flip=false")))
    return findings


def _check_features(
    kind: str,
    setting: str | tuple[str, ...] | None,
    text: TextConfig,
    keys: ImageKeys,
    resolve: Resolve,
    captions: Captions,
    command: Fix,
    anew: Fix,
) -> list[Finding]:
    """The configured feature files of one kind."""
    tables: dict[Path, FeatureTable] = {}
    findings = []
    for name in names_in(setting):
        path = resolve(name)
        try:
            tables[path] = open_table(path)
        except UserError as error:
            code = "feature_unreadable" if path.is_file() else "feature_missing"
            cause = "an interrupted copy, or not a feature file"
            cause = cause if path.is_file() else "features were not made yet, or at another place"
            # encode_text.py overwrites no file that it cannot read
            fix = anew if path.is_file() else command
            findings.append(problem(code, str(error), [str(path)], cause, fix))
    if not tables:
        return findings
    known = {key for table in tables.values() for key in table.rows}
    findings += _coverage(f"{kind} feature", known, keys, command)
    findings += _lengths(kind, tables, anew)
    for path, table in tables.items():
        findings += _values(kind, path, table, anew)
        findings += _origin(path, table, text.encoder, captions, command)
    return findings


def _lengths(kind: str, tables: dict[Path, FeatureTable], anew: Fix) -> list[Finding]:
    dims = {path.name: table.features.shape[1] for path, table in tables.items()}
    if len(set(dims.values())) == 1:
        return []
    text = f"the {kind} feature files differ in length: {dims}"
    return [problem("feature_length", text, list(dims), "they come from different encoders", anew)]


def _values(kind: str, path: Path, table: FeatureTable, anew: Fix) -> list[Finding]:
    """Rows that are not finite, or all zero."""
    keys = some_of(list(table.rows), _NUM_CHECKED_ROWS)
    rows = [(key, int(row)) for key in keys for row in table.rows.all_of(key)]
    features = table.features[[row for _, row in rows]].float()  # [T, D]
    bad = ~torch.isfinite(features).all(dim=1) | (features == 0).all(dim=1)
    cases = [key for (key, _), is_bad in zip(rows, bad.tolist(), strict=True) if is_bad]
    if not cases:
        return []
    text = f"{path.name}: {len(cases)} of {len(keys)} {kind} features are not finite or all zero"
    cause = "an encoder that overflowed in half precision, or rows that were never written"
    return [problem("feature_value", text, cases, cause, anew)]


def _origin(
    path: Path, table: FeatureTable, encoder: str, captions: Captions, command: Fix
) -> list[Finding]:
    """Features made by another encoder or from other captions than the config names."""
    made = table.provenance
    if made is None:
        text = f"{path.name} does not say which encoder made it; the config names {encoder}"
        return [note("feature_origin", text)]
    findings = cut_finding(made, made.get("encoder", encoder))
    if made.get("encoder", encoder) != encoder:
        text = f"{path.name} was made with {made['encoder']}, the config asks for {encoder}"
        cause = "text.encoder was changed, or these are features of another run"
        fix = Fix(settings=(f"text.encoder={made['encoder']}",), advice=f"or {command}")
        findings.append(problem("feature_encoder", text, [str(path)], cause, fix))
    if captions and has_other_captions(table, captions):
        text = f"{path.name} was made from other captions than text.captions names"
        cause = "the captions changed after the features were made"
        findings.append(problem("feature_captions", text, [str(path)], cause, command))
    return findings


def text_feature_length(text: TextConfig, resolve: Resolve) -> int:
    """Numbers per feature of the first readable file; CLIP RN50's 1024 where there is none."""
    try:
        return FeatureStore.open([resolve(name) for name in names_in(text.features)][:1]).dim
    except (UserError, IndexError):
        return 1024
