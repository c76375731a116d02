"""The command lines that make what is missing, for the data set at hand."""

from collections.abc import Sequence
from pathlib import Path

from common.data.data_config import DataConfig
from common.data.lists import find_file
from common.errors import UserError
from common.language.captions import read_entries
from common.language.features import TextConfig, names_in
from scripts.doctor_checks.findings import quoted


def commands_for(data: DataConfig, text: TextConfig, config: str) -> dict[str, str]:
    """`prepare`, `caption`, `encode` and `encode_images`: what to type.

    config: the YAML file and the overrides of its data section, as typed. A second line is the
    key to set where the command writes another file than the configured one.
    """
    captions = [place_of(data.root, name) for name in names_in(text.captions)]
    captions = captions or [data.root / "captions.jsonl"]
    given = " ".join(map(quoted, captions))
    images = _images(data, config)
    features, image_features = names_in(text.features), names_in(text.image_features)
    return {
        "prepare": _prepare(data),
        "caption": f"python scripts/caption_images.py {images} "
        f"--output {_captions(data, captions)}",
        "encode": f"python scripts/encode_text.py --captions {given} "
        f"--output {_features(data, text, features, 'text')}",
        "encode_images": f"python scripts/encode_text.py {images} "
        f"--output {_features(data, text, image_features, 'image')}",
    }


def _captions(data: DataConfig, captions: Sequence[Path]) -> str:
    """Where to write captions: never to a file of several, or of people and other programs."""
    if len(captions) == 1 and not _is_of_others(captions[0]):
        return quoted(captions[0])
    return f"{quoted(data.root / 'captions_made.jsonl')}\nthen text.captions=captions_made.jsonl"


def _is_of_others(path: Path) -> bool:
    """Whether caption_images.py would refuse to add to this file."""
    try:
        entries = read_entries(path) if path.is_file() else {}
    except UserError:
        return True
    return any(not isinstance(entry.get("source"), dict) for entry in entries.values())


def _features(data: DataConfig, text: TextConfig, names: Sequence[str], kind: str) -> str:
    """Where to write features, and by which encoder."""
    encoder = "" if text.encoder == TextConfig.encoder else f" --encoder {quoted(text.encoder)}"
    if len(names) == 1 and names[0].endswith(".safetensors"):
        return quoted(place_of(data.root, names[0])) + encoder
    name = f"{kind}.safetensors"
    key = "text.features" if kind == "text" else "text.image_features"
    return f"{quoted(data.root / name)}{encoder}\nthen {key}={name}"


def _images(data: DataConfig, config: str) -> str:
    """Which images to caption."""
    pattern = data.data_set.caption_pattern
    if pattern is None:
        return f"--config {config} data.root={quoted(data.root)}"
    of_these = "" if pattern == "**/*" else f" --pattern '{pattern}'"
    return f"--images {quoted(data.root)}{of_these}"


def _prepare(data: DataConfig) -> str:
    if data.data_set.find_pairs is not None and data.root.name in ("rgb", "depth"):
        return f"data.root={quoted(data.root.parent)}"
    root, parent = quoted(data.root), quoted(data.root.parent)
    return data.data_set.prepared_by.format(root=root, parent=parent)


def place_of(root: Path, name: str) -> Path:
    """Where a configured file is found, or belongs if it is not there."""
    found = find_file(name, root)
    if found.exists():
        return found
    return Path(name) if name.startswith("data/") else root / name
