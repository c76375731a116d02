"""The demo streets on disk: KITTI's layout, drives below `raw/`, depth below `depth/`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from scripts.demo_renderer.streets import FRAMES_PER_DRIVE, draw_frame, kitti_focal_px
from scripts.demo_renderer.writer import (
    map_processes,
    whole_folder,
    write_description,
    write_json_lines,
    write_lines,
    write_png,
)

DATE = "2011_09_26"
_FIRST_DRIVE = {"train": 1, "val": 501, "test": 801}


@dataclass(frozen=True)
class StreetsSettings:
    """What decides every byte of the streets."""

    train_frames: int = 32
    val_frames: int = 8
    test_frames: int = 8
    height: int = 375
    width: int = 1242
    seed: int = 0

    def to_dict(self) -> dict:
        """Return the settings as they stand in `dataset.json`."""
        return {"kind": "streets", "format": 1, **asdict(self)}

    def jobs(self) -> Iterator[FramePlace]:
        """Give every frame; the test split ends with one more, which has no ground truth."""
        counts = {"train": self.train_frames, "val": self.val_frames, "test": self.test_frames}
        for split, count in counts.items():
            for number in range(count):
                yield FramePlace(split, *divmod(number, FRAMES_PER_DRIVE))
        yield FramePlace("test", *divmod(self.test_frames, FRAMES_PER_DRIVE), has_depth=False)


@dataclass(frozen=True)
class FramePlace:
    """One frame: `drive` counts the drives of its split from 0, `frame` the frames of the drive."""

    split: str
    drive: int
    frame: int
    has_depth: bool = True

    @property
    def image(self) -> str:
        """Path below `raw/`."""
        return f"{DATE}/{self._sync}/image_02/data/{self.frame:010d}.png"

    @property
    def depth(self) -> str:
        """Path below `depth/`, or "None"."""
        if not self.has_depth:
            return "None"
        return f"{self._sync}/proj_depth/groundtruth/image_02/{self.frame:010d}.png"

    @property
    def _sync(self) -> str:
        return f"{DATE}_drive_{_FIRST_DRIVE[self.split] + self.drive:04d}_sync"


def write_streets(final: Path, settings: StreetsSettings, workers: int) -> None:
    """Make all streets and put them at `final`, which may not exist or is replaced."""
    with whole_folder(final) as root:
        jobs = list(settings.jobs())
        captions = map_processes(partial(write_frame, root, settings), jobs, workers, "streets")
        focal, counts = kitti_focal_px(settings.width), {}
        for split in _FIRST_DRIVE:
            lines = [f"{job.image} {job.depth} {focal:.4f}" for job in jobs if job.split == split]
            counts[split] = len(lines)
            write_lines(root / f"{split}_files_with_gt.txt", lines)
        rows = zip(jobs, captions, strict=True)
        write_json_lines(
            root / "captions.jsonl", ({"image": job.image, "caption": text} for job, text in rows)
        )
        write_description(root, settings.to_dict(), counts)


def write_frame(root: Path, settings: StreetsSettings, job: FramePlace) -> str:
    """Draw one frame and write its files; return its caption."""
    frame = draw_frame(
        settings.seed, job.split, job.drive, job.frame, settings.height, settings.width
    )
    write_png(root / "raw" / job.image, frame.rgb)
    if job.has_depth:
        write_png(root / "depth" / job.depth, np.rint(frame.depth * 256).astype(np.uint16))
    return frame.caption
