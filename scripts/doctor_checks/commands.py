"""The command lines that make what is missing, for the data set at hand."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from common.data.lists import find_file
from common.data.samples import DataConfig
from common.errors import UserError
from common.language.captions import read_entries
from common.language.features import TextConfig, names_in


def commands_for(data: DataConfig, text: TextConfig, config: str) -> dict[str, str]:
    """`prepare`, `caption`, `encode` and `encode_images`: what to type.

    config: the YAML file and the words that change its data section, as typed. A second line is the
    key to set where the command writes another file than the configured one.
    """
    captions = [place_of(data.root, name) for name in names_in(text.captions)]
    captions = captions or [data.root / "captions.jsonl"]
    given = " ".join(map(_quote, captions))
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
        return _quote(captions[0])
    return f"{_quote(data.root / 'captions_made.jsonl')}\nthen text.captions=captions_made.jsonl"


def _is_of_others(path: Path) -> bool:
    """Whether caption_images.py would refuse to add to this file."""
    try:
        entries = read_entries(path) if path.is_file() else {}
    except UserError:
        return True
    return any(not isinstance(entry.get("source"), dict) for entry in entries.values())


def _features(data: DataConfig, text: TextConfig, names: Sequence[str], kind: str) -> str:
    """Where to write features, and by which encoder."""
    encoder = "" if text.encoder == TextConfig.encoder else f" --encoder {_quote(text.encoder)}"
    if len(names) == 1 and names[0].endswith(".safetensors"):
        return _quote(place_of(data.root, names[0])) + encoder
    name = f"{kind}.safetensors"
    key = "text.features" if kind == "text" else "text.image_features"
    return f"{_quote(data.root / name)}{encoder}\nthen {key}={name}"


def _images(data: DataConfig, config: str) -> str:
    """Which images to caption."""
    match data.name:
        case "sun_rgbd":
            return f"--images {_quote(data.root)} --pattern '**/image/*.jpg'"
        case "folder":
            return f"--images {_quote(data.root)}"
        case _:
            return f"--config {config} data.root={_quote(data.root)}"


def _prepare(data: DataConfig) -> str:
    root = _quote(data.root)
    match data.name:
        case "nyu":
            return f"python scripts/prepare_nyu.py --root {root} --download"
        case "kitti":
            return f"python scripts/prepare_kitti.py --output {_quote(data.root.parent)} --download"
        case "sun_rgbd":
            return f"python scripts/prepare_sun_rgbd.py --output {root} --download"
        case "folder" if data.root.name in ("rgb", "depth"):
            return f"data.root={_quote(data.root.parent)}"
        case "folder":
            return f"put pictures into {root}/rgb and depth of the same names into {root}/depth"


def place_of(root: Path, name: str) -> Path:
    """Where a configured file is found, or belongs if it is not there."""
    found = find_file(name, root)
    if found.exists():
        return found
    return Path(name) if name.startswith("data/") else root / name


def _quote(value: object) -> str:
    return shlex.quote(str(value))
