"""What the page can do, without a browser: functions from a visitor's state to the next one.

All raise a `UserError` for what a visitor can put right; `attempts.py` makes it a line. Depth is
that of `DepthModel.predict`, as in predict.py.
"""

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from common.errors import UserError
from common.evaluation.known_distance import save_calibration
from common.evaluation.metrics import METRIC_NAMES, score_image
from common.evaluation.panels import panel
from common.evaluation.protocols import find_protocol, valid_mask
from scripts.page.drawings import draw_picture, to_picture
from scripts.page.lengths import KnownSpan, check_meters, depth_at, fit_places
from scripts.page.state import PageState, Scored
from scripts.page.uploads import Limits, read_uploaded_depth, read_uploaded_picture
from scripts.page.viewer import draw_cloud
from scripts.prediction.cameras import FocalRule
from scripts.prediction.clouds import make_cloud
from scripts.prediction.frames import make_frame
from scripts.prediction.model import DepthModel
from scripts.prediction.outputs import PictureWriter
from scripts.prediction.pictures import Picture
from scripts.prediction.result import Asked, Prediction
from scripts.prediction.words import AUTO

CLOUD_POINTS = 100_000  # that are sent to the browser; files have all
KEPT_FOLDERS = 64  # of files for visitors; older ones are removed
SHAPE_TOLERANCE = 0.02  # of width / height, between a picture and its ground truth
MOST_SCENES = 32
MOST_POINTS_CHOSEN = 50


@dataclass(frozen=True)
class View:
    """How a picture is predicted: what is typed beside it. focal: pixels; None: see predict.py."""

    caption: str = ""
    focal: float | None = None
    focal_rule: FocalRule = "none"


@dataclass
class Desk:
    """The model, and a folder of its own for files that visitors may download."""

    model: DepthModel
    folder: Path
    limits: Limits = field(default_factory=Limits)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def reads_words(self) -> bool:
        """Whether a caption of one's own can change the answer."""
        return self.model.words.needs_caption

    @property
    def can_draw(self) -> bool:
        """Whether there are scenes to sample."""
        return self.model.trained.reads_words and self.model.trained.stage.sample is not None

    @property
    def depth_scale(self) -> float:
        """Stored units of a meter in 16-bit PNG files of the model's data set."""
        return float(self.model.config.data.data_set.depth_scale)

    def open_picture(self, path: Path) -> PageState:
        """A new state: nothing of the picture before is kept."""
        upright = self.model.config.data.exif_orientation
        return PageState(picture=read_uploaded_picture(path, self.limits, upright))

    def predict(self, state: PageState, view: View) -> PageState:
        """Depth for the caption; what was found for another caption is dropped."""
        (own,) = self._predict(state, view, [view.caption])
        return _with_own(state, own)

    def compare(self, state: PageState, view: View, other: str) -> PageState:
        """Depth for both captions, in one batch."""
        if not self.reads_words:
            raise UserError("this model reads no words of yours: there is nothing to compare")
        own, second = self._predict(state, view, [view.caption, other])
        return replace(_with_own(state, own), other=second)

    def draw_scenes(self, state: PageState, view: View, count: int, seed: int) -> PageState:
        """Depth, and scenes that the words may mean."""
        if not self.can_draw:
            raise UserError("this model has no distribution of scenes to draw from")
        if not 2 <= count <= MOST_SCENES:
            raise UserError(f"scenes: from 2 to {MOST_SCENES}, not {count}")
        asked = Asked(view.focal_rule, int(count), int(seed), keep_scenes=True)
        (drawn,) = self._predict(state, view, [view.caption], asked)
        return replace(_with_own(state, drawn), drawn=drawn)

    def click(self, state: PageState, column: int, row: int) -> PageState:
        """Choose a point of the picture; column and row as it is drawn on the page."""
        if len(state.points) >= MOST_POINTS_CHOSEN:
            raise UserError(f"{MOST_POINTS_CHOSEN} points are enough; clear them to choose others")
        point = to_picture(self._picture(state).rgb.shape, column, row)
        if state.own is not None:
            depth_at(state.own.depth, point)  # refuses places without depth
        return replace(state, points=(*state.points, point))

    def know(self, state: PageState, meters: object, is_length: bool) -> PageState:
        """Remember a distance: of the last point, or between the last two."""
        found = check_meters(meters)
        needed = 2 if is_length else 1
        if len(state.points) < needed:
            raise UserError(f"click {('a point', 'two points')[is_length]} in the picture first")
        last = state.points[-1]
        place = KnownSpan(found, state.points[-2], last) if is_length else KnownSpan(found, last)
        if state.own is not None:
            place.predicted(state.own)
        return replace(state, known=(*state.known, place))

    def forget(self, state: PageState) -> PageState:
        """No points, no known distances, depth as the network gives it."""
        return replace(state, points=(), known=(), fitted=None, scored=None, files=())

    def calibrate(self, state: PageState) -> PageState:
        """Fit the known distances; all depth that is shown follows."""
        fitted = fit_places(self._own(state), state.known)
        return replace(state, fitted=fitted, scored=None, files=())

    def score(self, state: PageState, path: Path, depth_scale: object) -> PageState:
        """Compare what is shown with ground truth from a file, by protocol `none`."""
        prediction = state.shown(self._own(state))
        assert prediction is not None
        scale = _check_scale(depth_scale)
        gt = read_uploaded_depth(path, scale, self.limits)
        return replace(state, scored=self._scored(state, prediction, gt))

    def draw_points(self, state: PageState) -> str:
        """HTML that shows the depth as points."""
        prediction = state.shown(self._own(state))
        assert prediction is not None
        if prediction.intrinsics is None:
            raise UserError("no camera is known for this picture: give its focal length (Camera)")
        rgb = self._picture(state).rgb
        cloud = make_cloud(prediction.depth, rgb, prediction.intrinsics, CLOUD_POINTS)
        return draw_cloud(cloud, prediction.intrinsics, rgb.shape[1])

    def write_files(self, state: PageState) -> PageState:
        """All that predict.py writes of a picture, and the calibration."""
        picture, prediction = self._picture(state), state.shown(self._own(state))
        assert prediction is not None
        has_camera = prediction.intrinsics is not None
        folder = self._new_folder()
        facts = {**self.model.trained.labels, "checkpoint": self.model.trained.path.name}
        writer = PictureWriter(folder, self.depth_scale, facts, has_camera, has_camera)
        writer.write("depth", replace(picture, name=ascii(picture.name)[1:-1]), prediction)
        if state.fitted is not None:
            save_calibration(folder / "calibration.json", state.fitted)
        return replace(state, files=tuple(sorted(folder.iterdir())))

    def _predict(
        self, state: PageState, view: View, captions: list[str], asked: Asked | None = None
    ) -> list[Prediction]:
        picture = self._picture(state)
        if self.reads_words:
            words: list[str | None] = [self._check_words(text) for text in captions]
        else:
            words = [None] * len(captions)
        return self.model.predict_all(
            [picture] * len(words),
            words,
            [view.focal] * len(words),
            asked or Asked(view.focal_rule),
        )

    def _check_words(self, caption: str) -> str:
        if len(caption) > self.limits.max_caption:
            raise UserError(
                f"the caption has {len(caption):,} characters; up to {self.limits.max_caption:,} "
                "are taken here"
            )
        if caption.strip() == AUTO:  # would fetch a captioner
            raise UserError(f"'{AUTO}' is no caption here; say what the picture shows")
        return caption

    def _scored(self, state: PageState, prediction: Prediction, gt: np.ndarray) -> Scored:
        data, rgb = self.model.config.data, self._picture(state).rgb
        _check_shape(prediction.depth.shape, gt.shape)
        is_cropped = make_frame(rgb, data.data_set, data.size).window is not None
        protocol = find_protocol("none", is_cropped)
        pred, truth = protocol.align(
            torch.from_numpy(prediction.depth), torch.from_numpy(gt), "ground truth"
        )
        valid = valid_mask(truth, protocol, data.max_depth)
        found = score_image(pred, truth, valid, data.max_depth)
        if not found["num_pixels"]:
            raise UserError(
                f"the ground truth has no pixel between 0.001 m and {data.max_depth:g} m; is its "
                "scale right?"
            )
        rows = tuple((name, f"{found[name]:.4f}") for name in METRIC_NAMES)
        note = (
            f"protocol none, {found['num_pixels']:,} pixels below {data.max_depth:g} m; "
            f"{found['num_clamped']} predictions clamped, {found['num_nonfinite']} not finite"
            + (f"; {state.calibration.describe()}" if state.calibration else "")
        )
        drawn = panel(draw_picture(rgb), gt, prediction.depth, prediction.caption)
        return Scored(rows, drawn, note)

    @staticmethod
    def _picture(state: PageState) -> Picture:
        if state.picture is None:
            raise UserError("there is no picture yet: upload one, or choose an example")
        return state.picture

    def _own(self, state: PageState) -> Prediction:
        self._picture(state)
        if state.own is None:
            raise UserError("there is no depth yet: press Predict depth")
        return state.own

    def _new_folder(self) -> Path:
        """Empty, for one answer; the oldest ones go."""
        number = next(self._numbers)
        shutil.rmtree(self.folder / f"made_{number - KEPT_FOLDERS}", ignore_errors=True)
        folder = self.folder / f"made_{number}"
        folder.mkdir(parents=True)
        return folder


def _with_own(state: PageState, own: Prediction) -> PageState:
    """With new depth; what was found from other depth of the picture is dropped."""
    if state.own is not None and _fits_as(state.own, own):
        return replace(state, own=own, files=())
    return PageState(picture=state.picture, own=own, points=state.points, known=state.known)


def _fits_as(before: Prediction, now: Prediction) -> bool:
    """Whether known distances fit both alike: lengths need the camera, too."""
    return (
        np.array_equal(before.depth, now.depth, equal_nan=True)
        and before.intrinsics == now.intrinsics
        and before.focal_rule == now.focal_rule
    )


def _check_scale(depth_scale: object) -> float:
    if not isinstance(depth_scale, int | float) or not 0 < depth_scale < float("inf"):
        raise UserError("type the scale of the ground truth: stored units of a meter, as 1000")
    return float(depth_scale)


def _check_shape(own: tuple[int, ...], gt: tuple[int, ...]) -> None:
    ratio = (own[1] / own[0]) / (gt[1] / gt[0])
    if abs(np.log(ratio)) > SHAPE_TOLERANCE:
        raise UserError(
            f"the ground truth is {gt[0]}x{gt[1]}, the picture {own[0]}x{own[1]}: they do not show "
            "the same view"
        )
