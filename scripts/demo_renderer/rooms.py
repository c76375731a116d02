"""Demo rooms: procedural images of rooms whose size follows from what kind of room they are.

Every scene depends on (seed, split, index) and the image size only. Its depth is kept as whole
quarters of its full-size millimeters, so that a miniature, a quarter of the size, is exact: the
same image, every depth divided by four.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from common.errors import UserError
from scripts.demo_renderer.captions import visible_phrases
from scripts.demo_renderer.finishes import Finish
from scripts.demo_renderer.homes import (
    furnish_bathroom,
    furnish_bedroom,
    furnish_dining_room,
    furnish_kitchen,
    furnish_living_room,
)
from scripts.demo_renderer.piece_layout import PieceLayout
from scripts.demo_renderer.pieces import Rng
from scripts.demo_renderer.public_rooms import (
    furnish_classroom,
    furnish_hallway,
    furnish_library,
    furnish_meeting_room,
    furnish_office,
)
from scripts.demo_renderer.renderer import Camera, Light, Room, Scene, render_color, render_geometry

SPLITS = ("train", "val", "test")
NYU_FOCAL_PX, NYU_WIDTH = 518.8579, 640
MIN_DEPTH, MAX_DEPTH = 0.45, 9.5  # meters, full size
MAX_ASPECT = 2.0  # height / width beyond which no camera keeps the floor far enough away
_BEHIND = 1.5  # meters of room behind z = 0, never seen


@dataclass(frozen=True)
class RoomType:
    """Typical size in meters, camera pitch in degrees (down) and contents of a kind of room."""

    name: str
    width: tuple[float, float]
    length: tuple[float, float]
    height: tuple[float, float]
    pitch: tuple[float, float]
    camera_z: tuple[float, float]
    furnish: Callable[[PieceLayout], Finish]


ROOM_TYPES = (
    RoomType("bedroom", (3.0, 3.9), (3.1, 4.0), (2.4, 2.6), (12, 19), (-0.5, 0.0), furnish_bedroom),
    RoomType(
        "bathroom", (1.9, 2.4), (2.0, 2.4), (2.3, 2.5), (17, 24), (-0.5, -0.2), furnish_bathroom
    ),
    RoomType("kitchen", (2.6, 3.4), (2.7, 3.5), (2.4, 2.6), (10, 17), (-0.5, 0.0), furnish_kitchen),
    RoomType(
        "living room", (4.0, 5.2), (4.4, 5.6), (2.5, 2.8), (9, 15), (-0.3, 0.2), furnish_living_room
    ),
    RoomType("office", (2.7, 3.5), (2.9, 3.7), (2.4, 2.7), (11, 18), (-0.5, 0.0), furnish_office),
    RoomType(
        "classroom", (6.4, 7.6), (7.4, 8.8), (2.9, 3.3), (6, 11), (-0.2, 0.2), furnish_classroom
    ),
    RoomType("hallway", (1.3, 1.9), (6.2, 8.0), (2.4, 2.7), (5, 10), (-0.1, 0.3), furnish_hallway),
    RoomType(
        "dining room",
        (3.4, 4.4),
        (3.8, 4.8),
        (2.5, 2.8),
        (11, 17),
        (-0.4, 0.1),
        furnish_dining_room,
    ),
    RoomType("library", (4.4, 5.6), (5.6, 7.0), (2.8, 3.2), (6, 11), (-0.2, 0.2), furnish_library),
    RoomType(
        "meeting room",
        (4.2, 5.2),
        (5.4, 6.6),
        (2.6, 3.0),
        (8, 14),
        (-0.3, 0.1),
        furnish_meeting_room,
    ),
)


@dataclass(frozen=True)
class DemoRoom:
    """One image and its full-size depth.

    rgb: uint8 [H, W, 3]; quarter_mm: uint16 [H, W], full-size depth in units of 4 mm;
    phrases: the visible things, see `visible_phrases`.
    """

    kind: str
    index: int
    scene: Scene
    rgb: np.ndarray
    quarter_mm: np.ndarray
    phrases: dict[str, tuple[str, float]]


def nyu_focal_px(width: int) -> float:
    """Return the focal length of the NYU camera for images `width` pixels wide."""
    return NYU_FOCAL_PX * width / NYU_WIDTH


def scene_rng(seed: int, split: str, index: int, purpose: int = 0) -> Rng:
    """Return the random generator of one scene; other purposes draw from other generators."""
    return np.random.default_rng([seed, SPLITS.index(split), index, purpose])


def draw_room(seed: int, split: str, index: int, height: int, width: int) -> DemoRoom:
    """Draw scene `index` of a split; room types take turns.

    Raises UserError when the image is so small or tall that no room will do.
    """
    rng = scene_rng(seed, split, index)
    kind = ROOM_TYPES[index % len(ROOM_TYPES)]
    for _ in range(100):
        scene = _build_scene(rng, kind, height, width)
        hits = render_geometry(scene)
        quarter_mm = np.rint(hits.depth * 250)
        low, high = 4 * quarter_mm.min() / 1000, 4 * quarter_mm.max() / 1000
        shares = hits.object_pixels(scene) / hits.depth.size
        phrases = visible_phrases(scene.names, shares)
        if low >= MIN_DEPTH and high <= MAX_DEPTH and phrases:
            rgb = _expose(rng, render_color(scene, hits))
            return DemoRoom(kind.name, index, scene, rgb, quarter_mm.astype(np.uint16), phrases)
    raise UserError(
        f"no {kind.name} shows anything in {width} x {height} pixels; give a larger --width"
    )


def _build_scene(rng: Rng, kind: RoomType, height: int, width: int) -> Scene:
    size = (rng.uniform(*kind.width), rng.uniform(*kind.length), rng.uniform(*kind.height))
    layout = PieceLayout(rng, *size)
    finish = kind.furnish(layout)
    half = (size[0] / 2, size[2] / 2, (size[1] + _BEHIND) / 2)
    center = (half[0], half[1], half[2] - _BEHIND)
    return Scene(
        room=Room(center, half, finish.wall, finish.floor, finish.ceiling),
        solids=tuple(layout.solids),
        names=tuple(layout.names),
        light=_place_light(rng, *size),
        camera=_place_camera(rng, kind, size[0], size[1], height, width),
        footprints=tuple(layout.footprints),
    )


def _place_light(rng: Rng, width: float, length: float, height: float) -> Light:
    position = (rng.uniform(0.3, 0.7) * width, height - 0.35, rng.uniform(0.2, 0.6) * length)
    warmth = rng.uniform(-0.05, 0.09)
    return Light(
        position,
        ambient=rng.uniform(0.42, 0.55),
        strength=rng.uniform(0.6, 0.85),
        reach=0.8 * length,
        tint=(1 + warmth, 1.0, 1 - warmth),
    )


def _place_camera(
    rng: Rng, kind: RoomType, room_width: float, length: float, height: int, width: int
) -> Camera:
    x, z = rng.uniform(0.3, 0.7) * room_width, rng.uniform(*kind.camera_z)
    aim_x = rng.uniform(0.4, 0.6) * room_width
    yaw = np.arctan2(aim_x - x, length - z) + np.radians(rng.uniform(-4, 4))
    return Camera(
        (x, rng.uniform(1.35, 1.6), z),
        nyu_focal_px(width),
        height,
        width,
        yaw=float(yaw),
        pitch=float(np.radians(rng.uniform(*kind.pitch))),
        roll=float(np.radians(rng.normal(0, 0.7))),
    )


def _expose(rng: Rng, rgb: np.ndarray) -> np.ndarray:
    """Vary the exposure and add sensor noise."""
    gain = np.float32(rng.uniform(0.88, 1.1))
    noise = rng.standard_normal(rgb.shape, np.float32) * np.float32(rng.uniform(0.5, 2.5))
    return np.clip(rgb * gain + noise, 0, 255).astype(np.uint8)
