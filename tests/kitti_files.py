"""Miniatures of KITTI's files for tests, and a way to run the program that prepares them."""

from pathlib import Path

import cv2
import numpy as np
from conftest import Outcome, run_script

from scripts.preparation.eigen import EIGEN_TEST_DRIVES
from scripts.preparation.kitti_frames import KittiFrame

# Frames of every test drive in the raw data; the archive annotates all but five at either end.
LENGTHS = dict(zip(EIGEN_TEST_DRIVES, (
    77, 447, 144, 86, 474, 188, 430, 803, 125, 22, 78, 294, 373, 570, 383, 706, 433, 475, 936, 227,
    660, 376, 1059, 279, 2762, 1106, 4544, 837), strict=True))  # fmt: skip
TRAIN_LENGTH = 12  # of every training drive here, so two frames of each are annotated
VAL_DRIVES = {"2011_09_26_drive_0002_sync", "2011_09_26_drive_0005_sync"}
CALIBRATION = {
    "calib_cam_to_cam.txt": (
        "calib_time: 09-Jan-2012 13:57:47\ncorner_dist: 9.950000e-02\n"
        "R_rect_00: 9.999239e-01 9.837760e-03 -7.445048e-03 -9.869795e-03 9.999421e-01 "
        "-4.278459e-03 7.402527e-03 4.351614e-03 9.999631e-01\n"
        "S_rect_02: 1.242000e+03 3.750000e+02\n"
        "P_rect_02: 7.215377e+02 0.000000e+00 6.095593e+02 4.485728e+01 0.000000e+00 7.215377e+02 "
        "1.728540e+02 2.163791e-01 0.000000e+00 0.000000e+00 1.000000e+00 2.745884e-03\n"
    ),
    "calib_velo_to_cam.txt": (
        "calib_time: 15-Mar-2012 11:37:16\n"
        "R: 7.533745e-03 -9.999714e-01 -6.166020e-04 1.480249e-02 7.280733e-04 -9.998902e-01 "
        "9.998621e-01 7.523790e-03 1.480755e-02\n"
        "T: -4.069766e-03 -7.631618e-02 -2.717806e-01\n"
        "delta_f: 0.000000e+00 0.000000e+00\n"
    ),
}


def prepare(*arguments) -> Outcome:
    """Run the program in this process."""
    return run_script("prepare_kitti.py", *arguments)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_calibration(raw: Path, date: str = "2011_09_26") -> None:
    for name, text in CALIBRATION.items():
        write(raw / date / name, text.encode())


def is_annotated(frame: KittiFrame) -> bool:
    length = LENGTHS.get(frame.drive, TRAIN_LENGTH)
    return 5 <= frame.number < length - 5


def write_annotated(depth: Path, frames: list[KittiFrame]) -> None:
    """16-bit depth in `train` and `val`; the value tells the frame."""
    for frame in filter(is_annotated, frames):
        section = "val" if frame.drive in VAL_DRIVES else "train"
        png = cv2.imencode(".png", np.full((3, 4), 256 + frame.number, np.uint16))[1]
        write(depth / section / frame.annotated, png.tobytes())
