"""predict.py on videos and webcams: beside their depth, flicker, Ctrl-C, changing frames."""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import REPO_ROOT, start_process
from predict_program import save, write_video
from prediction_runs import CAPTION, picture

from scripts.prediction.model import DepthModel
from scripts.prediction.video import interrupts_noted, log_move

pytest_plugins = ["prediction_runs", "predict_program"]


@pytest.fixture(autouse=True)
def interruptible():
    """Also where the tests are a background job, whose shell has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# A camera that this machine does not have: frames without end, of a video that does not say its
# length. Ctrl-C comes when the second batch is predicted, which is where most of the time goes.
WEBCAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's ignores it
import os, runpy, signal, sys
import cv2, numpy as np

class Camera:
    def __init__(self, source): pass
    def isOpened(self): return True
    def get(self, what): return 10.0 if what == cv2.CAP_PROP_FPS else -1.0
    def read(self): return True, np.full((48, 64, 3), 90, np.uint8)
    def release(self): pass

from scripts.prediction.model import DepthModel
predict_all, calls = DepthModel.predict_all, []

def interrupted(self, *words):
    calls.append(words)
    for number in range(int(os.environ["INTERRUPTS"]) if len(calls) == 2 else 0):
        os.kill(os.getpid(), signal.SIGINT)
    return predict_all(self, *words)

DepthModel.predict_all = interrupted
cv2.VideoCapture = Camera
sys.argv = ["predict.py", *sys.argv[1:]]
runpy.run_path("scripts/predict.py", run_name="__main__")
"""


def test_a_video_beside_its_depth(predict, tmp_path):
    rgb = picture(48, 64)
    moving = write_video(tmp_path / "moving.mp4", [np.roll(rgb, 9 * t, 1) for t in range(5)])
    still = write_video(tmp_path / "still.mp4", [rgb] * 3)
    outcome = predict(moving, still, "--batch", 2)
    assert outcome.code == 0, outcome.err
    facts = json.loads((tmp_path / "out/moving_depth.json").read_text())
    assert (facts["frames"], facts["fps"], facts["caption"]) == (5, 10.0, CAPTION)
    calm = json.loads((tmp_path / "out/still_depth.json").read_text())
    assert facts["flicker"]["mean"] > 5 * calm["flicker"]["mean"]
    assert calm["flicker"]["mean"] < 0.01
    video = cv2.VideoCapture(str(tmp_path / "out/moving_depth.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 5
    assert video.read()[1].shape == (48 + 44, 128, 3)
    video.release()
    assert predict(moving, "--frames", 1).code == 0
    short = json.loads((tmp_path / "out/moving_depth.json").read_text())
    assert (short["frames"], short["flicker"]["mean"]) == (1, None)


def test_a_video_that_is_none_and_one_whose_name_is_not_utf8(predict, tmp_path):
    rgb = picture(32, 32)
    good = write_video(tmp_path / "v.mp4", [rgb] * 2)
    named = good.rename(tmp_path / os.fsdecode(b"v\xe9.mp4"))
    (tmp_path / "bad.mp4").write_text("no video")
    outcome = predict(tmp_path / "bad.mp4", named)
    assert "bad.mp4: cannot be opened as a video" in outcome.refusal
    assert (tmp_path / "out" / os.fsdecode(b"v\xe9_depth.mp4")).stat().st_size > 0
    assert not (tmp_path / "out/bad_depth.mp4").exists()


def test_flicker_is_the_mean_log_ratio():
    before = np.full((4, 4), 2.0, np.float32)
    assert log_move(before, before) == 0
    assert log_move(before, 2 * before) == pytest.approx(np.log(2))
    holes = np.where(np.eye(4) > 0, np.nan, before)
    assert log_move(holes, 3 * before) == pytest.approx(np.log(3), rel=1e-6)


def run_webcam(run: Path, encoder: str, out: Path, interrupts: int):
    words = ("--checkpoint", run, "0", "--caption", CAPTION, "--output", out, "--device", "cpu")
    process = start_process(
        *(sys.executable, "-c", WEBCAM, *map(str, words), "--batch", "2", encoder),
        PYTHONPATH=str(REPO_ROOT),
        INTERRUPTS=str(interrupts),
    )
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def check_recording(folder: Path, num_frames: int):
    facts = json.loads((folder / "webcam_0_depth.json").read_text())
    assert (facts["frames"], facts["video"]) == (num_frames, "0")
    video = cv2.VideoCapture(str(folder / "webcam_0_depth.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == num_frames and video.read()[0]
    video.release()


@pytest.mark.slow
@pytest.mark.parametrize("interrupts", [1, 2])
def test_ctrl_c_ends_the_recording_of_a_process_and_a_second_one_the_process(
    run, encoder, tmp_path, interrupts
):
    code, output, errors = run_webcam(run, encoder, tmp_path / "out", interrupts)
    if interrupts == 1:
        assert code == 0, errors
        assert "webcam_0: 4 frames" in output and "1 of 1 written" in output
        check_recording(tmp_path / "out", 4)
    else:
        assert code == 130 and "interrupted" in errors
        assert not list((tmp_path / "out").glob("*_depth*"))


@pytest.mark.parametrize("moment", ["read", "predict_all"])
def test_ctrl_c_ends_a_webcam_whatever_is_going_on(predict, tmp_path, monkeypatch, moment):
    place = {"read": Frames, "predict_all": DepthModel}[moment]
    work, calls = getattr(place, moment), []

    def interrupted(self, *words):
        calls.append(words)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return work(self, *words)

    monkeypatch.setattr(place, moment, interrupted)
    camera = Frames([picture(48, 64)] * 100, says_count=False)
    monkeypatch.setattr("scripts.prediction.video.cv2.VideoCapture", lambda _: camera)
    outcome = predict("0", "--batch", 3)
    monkeypatch.undo()
    assert outcome.code == 0, outcome.err
    check_recording(tmp_path / "out", {"read": 2, "predict_all": 6}[moment])


def test_ctrl_c_before_a_first_frame_is_no_fault_of_the_webcam(predict, tmp_path, monkeypatch):
    def read(self):
        os.kill(os.getpid(), signal.SIGINT)
        return False, None

    monkeypatch.setattr(Frames, "read", read)
    camera = Frames([], says_count=False)
    monkeypatch.setattr("scripts.prediction.video.cv2.VideoCapture", lambda _: camera)
    outcome = predict("0")
    assert outcome.code == 130 and "interrupted" in outcome.err
    assert not list((tmp_path / "out").glob("*_depth*"))


def test_ctrl_c_ends_the_program_in_a_file_that_does_not_say_its_length(
    predict, tmp_path, monkeypatch
):
    predict_all, calls = DepthModel.predict_all, []

    def interrupted(self, *words):
        calls.append(words)
        os.kill(os.getpid(), signal.SIGINT)
        return predict_all(self, *words)

    monkeypatch.setattr(DepthModel, "predict_all", interrupted)
    video = Frames([picture(48, 64)] * 9, says_count=False)
    monkeypatch.setattr("scripts.prediction.video.cv2.VideoCapture", lambda _: video)
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").write_bytes(b"read by the class below")
    outcome = predict(tmp_path / "a.mp4", tmp_path / "b.mp4", "--batch", 3)
    assert outcome.code == 130 and len(calls) == 1
    assert not list((tmp_path / "out").glob("*_depth*"))


def test_interrupts_are_noted_only_where_they_end_nothing_else():
    with interrupts_noted(False) as came, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        assert not came()
    before = signal.getsignal(signal.SIGINT)
    assert before is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a background job of a shell
    try:
        with interrupts_noted(True):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    with ThreadPoolExecutor(1) as threads:

        def elsewhere() -> bool:
            with interrupts_noted(True) as came:
                return came()

        assert threads.submit(elsewhere).result() is False
    with interrupts_noted(True) as came:
        os.kill(os.getpid(), signal.SIGINT)
        assert came()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


class Frames:
    """An opened video whose frames are those given; OpenCV's own is a C object."""

    def __init__(self, frames, says_count=True):
        self.frames, self.says_count = list(frames), says_count

    def isOpened(self):  # noqa: N802 - as OpenCV names it
        return True

    def get(self, what):
        if what == cv2.CAP_PROP_FPS:
            return 10.0
        return float(len(self.frames)) if self.says_count else -1.0

    def read(self):
        return (True, self.frames.pop(0)) if self.frames else (False, None)

    def release(self):
        pass


def test_frames_that_change_their_size_are_resized_and_told(predict, tmp_path, monkeypatch):
    sizes = [(48, 64), (48, 64), (96, 128), (64, 48), (48, 64)]
    frames = [cv2.resize(picture(), (width, height)) for height, width in sizes]
    monkeypatch.setattr("scripts.prediction.video.cv2.VideoCapture", lambda _: Frames(frames))
    (tmp_path / "v.mp4").write_bytes(b"read by the class above")
    outcome = predict(tmp_path / "v.mp4", "--batch", 2)
    assert outcome.code == 0, outcome.err
    assert "2 frames of another size than the first are resized to it" in outcome.err
    facts = json.loads((tmp_path / "out/v_depth.json").read_text())
    assert facts["frames"] == 5 and any("2 frames of another size" in n for n in facts["notes"])


def test_what_is_of_pictures_alone_is_said(predict, tmp_path, monkeypatch):
    predict_all, drawn = DepthModel.predict_all, {}

    def noted(self, pictures, captions, focals, asked):
        drawn.update({Path(each.name).name: asked.samples for each in pictures})
        return predict_all(self, pictures, captions, focals, asked)

    monkeypatch.setattr(DepthModel, "predict_all", noted)
    video = write_video(tmp_path / "v.mp4", [picture(32, 32)] * 2)
    room = save(tmp_path / "room.png", picture())
    for words in (("--ply",), ("--samples", 2), ("--ply", "--glb")):
        refused = predict(video, *words).refusal
        told = ", ".join(word for word in words if isinstance(word, str))
        assert f"{told}: of pictures only" in refused
    assert not (tmp_path / "out").exists()
    both = predict(video, room, "--ply", "--samples", 2)
    assert both.code == 0, both.err
    assert "note: --ply, --samples: of the pictures, not of the videos" in both.err
    assert drawn == {"room.png": 2, "v.mp4": 0}
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"room.ply", "room_sampled.npy", "v_depth.mp4"} <= written
    assert "v.ply" not in written and "v_sampled.npy" not in written
