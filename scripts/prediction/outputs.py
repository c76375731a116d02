"""What predict.py writes for each picture, and under which names.

NAME.npy              depth, float32 [H, W], meters
NAME.png, NAME.json   the same with 16 bits; its scale and all that is known of it
NAME_color.png        colors with a bar in meters
NAME.ply, NAME.glb    points, where asked for
NAME_sampled.npy, NAME_log_depth_std.npy      of sampled scenes, where asked for
"""

import io
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.evaluation.canvas import (
    DEPTH_COLORS,
    draw_color_bar,
    text_strip,
    with_margin,
    wrap_text,
)
from common.evaluation.panels import depth_range, depth_tile, write_png
from common.files import whole_file
from common.images.depth_files import Changed, depth_names, to_stored, write_depth_png
from common.text_files import write_json
from scripts.prediction.clouds import make_cloud, write_glb, write_ply
from scripts.prediction.pictures import Picture
from scripts.prediction.result import Prediction

ALWAYS = (".npy", ".png", ".json", "_color.png")
SAMPLED = ("_sampled.npy", "_log_depth_std.npy")
CLOUDS = (".ply", ".glb")
VIDEO = ("_depth.mp4", "_depth.json")
ENDINGS = (*ALWAYS, *SAMPLED, *VIDEO, *CLOUDS)
_WIDTHS = (320, 1280)  # px, of the colored map


def output_stems(keys: Iterable[str]) -> dict[str, str]:
    """Key -> path below the output folder, without an ending; no two write the same file."""
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for key, name in depth_names(keys).items():
        first = name.removesuffix(".png")
        number, stem = 1, first
        while any(f"{stem}{ending}".lower() in taken for ending in ENDINGS):
            number += 1
            stem = f"{first}_{number}"
        taken |= {f"{stem}{ending}".lower() for ending in ENDINGS}
        stems[key] = stem
    return stems


def check_names(folder: Path, stems: Iterable[str], inputs: Iterable[Path]) -> None:
    """Raise a `UserError` where a file to write is one that is read."""
    read = {os.path.realpath(file) for file in inputs}
    for stem in stems:
        for ending in ENDINGS:
            if os.path.realpath(f"{folder / stem}{ending}") in read:
                raise UserError(
                    f"{folder / stem}{ending} is one of the pictures; name another folder with "
                    "--output"
                )


@dataclass
class PictureWriter:
    """Writes the files of one prediction after the other, each whole or not at all.

    facts: what every JSON file says. changed: what 16 bits could not hold, of each map that lost
    something.
    """

    folder: Path
    depth_scale: float
    facts: dict[str, Any]
    with_ply: bool = False
    with_glb: bool = False
    changed: list[Changed] = field(default_factory=list)

    def write(self, stem: str, picture: Picture, prediction: Prediction) -> None:
        """stem: see `output_stems`."""
        place = f"{self.folder / stem}"
        for ending in (*SAMPLED, *CLOUDS):  # of an earlier prediction: not of this depth
            Path(f"{place}{ending}").unlink(missing_ok=True)
        stored, changed = to_stored(prediction.depth.astype(np.float64), self.depth_scale)
        if changed != Changed():
            self.changed.append(changed)
        facts: dict[str, Any] = {}
        if self.with_ply or self.with_glb:
            facts["points"] = self._write_cloud(place, picture, prediction)
        write_array(Path(f"{place}.npy"), prediction.depth)
        if prediction.sampled_depth is not None and prediction.log_depth_std is not None:
            write_array(Path(f"{place}_sampled.npy"), prediction.sampled_depth)
            write_array(Path(f"{place}_log_depth_std.npy"), prediction.log_depth_std)
            facts["mean_log_depth_std"] = float(np.nanmean(prediction.log_depth_std))
        write_depth_png(Path(f"{place}.png"), stored)
        write_png(Path(f"{place}_color.png"), draw_depth(prediction.depth, prediction.caption))
        content = {**self._describe(picture, prediction, changed), **facts}
        write_json(Path(f"{place}.json"), content)

    def _describe(
        self, picture: Picture, prediction: Prediction, changed: Changed
    ) -> dict[str, Any]:
        camera = prediction.intrinsics
        return {
            **self.facts,
            "picture": picture.name,
            "size": list(prediction.depth.shape),
            "depth_scale": self.depth_scale,
            "meters": "value of the 16-bit PNG / depth_scale; 0: no value",
            "not_held_by_16_bits": asdict(changed),
            "depth": describe_depth(prediction.depth),
            "caption": prediction.caption,
            "caption_origin": prediction.caption_origin,
            "intrinsics": None if camera is None else camera.to_plain(),
            "focal_factor": prediction.focal_factor,
            "notes": list(prediction.notes),
        }

    def _write_cloud(self, place: str, picture: Picture, prediction: Prediction) -> dict[str, Any]:
        if prediction.intrinsics is None:
            raise UserError(
                f"{picture.name}: no camera is known for its points; give --focal PIXELS"
            )
        cloud = make_cloud(prediction.depth, picture.rgb, prediction.intrinsics)
        if self.with_ply:
            write_ply(Path(f"{place}.ply"), cloud)
        if self.with_glb:
            write_glb(Path(f"{place}.glb"), cloud)
        return {"count": len(cloud.points), "every": cloud.step}


def describe_depth(depth: np.ndarray) -> dict[str, float | None]:
    """Least, median and largest, meters; of nothing: None."""
    seen = depth[np.isfinite(depth)]
    if not seen.size:
        return dict.fromkeys(("min", "median", "max"))
    return {"min": float(seen.min()), "median": float(np.median(seen)), "max": float(seen.max())}


def draw_depth(
    depth: np.ndarray, caption: str, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """Colors with a bar in meters and the caption below; uint8 [h, w, 3].

    limits: the meters that the bar goes from and to; None: those of the map.
    """
    height, width = depth.shape
    own = int(np.clip(width, *_WIDTHS))
    step = max(width // own, 1)
    depth = depth[::step, ::step]
    low, high = limits or depth_range(depth, np.isfinite(depth))
    tile = depth_tile(depth, low, high, (own, max(round(height * own / width), 1)))
    bar = draw_color_bar(own, low, high, DEPTH_COLORS, " m")
    return with_margin(np.vstack([tile, bar, text_strip(wrap_text(caption, own), own)]))


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file, whole or not at all."""
    content = io.BytesIO()
    np.save(content, array)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getvalue())
