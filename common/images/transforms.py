"""Geometry and color of one sample: pure functions on arrays with an explicit generator.

Images are uint8 RGB [H, W, 3] and depth maps stored uint16 [H, W] up to the last step, which makes
a normalized float32 [3, H, W] image out of one 256-entry table per channel.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from common.images.crops import KB_SIZE, bottom_window

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Augmentation:
    """Which random changes training makes."""

    rotate_degrees: float  # uniform in +- this
    zoom: float  # uniform in 1 to this
    flip: bool
    jitter: bool
    brightness: tuple[float, float]


@dataclass(frozen=True)
class Motion:
    """Of the picture within its frame: turned and magnified about a point (x, y); None: its center.

    degrees: counter-clockwise.
    """

    degrees: float = 0.0
    zoom: float = 1.0
    center: tuple[float, float] | None = None


@dataclass(frozen=True)
class Jitter:
    """Color change of one image: value ** gamma * brightness * color, on values in [0, 1]."""

    gamma: float = 1.0
    brightness: float = 1.0
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)


def augment(
    image: np.ndarray, depth: np.ndarray, settings: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, Jitter]:
    """Turn, zoom and flip both; draw the color change, which `normalize` applies.

    What is shown s times as large is s times nearer to the same camera, so depth is divided by the
    zoom (Eigen et al., NIPS 2014, section 3.4).
    """
    if settings.rotate_degrees > 0 or settings.zoom > 1:
        motion = draw_motion(settings, depth.shape, rng)
        image, depth = move(image, depth, motion)
    if settings.flip and rng.random() < 0.5:
        image, depth = cv2.flip(image, 1), cv2.flip(depth, 1)
    jitter = Jitter()
    if settings.jitter and rng.random() < 0.5:
        jitter = draw_jitter(settings.brightness, rng)
    return image, depth, jitter


def draw_motion(settings: Augmentation, size: tuple[int, int], rng: np.random.Generator) -> Motion:
    """Within the settings; a zoom is about any point of an image [H, W]."""
    degrees = 0.0
    if settings.rotate_degrees > 0:
        degrees = rng.uniform(-settings.rotate_degrees, settings.rotate_degrees)
    if settings.zoom == 1:
        return Motion(degrees)
    zoom = rng.uniform(1.0, settings.zoom)
    return Motion(degrees, zoom, (rng.uniform(0, size[1] - 1), rng.uniform(0, size[0] - 1)))


def move(image: np.ndarray, depth: np.ndarray, motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Depth, [H, W] as stored, is divided by the zoom; bilinear image, nearest depth, 0 outside."""
    height, width = depth.shape
    center = motion.center or ((width - 1) / 2, (height - 1) / 2)
    matrix = cv2.getRotationMatrix2D(center, motion.degrees, motion.zoom)
    image = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR)
    depth = cv2.warpAffine(depth, matrix, (width, height), flags=cv2.INTER_NEAREST)
    if motion.zoom == 1:
        return image, depth
    nearer = depth / np.float32(motion.zoom)
    return image, nearer if depth.dtype.kind == "f" else np.rint(nearer).astype(depth.dtype)


def draw_jitter(brightness: tuple[float, float], rng: np.random.Generator) -> Jitter:
    """Gamma and color in 0.9-1.1, brightness in its data set's range."""
    red, green, blue = rng.uniform(0.9, 1.1, 3).tolist()
    return Jitter(rng.uniform(0.9, 1.1), rng.uniform(*brightness), (red, green, blue))


def tone_table(jitter: Jitter) -> np.ndarray:
    """float32 [3, 256]: the normalized value of each 8-bit value of each channel.

    8-bit input has 256 values, so the table equals the arithmetic on every pixel.
    """
    value = (np.arange(256) / 255) ** jitter.gamma * jitter.brightness
    value = np.clip(value * np.array(jitter.color)[:, None], 0.0, 1.0)  # [3, 256]
    mean, std = np.array(IMAGENET_MEAN)[:, None], np.array(IMAGENET_STD)[:, None]
    return ((value - mean) / std).astype(np.float32)


def normalize(image: np.ndarray, jitter: Jitter | None = None) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [3, H, W] with ImageNet mean and std, after the color change."""
    table = tone_table(jitter or Jitter())
    out = np.empty((3, *image.shape[:2]), np.float32)  # [3, H, W]
    for channel, plane in enumerate(cv2.split(image)):
        cv2.LUT(plane, table[channel], dst=out[channel])
    return out


def to_meters(depth: np.ndarray, depth_scale: float) -> np.ndarray:
    """Stored uint16 [H, W] -> float32 [1, H, W], meters."""
    return np.divide(depth, np.float32(depth_scale), dtype=np.float32)[None]  # [1, H, W]


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Area average when it shrinks, bilinear when it grows; untouched at the same size."""
    if image.shape[:2] == (height, width):
        return image
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)


def resize_depth(depth: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest measurement, never a mixture of two."""
    if depth.shape == (height, width):
        return depth
    return cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def mask_border(depth: np.ndarray, rows: tuple[int, int], cols: tuple[int, int]) -> np.ndarray:
    """Zero outside rows[0]:rows[1] and cols[0]:cols[1]."""
    inside = np.zeros_like(depth)
    window = slice(*rows), slice(*cols)
    inside[window] = depth[window]
    return inside


def bottom_crop(array: np.ndarray, size: tuple[int, int] = KB_SIZE) -> np.ndarray:
    """A view of the (height, width) window at the bottom, centered horizontally.

    Raises ValueError where it does not fit. The default is KITTI's benchmark window.
    """
    window = bottom_window(array.shape[0], array.shape[1], size)
    if window is None:
        raise ValueError(f"{array.shape[0]}x{array.shape[1]} is smaller than {size[0]}x{size[1]}")
    return array[window]


def crop(array: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A view of the window; works on [H, W] and [H, W, 3]."""
    return array[top : top + height, left : left + width]


def draw_crop(
    size: tuple[int, int], height: int, width: int, rng: np.random.Generator
) -> tuple[int, int]:
    """Top and left of a uniformly random height x width window in an image of `size` (H, W)."""
    top = int(rng.integers(size[0] - height + 1))
    return top, int(rng.integers(size[1] - width + 1))
