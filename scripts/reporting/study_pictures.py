"""Pictures where language changed the answer most, both ways, from saved predictions."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from common.config import build_config, merge_yaml
from common.data.dataset import DepthDataset
from common.errors import UserError
from common.evaluation.canvas import Rgb
from common.evaluation.panels import (
    PANEL_MAX_ERROR,
    denormalize,
    depth_range,
    depth_tile,
    error_tile,
    picture_tile,
    resize_depth,
)
from common.images.depth_files import depth_names
from common.images.reading import read_depth
from common.language.language import Needs
from common.pages.page import encoded_uri
from common.programs.assembly import load_split
from common.programs.inference import item_to_draw
from common.programs.run_config import RunConfig
from common.runtime.processes import Processes
from scripts.reporting.interval_chart import signed
from scripts.reporting.study_numbers import Difference
from scripts.reporting.study_text import CONTROL_WORDS
from scripts.reporting.study_values import StudyRow
from scripts.run_plans.study_scores import Score

NUM_PICTURES = 4  # of each kind
TILE_WIDTH = 300  # px
MAX_STRETCH = 2.0


class Picked(NamedTuple):
    """An image, and the mean AbsRel over seeds of both systems."""

    image: str
    ours: float
    theirs: float


def pictures_section(difference: Difference) -> str:
    """The images that captions helped most, and those that they hurt most; "" where none is saved.

    What cannot be read is told in a sentence instead.
    """
    rows = difference.ours, difference.theirs
    if not all(any(score.predictions for score in row.scores) for row in rows):
        return ""
    head = f"<h3>{escape(difference.ours.cell.recipe)}: where words changed most</h3>"
    book = PictureBook(difference)
    parts = []
    try:
        for title, picked in zip(("helped", "hurt"), pick_images(difference), strict=True):
            figures = [book.figure(each) for each in picked]
            if figures:
                parts.append(f"<h4>Where they {title} most</h4>{''.join(figures)}")
    except (UserError, OSError) as error:
        parts.append(f'<p class="faint">The pictures cannot be drawn: {escape(str(error))}</p>')
    note = (
        '<p class="faint">One image of each scene at most. AbsRel: mean over seeds; the depth maps '
        "are those of one seed, with their medians where depth was measured. The three of a row "
        "share their colors, near is blue and far is red; errors are relative, white from "
        f"{PANEL_MAX_ERROR:.0%} on.</p>"
    )
    return head + "".join(parts) + note if parts else ""


def pick_images(
    difference: Difference, count: int = NUM_PICTURES
) -> tuple[list[Picked], list[Picked]]:
    """Those whose AbsRel fell most, and those whose rose most; one of each scene at most."""
    ours, theirs = difference.aligned.values[..., 0].mean(1)  # [N] each
    scenes = difference.ours.scenes
    order = np.argsort(ours - theirs, kind="stable")
    found: tuple[list[Picked], list[Picked]] = ([], [])
    for picked, numbers, sign in zip(found, (order, order[::-1]), (-1, 1), strict=True):
        seen: set[str] = set()
        for number in numbers:
            image = difference.aligned.images[number]
            if len(picked) == count or sign * (ours[number] - theirs[number]) <= 0:
                break
            if scenes[image] not in seen:
                seen.add(scenes[image])
                picked.append(Picked(image, float(ours[number]), float(theirs[number])))
    return found


@dataclass(frozen=True)
class RunImages:
    """The test images of a run, as its own config names them, and the unit of its predictions."""

    dataset: DepthDataset
    depth_scale: float
    numbers: dict[str, int]  # key -> place in the data set
    names: dict[str, str]  # key -> file of its prediction

    @classmethod
    def of(cls, run_folder: Path) -> "RunImages":
        tree: dict[str, Any] = {}
        sources: dict[str, str] = {}
        merge_yaml(tree, sources, run_folder / "config.yaml")
        shared = {f.name: tree[f.name] for f in fields(RunConfig) if f.name in tree}
        config = build_config(RunConfig, shared, sources)
        alone = Processes(0, 1, torch.device("cpu"))
        dataset = load_split(config, "test", Needs(), alone)
        scale = config.eval.saved_depth_scale or dataset.data_set.depth_scale
        keys = [sample.key for sample in dataset.samples]
        return cls(dataset, scale, {key: i for i, key in enumerate(keys)}, depth_names(keys))

    def prediction(self, folder: Path, image: str) -> np.ndarray:
        """Meters, [h, w]; nan where nothing finite was predicted."""
        stored = read_depth(folder / self.names[image]).astype(float)
        return np.where(stored > 0, stored / self.depth_scale, np.nan)


class PictureBook:
    """Draws images of a difference; lists and captions of a run are read once."""

    def __init__(self, difference: Difference) -> None:
        self.difference = difference
        self.opened: dict[Path, RunImages] = {}

    def open(self, run_folder: Path) -> RunImages:
        if run_folder not in self.opened:
            self.opened[run_folder] = RunImages.of(run_folder)
        return self.opened[run_folder]

    def figure(self, picked: Picked) -> str:
        """Image, ground truth, both predictions and errors, and the caption."""
        difference = self.difference
        found = [self.saved(row, picked.image) for row in (difference.ours, difference.theirs)]
        if None in found:
            return ""
        (ours, our_maps), (_, their_maps) = filter(None, found)
        images = self.open(ours.run_folder)
        if picked.image not in images.numbers:
            raise UserError(f"{picked.image} is no test image of {ours.run_folder / 'config.yaml'}")
        item, gt = item_to_draw(images.dataset, images.numbers[picked.image])
        predicted = [images.prediction(folder, picked.image) for folder in (our_maps, their_maps)]
        maps = [resize_depth(depth, gt.shape) for depth in predicted]
        valid = np.isfinite(gt) & (gt > 0)
        tiles = draw_tiles(denormalize(item.image), gt, valid, maps)
        cells = (difference.ours.cell, difference.theirs.cell)
        words = [CONTROL_WORDS.get(cell.eval_control, cell.eval_control) for cell in cells]
        names = ("ground truth", *words)
        medians = [_median(depth[valid]) for depth in (gt, *maps)]
        depths = [f"{name}, {median:.2f} m" for name, median in zip(names, medians, strict=True)]
        errors = [f"AbsRel {value:.3f}" for value in (picked.ours, picked.theirs)]
        titles = ["image", depths[0], depths[1], errors[0], depths[2], errors[1]]
        shown = "".join(
            f'<div><img alt="{escape(title)}" src="{jpeg_uri(tile)}"><span>{escape(title)}</span>'
            "</div>"
            for title, tile in zip(titles, tiles, strict=True)
        )
        change = signed(picked.ours - picked.theirs)
        return (
            f'<figure class="tiles"><figcaption><b>{change}</b> “{escape(item.caption)}” '
            f"<small>{escape(picked.image)}, seed {ours.seed}</small></figcaption>"
            f"<div>{shown}</div></figure>"
        )

    def saved(self, row: StudyRow, image: str) -> tuple[Score, Path] | None:
        """The row's first score of a common seed that saved this image, and where."""
        for score in row.scores:
            is_common = score.seed in self.difference.aligned.seeds
            if is_common and score.predictions and image in row.folds[score.seed][score.fold]:
                return score, score.predictions
        return None


def draw_tiles(
    image: Rgb, gt: np.ndarray, valid: np.ndarray, maps: Sequence[np.ndarray]
) -> list[Rgb]:
    """Image, ground truth, and for each predicted map the map and its error.

    gt, maps: [h, w], meters. valid: bool [h, w]. All depths share their colors, whose range holds
    them all, up to MAX_STRETCH times the ground truth's.
    """
    size = TILE_WIDTH, round(TILE_WIDTH * image.shape[0] / image.shape[1])
    low, high = depth_range(gt, valid)
    ranges = [depth_range(depth, np.isfinite(depth)) for depth in maps]
    vmin = max(0.0, min([low, *(each for each, _ in ranges)]))
    vmax = max(high, min(MAX_STRETCH * high, max(each for _, each in ranges)))
    tiles = [picture_tile(image, size), depth_tile(gt, vmin, vmax, size, valid)]
    for depth in maps:
        tiles += [depth_tile(depth, vmin, vmax, size), error_tile(depth, gt, valid, size)]
    return tiles


def _median(depth: np.ndarray) -> float:
    """Meters; nan for nothing finite."""
    found = depth[np.isfinite(depth)]
    return float(np.median(found)) if found.size else np.nan


def jpeg_uri(rgb: Rgb) -> str:
    """A picture [H, W, 3] inlined."""
    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return encoded_uri(data.tobytes(), "jpeg")
