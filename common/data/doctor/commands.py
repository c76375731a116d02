"""The command lines that make what is missing, for the data set at hand."""

import shlex
from pathlib import Path

from common.data.samples import DataConfig
from common.data.text_features import TextConfig


def commands_for(data: DataConfig, text: TextConfig, config: str) -> dict[str, str]:
    """`prepare`, `caption` and `encode`: what to type. config: the YAML file, as typed."""
    captions = names_of(text.captions) or ("captions.jsonl",)
    features = names_of(text.features) or ("text.safetensors",)
    given = " ".join(_quote(_under(data.root, name)) for name in captions)
    return {
        "prepare": _prepare(data),
        "caption": f"python scripts/caption_images.py {_images(data, config)} --output {given}",
        "encode": f"python scripts/encode_text.py --captions {given} "
        f"--output {_quote(_under(data.root, features[0]))}",
    }


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
        case "folder":
            return f"put pictures into {root}/rgb and depth of the same names into {root}/depth"


def names_of(setting: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The files a config key names: none, one or several."""
    return (setting,) if isinstance(setting, str) else setting or ()


def _under(root: Path, name: str) -> Path:
    return Path(name) if name.startswith("data/") else root / name


def _quote(value: object) -> str:
    return shlex.quote(str(value))
