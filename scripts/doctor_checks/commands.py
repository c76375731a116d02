"""The command lines that make what is missing, for the data set at hand."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from common.data.data_config import DataConfig
from common.data.lists import find_file
from common.errors import UserError
from common.language.captions import read_entries
from common.language.features import TextConfig, names_in
from scripts.doctor_checks.findings import Fix, advice, quoted, settings

Commands = dict[str, Fix]


def commands_for(data: DataConfig, text: TextConfig, config: str) -> Commands:
    """`prepare`, `caption`, `encode` and `encode_images`: what to type; `..._anew` the last two.

    config: the YAML file and the overrides of its data section, as typed. A command that writes
    another file than the configured one comes with the setting that names it; `anew` always does.
    """
    captions = [place_of(data.root, name) for name in names_in(text.captions)]
    captions = captions or [data.root / "captions.jsonl"]
    given = " ".join(map(quoted, captions))
    encode, images = "python scripts/encode_text.py", _images(data, config)
    commands = {
        "prepare": _prepare(data),
        "caption": _caption(data, captions, f"python scripts/caption_images.py {images}"),
    }
    for name, is_anew in (("", False), ("_anew", True)):
        of_text = f"{encode} --captions {given}{' --join' if text.join_captions else ''}"
        commands[f"encode{name}"] = _features(data, text, "features", of_text, is_anew)
        of_images = f"{encode} {images}"
        commands[f"encode_images{name}"] = _features(
            data, text, "image_features", of_images, is_anew
        )
    return commands


def _caption(data: DataConfig, captions: Sequence[Path], command: str) -> Fix:
    """Caption images, but never into a file of several, or of people and other programs."""
    if len(captions) == 1 and not _is_of_others(captions[0]):
        return Fix(f"{command} --output {quoted(captions[0])}")
    made = quoted(data.root / "captions_made.jsonl")
    return Fix(f"{command} --output {made}", ("text.captions=captions_made.jsonl",))


def _is_of_others(path: Path) -> bool:
    """Whether caption_images.py would refuse to add to this file."""
    try:
        entries = read_entries(path) if path.is_file() else {}
    except UserError:
        return True
    return any(not isinstance(entry.get("source"), dict) for entry in entries.values())


def _features(data: DataConfig, text: TextConfig, key: str, command: str, is_anew: bool) -> Fix:
    """Encode into the configured file, or into a new one; key: of the config's text section."""
    names = names_in(getattr(text, key))
    encoder = "" if text.encoder == TextConfig.encoder else f" --encoder {quoted(text.encoder)}"
    if len(names) == 1 and names[0].endswith(".safetensors") and not is_anew:
        return Fix(f"{command} --output {quoted(place_of(data.root, names[0]))}{encoder}")
    name = _free_name(data.root, "text" if key == "features" else "image")
    return Fix(f"{command} --output {quoted(data.root / name)}{encoder}", (f"text.{key}={name}",))


def _free_name(folder: Path, kind: str) -> str:
    names = (f"{kind}{'' if number == 1 else f'_{number}'}.safetensors" for number in count(1))
    return next(name for name in names if not (folder / name).exists())


def _images(data: DataConfig, config: str) -> str:
    """Which images to caption."""
    pattern = data.data_set.caption_pattern
    if pattern is None:
        return f"--config {config} data.root={quoted(data.root)}"
    of_these = "" if pattern == "**/*" else f" --pattern '{pattern}'"
    return f"--images {quoted(data.root)}{of_these}"


def _prepare(data: DataConfig) -> Fix:
    if data.data_set.find_pairs is not None and data.root.name in ("rgb", "depth"):
        return settings(f"data.root={data.root.parent}")
    root, parent = quoted(data.root), quoted(data.root.parent)
    prepared_by = data.data_set.prepared_by.format(root=root, parent=parent)
    return Fix(prepared_by) if prepared_by.startswith("python ") else advice(prepared_by)


def place_of(root: Path, name: str) -> Path:
    """Where a configured file is found, or belongs if it is not there."""
    found = find_file(name, root)
    if found.exists():
        return found
    return Path(name) if name.startswith("data/") else root / name
