"""What differs between data sets; each has one small file that fills this in."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """How a data set stores its pairs and how its training images are varied."""

    depth_scale: float  # stored value of one meter in the 16-bit PNG
    brightness: tuple[float, float]  # range of the brightness factor in training
    kb_crop: bool = False  # images are cut to KITTI's 352x1216 instead of being resized
    rotated_bits: bool = False  # stored 16-bit values are turned by 3 bits, as in SUN RGB-D
    border_rows: tuple[int, int] | None = None  # training ground truth outside is dropped ...
    border_cols: tuple[int, int] | None = None
    border_size: tuple[int, int] | None = None  # ... in files of this (height, width)
    depth_dirs: tuple[str, ...] = ("",)  # where below the ground-truth folder depth paths start
