"""Calls of scripts/predict.py on a tiny joint run: a plugin that needs `prediction_runs`, too."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import Outcome, run_script
from prediction_runs import CAPTION, make_run

Predict = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(workspace, tmp_path_factory) -> Path:
    return make_run(workspace, "joint", tmp_path_factory.mktemp("joint"))


@pytest.fixture
def predict(run, encoder, tmp_path) -> Predict:
    """Call the program on the joint run; it writes to `out`, a folder of the test's own."""

    def call(*words, caption: str | None = CAPTION, checkpoint: Path = run, out: object = None):
        own = () if caption is None else ("--caption", caption)
        place = ("--output", out or tmp_path / "out", "--device", "cpu")
        return run_script("predict.py", "--checkpoint", checkpoint, *words, *own, *place, encoder)

    return call


def save(path: Path, rgb: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    done, data = cv2.imencode(path.suffix, rgb[..., ::-1])
    assert done
    path.write_bytes(data.tobytes())
    return path


def write_video(path: Path, frames: list[np.ndarray]) -> Path:
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path
