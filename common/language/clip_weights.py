"""Which weights a CLIP is built from, and how weights of that kind are read.

    RN50:openai              a tag: open_clip knows activation, normalization and resizing
    RN50:openai=/w.pt        a file, of the weights of that tag or trained from them
    RN50:/w.pt               a file that says itself what it is

A tag implies more than numbers: OpenAI's weights need QuickGELU, others another mean or way of
resizing, and none of this is in the file. A file without a tag is read where there is no doubt:
all tags of the model ask for the same, or the file is one that open_clip's table names by its
SHA-256, or OpenAI's own archive. Else the tag is asked for.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

import open_clip
from open_clip.pretrained import get_pretrained_cfg

from common.config_values import resolve_path
from common.errors import UserError
from common.runtime.known_files import find_by_sha256, list_readings

OTHER_KINDS = ("untrained", "hf")  # what may stand before the colon and is no model of open_clip
OPENAI = "openai"
OPENAI_SIGNS = {"input_resolution", "context_length", "vocab_size"}  # entries of its archives


@dataclass(frozen=True)
class ClipReading:
    """What the numbers of a weights file do not say: how they were trained."""

    quick_gelu: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str

    def __str__(self) -> str:
        activation = "QuickGELU" if self.quick_gelu else "GELU"
        mean, std = (" ".join(f"{x:.3g}" for x in values) for values in (self.mean, self.std))
        return f"{activation}, mean {mean}, std {std}, {self.interpolation}, {self.resize_mode}"


@dataclass(frozen=True)
class ClipWeights:
    """tag: None: a file that no tag is given for. file: None: open_clip downloads the tag's."""

    spec: str
    model: str
    tag: str | None
    file: Path | None


def parse_clip(spec: str) -> ClipWeights:
    """Model, tag and file of `<model>:<tag>`, `<model>:<file>` or `<model>:<tag>=<file>`.

    A `UserError` where one of them does not exist. A file is looked up as a path on the command
    line is.
    """
    model, _, weights = spec.partition(":")
    if model not in open_clip.list_models():
        known = [*OTHER_KINDS, *open_clip.list_models()]
        near = difflib.get_close_matches(model, known, 3, 0.4)
        raise UserError(
            f"encoder '{spec}': no open_clip model '{model}'; nearest: {', '.join(near) or 'none'} "
            "(hf:NAME is a model of Hugging Face)"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights in tags:
        return ClipWeights(spec, model, weights, None)
    tag, equals, name = weights.partition("=")
    if equals and tag in tags:
        file = resolve_path(name, typed_by_hand=True)
        if name and file.is_file():
            return ClipWeights(spec, model, tag, file)
        raise UserError(f"encoder '{spec}': no file {file}; name the weights after the =")
    file = resolve_path(weights, typed_by_hand=True)
    if not weights or not file.is_file():
        raise UserError(
            f"encoder '{spec}': '{weights}' is neither a file nor weights of {model}; "
            f"it has {', '.join(tags) or 'none'}"
        )
    return ClipWeights(spec, model, None, file)


def reading_of(model: str, tag: str) -> ClipReading:
    """How open_clip reads the weights of a tag."""
    known = get_pretrained_cfg(model, tag)
    activation = (open_clip.get_model_config(model) or {}).get("quick_gelu", False)
    return ClipReading(
        known.get("quick_gelu", False) or activation,
        tuple(known.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        tuple(known.get("std", open_clip.OPENAI_DATASET_STD)),
        known.get("interpolation", "bicubic"),
        known.get("resize_mode", "shortest"),
    )


def choose_reading(weights: ClipWeights, is_openai: bool) -> tuple[ClipReading, str]:
    """How to read a file's weights, and why so; a `UserError` where nothing says it.

    is_openai: the file is an archive of OpenAI.
    """
    assert weights.file is not None
    model, file = weights.model, weights.file
    tags = open_clip.list_pretrained_tags_by_model(model)
    readings = {tag: reading_of(model, tag) for tag in tags}
    if is_openai and OPENAI not in tags:
        raise UserError(
            f"encoder '{weights.spec}': {file} is an archive of OpenAI, which {model} has no "
            f"weights of; name the model it is of, as RN50:{file}"
        )
    if weights.tag is not None:
        if is_openai and readings[weights.tag] != readings[OPENAI]:
            raise UserError(
                f"encoder '{weights.spec}': {file} is an archive of OpenAI and not of "
                f"{weights.tag}; write {model}:{OPENAI}={file}"
            )
        return readings[weights.tag], f"{model}:{weights.tag}, as named"
    if is_openai:
        return readings[OPENAI], f"{model}:{OPENAI}, whose archive it is"
    if not tags:
        return reading_of(model, ""), f"{model} is built, which has no published weights"
    if len(set(readings.values())) == 1:
        return readings[tags[0]], f"all published weights of {model}"
    addresses = {tag: get_pretrained_cfg(model, tag).get("url", "") for tag in tags}
    tag = find_by_sha256(file, addresses)
    if tag is None:
        raise UserError(_ask_for_tag(weights, readings))
    return readings[tag], f"{model}:{tag}, by its SHA-256"


def _ask_for_tag(weights: ClipWeights, readings: dict[str, ClipReading]) -> str:
    return (
        f"encoder '{weights.spec}': {weights.file} does not say how its weights were trained, and "
        f"those of {weights.model} differ; name the tag they are of, or were trained from, as "
        f"{weights.model}:TAG={weights.file} ({list_readings(readings)})"
    )
