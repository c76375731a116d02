"""What predict.py writes for each picture, and how it is drawn; `names.py` has the names."""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common.evaluation.canvas import (
    DEPTH_COLORS,
    draw_color_bar,
    text_strip,
    with_margin,
    wrap_text,
)
from common.evaluation.panels import depth_range, depth_tile, write_png
from common.files import whole_file, write_errors_told
from common.images.depth_files import Changed, to_stored, write_depth_png
from common.text_files import write_json
from scripts.prediction.clouds import Cloud, make_cloud, write_glb, write_ply
from scripts.prediction.names import ALWAYS, CLOUDS, FACTS, SAMPLED
from scripts.prediction.pictures import Picture
from scripts.prediction.result import Prediction

_WIDTHS = (320, 1280)  # px, of the colored map
_HIGHEST = 8192  # px, of whatever is drawn


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
        """stem: see `output_stems`. Points are left out where no camera is known."""
        place = f"{self.folder / stem}"
        stored, changed = to_stored(prediction.depth.astype(np.float64), self.depth_scale)
        if changed != Changed():
            self.changed.append(changed)
        cloud = self._cloud(picture, prediction)
        # Of an earlier prediction, not of this depth; the JSON is the first of the new files, so
        # that whatever a kill leaves behind is known to be a prediction.
        for ending in {*ALWAYS, *SAMPLED, *CLOUDS} - {FACTS}:
            file = Path(f"{place}{ending}")
            with write_errors_told(file):
                file.unlink(missing_ok=True)
        content = self._describe(picture, prediction, changed, cloud)
        write_json(Path(f"{place}{FACTS}"), content)
        write_array(Path(f"{place}.npy"), prediction.depth)
        if prediction.sampled_depth is not None and prediction.log_depth_std is not None:
            write_array(Path(f"{place}_sampled.npy"), prediction.sampled_depth)
            write_array(Path(f"{place}_log_depth_std.npy"), prediction.log_depth_std)
        write_depth_png(Path(f"{place}.png"), stored)
        write_png(Path(f"{place}_color.png"), draw_depth(prediction.depth, prediction.caption))
        if cloud is not None and self.with_ply:
            write_ply(Path(f"{place}.ply"), cloud)
        if cloud is not None and self.with_glb:
            write_glb(Path(f"{place}.glb"), cloud)

    def _describe(
        self, picture: Picture, prediction: Prediction, changed: Changed, cloud: Cloud | None
    ) -> dict[str, Any]:
        camera, spread = prediction.intrinsics, prediction.log_depth_std
        points = cloud and {"count": len(cloud.points), "every": cloud.step}
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
            **prediction.describe_scaling(),
            "notes": list(prediction.notes),
            **({} if points is None else {"points": points}),
            **({} if spread is None else {"mean_log_depth_std": _finite_mean(spread)}),
        }

    def _cloud(self, picture: Picture, prediction: Prediction) -> Cloud | None:
        if prediction.intrinsics is None or not (self.with_ply or self.with_glb):
            return None
        return make_cloud(prediction.depth, picture.rgb, prediction.intrinsics)


def _finite_mean(values: np.ndarray) -> float | None:
    """None where nothing is finite."""
    seen = values[np.isfinite(values)]
    return float(seen.mean()) if seen.size else None


def describe_depth(depth: np.ndarray) -> dict[str, float | None]:
    """Least, median and largest, meters; of nothing: None."""
    seen = depth[np.isfinite(depth)]
    if not seen.size:
        return dict.fromkeys(("min", "median", "max"))
    return {"min": float(seen.min()), "median": float(np.median(seen)), "max": float(seen.max())}


def range_text(depth: np.ndarray) -> str:
    """The same in words."""
    found = describe_depth(depth)
    if found["median"] is None:
        return "no depth"
    return f"{found['min']:.3g} to {found['max']:.3g} m, median {found['median']:.3g} m"


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
    tile = depth_tile(depth, low, high, (own, drawn_height((height, width), own)))
    bar = draw_color_bar(own, low, high, DEPTH_COLORS, " m")
    return with_margin(np.vstack([tile, bar, text_strip(wrap_text(caption, own), own)]))


def drawn_height(shape: tuple[int, ...], width: int) -> int:
    """Of a map or picture [H, W, ...] that is drawn so wide, px; a very thin one is squeezed."""
    return int(np.clip(round(shape[0] * width / shape[1]), 1, _HIGHEST))


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file, whole or not at all."""
    content = io.BytesIO()
    np.save(content, array)
    with whole_file(path) as temporary:
        temporary.write_bytes(content.getvalue())
