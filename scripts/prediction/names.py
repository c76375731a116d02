"""Under which names predict.py writes, and what it never writes over.

NAME.npy              depth, float32 [H, W], meters
NAME.png, NAME.json   the same with 16 bits; its scale and all that is known of it
NAME_color.png        colors with a bar in meters
NAME.ply, NAME.glb    points, where asked for
NAME_sampled.npy, NAME_log_depth_std.npy      of sampled scenes, where asked for
NAME_depth.mp4, NAME_depth.json               of a video
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from common.config_values import output_path
from common.errors import UserError
from common.images.depth_files import depth_names
from scripts.prediction.inputs import Inputs
from scripts.prediction.load import HUB

FACTS = ".json"  # written first: who finds it beside a file knows whose that is
ALWAYS = (".npy", ".png", FACTS, "_color.png")
SAMPLED = ("_sampled.npy", "_log_depth_std.npy")
CLOUDS = (".ply", ".glb")
OF_PICTURE = (*ALWAYS, *SAMPLED, *CLOUDS)
VIDEO_FACTS = "_depth.json"
OF_VIDEO = ("_depth.mp4", VIDEO_FACTS)
ENDINGS = (*OF_PICTURE, *OF_VIDEO)
# Of a file's name; systems allow 255 with the ending and what temporary names add.
_MOST_BYTES = 200
# Keys that only the JSON files of predict.py have together.
_PICTURE_KEYS = {"picture", "depth_scale", "focal_factor", "caption_origin"}
_VIDEO_KEYS = {"video", "frames", "flicker"}


def output_folder(output: str | None, checkpoint: str, opened: Path) -> Path:
    """Else `predictions` in the run's folder, of a model of the hub in the current one.

    opened: the file or folder that `checkpoint` is.
    """
    if output:
        return output_path(output)
    if checkpoint.startswith(HUB):
        return output_path("predictions")
    place = opened.parent
    return (place.parent if place.name == "checkpoints" else place) / "predictions"


def output_stems(keys: Iterable[str]) -> dict[str, str]:
    """Key -> path below the output folder, without an ending; no two write the same file.

    A name that has no room for an ending is cut.
    """
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for key, name in depth_names(keys).items():
        first = _cut(name.removesuffix(".png"))
        number, stem = 1, first
        while any(f"{stem}{ending}".lower() in taken for ending in ENDINGS):
            number += 1
            stem = f"{first}_{number}"
        taken |= {f"{stem}{ending}".lower() for ending in ENDINGS}
        stems[key] = stem
    return stems


def _cut(stem: str) -> str:
    folder, slash, name = stem.rpartition("/")
    while len(os.fsencode(name)) > _MOST_BYTES:
        name = name[:-1]
    return f"{folder}{slash}{name}"


def check_names(
    folder: Path, stems: dict[str, str], inputs: Inputs, others: Iterable[Path] = ()
) -> None:
    """Raise a `UserError` where a file to write is one that is read, or there and not predict.py's.

    stems: of each key of the inputs. others: files that are read beside the inputs.
    """
    files = (*inputs.pictures.values(), *inputs.videos.values(), *others)
    read = {os.path.realpath(file) for file in files}
    for key, stem in stems.items():
        is_picture = key in inputs.pictures
        places = [Path(f"{folder / stem}{e}") for e in (OF_PICTURE if is_picture else OF_VIDEO)]
        for place in places:
            if os.path.realpath(place) in read:
                raise UserError(
                    f"{place} is one of the files that are read; name another folder with --output"
                )
        there = next((place for place in places if os.path.lexists(place)), None)
        facts = Path(f"{folder / stem}{FACTS if is_picture else VIDEO_FACTS}")
        if there is not None and not _is_ours(facts, is_picture):
            raise UserError(
                f"{there} is there and no earlier prediction (no JSON of predict.py is beside it); "
                "name another folder with --output"
            )
        for place in places:  # as room_sampled.npy, of room.jpg or of room_sampled.jpg
            own = place.with_suffix(FACTS)
            if own != facts and os.path.lexists(place) and _is_ours(own, is_picture):
                raise UserError(f"{place} is of {own}; name another folder with --output")


def _is_ours(facts: Path, is_picture: bool) -> bool:
    """Whether it is a JSON that predict.py wrote."""
    try:
        content = json.loads(facts.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and (_PICTURE_KEYS if is_picture else _VIDEO_KEYS) <= set(
        content
    )
