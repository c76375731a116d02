"""A video beside its depth, and how much the depth flickers.

What has no end, a webcam, is taken until Ctrl-C: no frame is read after it, those that were read
are predicted, and the file is finished. A second Ctrl-C interrupts as anywhere.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.errors import UserError
from common.evaluation.canvas import DEPTH_COLORS, draw_color_bar, fit
from common.evaluation.panels import depth_range, depth_tile
from common.files import whole_file
from common.progress import progress_bar
from common.text_files import utf8_name
from scripts.prediction.model import DepthModel
from scripts.prediction.pictures import Picture
from scripts.prediction.result import Asked, Prediction

_MAX_WIDTH = 960  # px, of each half
_USUAL_FPS = 25.0  # where the file does not say
_MOST_COMPARED = 100_000  # pixels of a frame, for the flicker


@dataclass(frozen=True)
class VideoSource:
    """An opened video or webcam: fps, and its number of frames, None where it is not known.

    is_live: it has no end. A file that does not say its length has one.
    """

    capture: cv2.VideoCapture
    name: str
    fps: float
    count: int | None
    is_live: bool = False

    def frames(self) -> Iterator[np.ndarray]:
        """uint8 RGB [H, W, 3], as they come."""
        while True:
            is_there, frame = self.capture.read()
            if not is_there:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@contextmanager
def open_video(source: Path | int) -> Iterator[VideoSource]:
    """A file, or the number of a webcam; a `UserError` where it cannot be opened."""
    if isinstance(source, int):
        capture = cv2.VideoCapture(source)
        with _opened(capture, f"webcam {source}", "is it plugged in?", is_live=True) as video:
            yield video
        return
    with utf8_name(source) as name:
        capture = cv2.VideoCapture(str(name))
        with _opened(capture, str(source), "convert it (ffmpeg -i IN OUT.mp4)") as video:
            yield video


@contextmanager
def _opened(
    capture: cv2.VideoCapture, name: str, remedy: str, is_live: bool = False
) -> Iterator[VideoSource]:
    try:
        if not capture.isOpened():
            raise UserError(f"{name}: cannot be opened as a video; {remedy}")
        fps = capture.get(cv2.CAP_PROP_FPS)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        known = fps if 0 < fps <= 1000 else _USUAL_FPS
        yield VideoSource(capture, name, known, count if count > 0 else None, is_live)
    finally:
        capture.release()


@dataclass(frozen=True)
class VideoReport:
    """flicker: mean |ln ratio| of the depth of a pixel in consecutive frames, motion included; 0.01
    is 1 %. flicker_95: of the frames, the 95th percentile. last: one prediction, with its notes.
    num_resized: frames of another size than the first, which are resized to it.
    """

    num_frames: int
    fps: float
    flicker: float | None
    flicker_95: float | None
    last: Prediction
    num_resized: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """About the frames."""
        if not self.num_resized:
            return ()
        return (f"{self.num_resized} frames of another size than the first are resized to it",)

    def describe(self, name: str) -> dict[str, Any]:
        """What the JSON beside the video holds; name: of the source."""
        one = self.last
        return {
            "video": name,
            "frames": self.num_frames,
            "fps": self.fps,
            "flicker": {"mean": self.flicker, "percentile_95": self.flicker_95},
            "caption": one.caption,
            "intrinsics": None if one.intrinsics is None else one.intrinsics.to_plain(),
            **one.describe_scaling(),
            "notes": [*one.notes, *self.notes],
        }


@dataclass(frozen=True)
class VideoAsked:
    """How a video is predicted; most: frames to take, None: all."""

    caption: str | None
    focal: float | None
    asked: Asked
    batch_size: int
    most: int | None


def predict_video(
    model: DepthModel, video: VideoSource, target: Path, how: VideoAsked
) -> VideoReport:
    """Write frames and depth side by side as mp4, whole or not at all.

    All frames have the words of the first one, and the range of colors of the first batch.
    """
    sizes = OneSize()
    frames = islice(map(sizes.fit, video.frames()), how.most)
    total = min(filter(None, (video.count, how.most)), default=None)
    moves: list[float] = []
    drawing = last = caption = None
    with (
        whole_file(target) as temporary,
        utf8_name(temporary) as name,
        progress_bar("predict", total, unit="frame") as bar,
        interrupts_noted(video.is_live) as is_interrupted,
    ):
        while part := _next(frames, how.batch_size, is_interrupted):
            caption = caption or _words_of_first(model, how.caption, part[0])
            found = model.predict_all(
                [Picture(frame, name=video.name) for frame in part],
                [caption] * len(part),
                [how.focal] * len(part),
                how.asked,
            )
            depths = [one.depth for one in found]
            if drawing is None:
                drawing = Drawing(name, video.fps, part[0].shape[:2], depths)
            for frame, depth in zip(part, depths, strict=True):
                drawing.add(frame, depth)
            before = [] if last is None else [last.depth]
            moves += [log_move(*pair) for pair in pairwise([*before, *depths])]
            last = found[-1]
            bar.update(len(part))
        if drawing is None and is_interrupted():
            raise KeyboardInterrupt
        if drawing is None or last is None:
            raise UserError(f"{video.name}: no frame of it can be read; convert it first")
        drawing.close()
    flicker = (float(np.mean(moves)), float(np.percentile(moves, 95))) if moves else (None, None)
    return VideoReport(len(moves) + 1, video.fps, *flicker, last, sizes.num_resized)


@contextmanager
def interrupts_noted(wanted: bool) -> Iterator[Callable[[], bool]]:
    """Says whether Ctrl-C came, which interrupts nothing the first time; not wanted: it does."""
    # Another handler, or none (a shell's background job), is somebody's decision; other threads
    # than the main one are not interrupted, and may set none.
    is_ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not wanted or not is_ours or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    arrived: list[int] = []

    def note(number: int, _: Any) -> None:
        arrived.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(arrived)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _next(
    frames: Iterator[np.ndarray], most: int, is_interrupted: Callable[[], bool]
) -> list[np.ndarray]:
    """The next frames; none is read after an interrupt."""
    part: list[np.ndarray] = []
    while len(part) < most and not is_interrupted():
        frame = next(frames, None)
        if frame is None:
            break
        part.append(frame)
    return part


class OneSize:
    """Makes all frames as large as the first; some videos change their size on the way."""

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None  # width, height
        self.num_resized = 0

    def fit(self, frame: np.ndarray) -> np.ndarray:
        """uint8 [h, w, 3] -> [H, W, 3]."""
        own = frame.shape[1], frame.shape[0]
        self.size = self.size or own
        if own == self.size:
            return frame
        self.num_resized += 1
        return fit(frame, self.size, cv2.INTER_CUBIC)


def _words_of_first(model: DepthModel, caption: str | None, frame: np.ndarray) -> str | None:
    """The caption with `auto` made a sentence about the first frame."""
    if caption != "auto" or not model.words.needs_caption:
        return caption
    return model.words.choose([caption], [frame], model.device)[0].text


def log_move(before: np.ndarray, after: np.ndarray) -> float:
    """Mean |ln after - ln before| of two depth maps [H, W], meters; evenly spaced pixels."""
    step = max(int((before.size / _MOST_COMPARED) ** 0.5), 1)
    ratio = after[::step, ::step] / before[::step, ::step]
    with np.errstate(invalid="ignore", divide="ignore"):
        moves = np.abs(np.log(ratio))
    return float(moves[np.isfinite(moves)].mean()) if np.isfinite(moves).any() else 0.0


class Drawing:
    """Frames beside their depth, with a bar in meters below; see `predict_video`."""

    def __init__(
        self, path: Path, fps: float, size: tuple[int, int], first: Sequence[np.ndarray]
    ) -> None:
        """size: (H, W) of a frame. first: depth maps that give the range of the colors."""
        values = np.concatenate([depth.ravel() for depth in first])
        self.low, self.high = depth_range(values, np.isfinite(values))
        width = max(min(size[1], _MAX_WIDTH) // 2 * 2, 2)  # mp4 has even sizes
        self.half = width, max(round(size[0] * width / size[1]) // 2 * 2, 2)
        self.bar = draw_color_bar(2 * width, self.low, self.high, DEPTH_COLORS, " m")
        whole = 2 * width, self.half[1] + len(self.bar)
        self.writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, whole)
        if not self.writer.isOpened():
            raise UserError(f"cannot write {path}: this OpenCV writes no mp4")

    def add(self, frame: np.ndarray, depth: np.ndarray) -> None:
        """frame: uint8 RGB [H, W, 3]; depth: [H, W]."""
        colors = depth_tile(depth, self.low, self.high, self.half)
        row = np.hstack([fit(frame, self.half, cv2.INTER_CUBIC), colors])
        self.writer.write(cv2.cvtColor(np.vstack([row, self.bar]), cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        self.writer.release()
