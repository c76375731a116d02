"""Demo streets: a road between houses and trees, with the sparse depth of a LiDAR.

A drive depends on (seed, split, drive) only; its frames differ by how far the camera has driven.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, pi

import numpy as np

from scripts.demo_renderer.captions import enumerate_things, visible_phrases
from scripts.demo_renderer.piece_layout import PieceLayout
from scripts.demo_renderer.pieces import DARK, STEEL, WHITE, Piece, Rng, pick, scaled, textured
from scripts.demo_renderer.renderer import (
    Camera,
    Light,
    Material,
    Room,
    Scene,
    Vector,
    render_color,
    render_geometry,
)

KITTI_FOCAL_PX, KITTI_WIDTH = 721.5377, 1242
MAX_DEPTH = 80.0  # meters, the farthest return
FRAME_STEP = 5.0  # meters driven from one frame to the next
FRAMES_PER_DRIVE = 8
_CAMERA_HEIGHT = 1.65
_LANE = 0.15  # of the road's width from its middle: where cars drive
_STREET_END = 160.0  # meters; houses and trees stand up to here
_SPLITS = ("train", "val", "test")

CAR_COLORS: tuple[Vector, ...] = (
    (0.75, 0.12, 0.12), (0.15, 0.28, 0.60), (0.80, 0.80, 0.82), (0.15, 0.15, 0.17),
    (0.90, 0.90, 0.90), (0.20, 0.42, 0.30), (0.45, 0.47, 0.50), (0.85, 0.65, 0.15),
)  # fmt: skip
HOUSE_COLORS: tuple[Vector, ...] = (
    (0.82, 0.74, 0.60), (0.70, 0.45, 0.36), (0.86, 0.84, 0.78), (0.62, 0.62, 0.62),
    (0.85, 0.70, 0.50), (0.60, 0.66, 0.70),
)  # fmt: skip


@dataclass(frozen=True)
class StreetType:
    """Sizes in meters and how much stands along the road."""

    name: str
    road_width: tuple[float, float]
    house_height: tuple[float, float]  # (0, 0): no houses
    parked_share: float
    tree_gap: tuple[float, float]


STREET_TYPES = (
    StreetType("residential street", (8.2, 9.2), (5.0, 8.0), 0.6, (9.0, 18.0)),
    StreetType("city street", (9.5, 12.0), (11.0, 20.0), 0.75, (15.0, 40.0)),
    StreetType("country road", (5.5, 7.0), (0.0, 0.0), 0.0, (4.0, 9.0)),
)
TEMPLATES = (
    "A {street} with {things}.",
    "A {street} lined with {things}.",
    "{Things} along a {street}.",
)


@dataclass(frozen=True)
class StreetFrame:
    """rgb: uint8 [H, W, 3]; depth: float32 [H, W], meters, 0 = no return."""

    rgb: np.ndarray
    depth: np.ndarray
    caption: str


def kitti_focal_px(width: int) -> float:
    """Return the focal length of the KITTI camera for images `width` pixels wide."""
    return KITTI_FOCAL_PX * width / KITTI_WIDTH


def draw_frame(
    seed: int, split: str, drive: int, frame: int, height: int, width: int
) -> StreetFrame:
    """Draw one frame of a drive."""
    key = [seed, _SPLITS.index(split), drive]
    kind = STREET_TYPES[drive % len(STREET_TYPES)]
    scene = _build_scene(np.random.default_rng(key), kind, frame, height, width)
    hits = render_geometry(scene)
    rng = np.random.default_rng([*key, frame])
    depth = np.where(scan_mask(rng, scene.camera) & (hits.depth <= MAX_DEPTH), hits.depth, 0)
    phrases = visible_phrases(scene.names, hits.object_pixels(scene) / depth.size, least=0.004)
    caption = _write_caption(rng, kind.name, [phrase for phrase, _ in phrases.values()])
    return StreetFrame(render_color(scene, hits), depth.astype(np.float32), caption)


def scan_mask(rng: Rng, camera: Camera) -> np.ndarray:
    """Return the pixels [H, W] that 64 laser lines from +2 to -24.8 degrees meet, less dropout.

    Lines and points keep at least 5 rows and 1.25 columns apart, whatever the image's size.
    """
    line_step = max(np.radians(26.8 / 63), 5 / camera.f_px)
    point_step = max(np.radians(0.09), 1.25 / camera.f_px)
    down = np.arange(-np.radians(2.0), np.radians(24.8), line_step)[:, None]
    reach = np.arctan2(camera.width / 2, camera.f_px)
    across = np.arange(-reach, reach, point_step)
    row = camera.height / 2 + camera.f_px * np.tan(down) / np.cos(across)
    col = np.broadcast_to(camera.width / 2 + camera.f_px * np.tan(across), row.shape)
    keep = (row >= 0) & (row < camera.height) & (col >= 0) & (col < camera.width)
    keep &= rng.random(row.shape) > 0.15
    mask = np.zeros((camera.height, camera.width), bool)
    mask[row[keep].astype(int), col[keep].astype(int)] = True
    return mask


def car(rng: Rng, name: str) -> Piece:
    """Build a car whose front is at +z."""
    color = pick(rng, CAR_COLORS)
    paint, glass, tire = Material(color), Material((0.16, 0.20, 0.24)), Material((0.07, 0.07, 0.07))
    length, tall = rng.uniform(3.8, 4.6), rng.uniform(1.40, 1.6)
    piece = Piece(name, (1.76, tall, length))
    piece.box((-0.88, 0.88), (0.28, 0.86), (0, length), paint)
    piece.box((-0.78, 0.78), (0.86, tall - 0.06), (0.25 * length - 0.7, 0.72 * length), glass)
    piece.box((-0.74, 0.74), (tall - 0.08, tall), (0.25 * length - 0.55, 0.66 * length), paint)
    for x in (-0.9, 0.72):
        for z in (0.18 * length, 0.8 * length):
            piece.ball((x, x + 0.18), (0, 0.64), (z - 0.32, z + 0.32), tire)
    for x in (-0.84, 0.56):
        piece.box((x, x + 0.28), (0.62, 0.8), (-0.01, 0.02), Material((0.75, 0.08, 0.06)))
        piece.box((x, x + 0.28), (0.6, 0.76), (length - 0.02, length + 0.01), Material(WHITE))
    piece.box((-0.26, 0.26), (0.48, 0.6), (-0.01, 0.02), Material((0.9, 0.9, 0.85)))
    piece.box((-0.88, 0.88), (0.28, 0.42), (-0.03, length + 0.03), Material(scaled(color, 0.5)))
    return piece


def tree(rng: Rng) -> Piece:
    height = rng.uniform(4.5, 8.5)
    green = pick(rng, ((0.20, 0.38, 0.14), (0.28, 0.44, 0.16), (0.16, 0.32, 0.16)))
    leaf = textured(rng, "leaves", green, scaled(green, 0.6), 0.12)
    piece = Piece("tree", (0.4, height, 0.4))
    bark = textured(rng, "wood", (0.36, 0.27, 0.19), (0.24, 0.18, 0.13), 0.1)
    piece.cylinder((-0.17, 0.17), (0, height * 0.5), (0.03, 0.37), bark)
    for _ in range(5):
        x, z = rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.9)
        y, radius = height * rng.uniform(0.55, 0.8), rng.uniform(1.0, 1.5)
        piece.ball(
            (x - radius, x + radius), (y - radius, y + radius), (z - radius, z + radius), leaf
        )
    return piece


def street_lamp(rng: Rng) -> Piece:
    piece, metal = Piece("street lamp", (0.3, 6.0, 0.3)), Material((0.35, 0.37, 0.38))
    piece.cylinder((-0.07, 0.07), (0, 6), (0, 0.14), metal)
    piece.box((-0.04, 0.04), (5.9, 6.0), (0, 1.4), metal)
    piece.box((-0.12, 0.12), (5.82, 5.95), (0.9, 1.5), Material((0.85, 0.85, 0.75)))
    return piece


def traffic_sign(rng: Rng) -> Piece:
    piece = Piece("traffic sign", (0.7, 2.7, 0.1))
    color = pick(rng, ((0.75, 0.10, 0.10), (0.12, 0.28, 0.65), (0.92, 0.78, 0.15)))
    piece.cylinder((-0.035, 0.035), (0, 2.7), (0.03, 0.1), Material(STEEL))
    piece.ball((-0.36, 0.36), (1.98, 2.7), (-0.02, 0.03), Material(color))
    piece.ball((-0.25, 0.25), (2.09, 2.59), (-0.03, 0.03), Material(WHITE))
    return piece


def house(rng: Rng, width: float, height: float) -> Piece:
    """Build a house whose front, with windows and a door, is at +z."""
    color = pick(rng, HOUSE_COLORS)
    floors = max(2, round(height / 3.0))
    front = textured(rng, "facade", color, (0.28, 0.35, 0.42), height / floors)
    depth, w = 10.0, width / 2
    piece = Piece("house" if height < 9 else "building", (width, height, depth))
    piece.box((-w, w), (0, height), (0, depth), front)
    piece.box(
        (-w - 0.2, w + 0.2),
        (height, height + 0.4),
        (0, depth + 0.25),
        Material(pick(rng, ((0.40, 0.22, 0.18), (0.30, 0.30, 0.32)))),
    )
    piece.box((-w, w), (0, 0.5), (0, depth + 0.05), Material(scaled(color, 0.6)))
    door = rng.uniform(-w + 1, w - 1)
    piece.box(
        (door - 0.55, door + 0.55),
        (0, 2.2),
        (0, depth + 0.08),
        Material(pick(rng, ((0.30, 0.18, 0.12), (0.20, 0.30, 0.25), DARK))),
    )
    return piece


def _build_scene(rng: Rng, kind: StreetType, frame: int, height: int, width: int) -> Scene:
    road = rng.uniform(*kind.road_width)
    layout = PieceLayout(rng, road, _STREET_END, 30.0)
    verge = rng.uniform(2.4, 3.6)  # from the curb to the house fronts
    for side in (-1, 1):
        _lay_verge(layout, kind, side, road, verge)
        _line_up_houses(layout, kind, side * (road / 2 + verge), side)
        _line_up_trees(layout, kind, side * (road / 2 + verge * 0.7), side)
        _park_cars(layout, kind, side * (road / 2 - 1.0), side)
    _mark_lanes(layout, road)
    ahead = FRAME_STEP * FRAMES_PER_DRIVE + rng.uniform(12, 30)
    _drive_cars(layout, road * _LANE, ahead, 0.0)
    _drive_cars(layout, -road * _LANE, rng.uniform(10, 40), pi)
    sun = (float(rng.uniform(-300, 300)), 400.0, float(rng.uniform(-300, 50)))
    position = (road * _LANE, _CAMERA_HEIGHT, FRAME_STEP * frame)
    return Scene(
        room=_surroundings(rng),
        solids=tuple(layout.solids),
        names=tuple(layout.names),
        light=Light(sun, ambient=0.5, strength=0.55, reach=inf),
        camera=Camera(position, kitti_focal_px(width), height, width),
        footprints=tuple(layout.footprints),
    )


def _surroundings(rng: Rng) -> Room:
    """Return asphalt below, sky above and hills far away."""
    sky = pick(rng, ((0.60, 0.76, 0.94), (0.78, 0.82, 0.86), (0.68, 0.78, 0.88)))
    gray = float(rng.uniform(0.33, 0.45))
    asphalt = textured(rng, "carpet", (gray, gray, gray), (gray - 0.05,) * 3, 0.06)
    hills = textured(rng, "outdoors", sky, (0.45, 0.55, 0.48), 60.0, glow=1.0)
    return Room((0, 100, 0), (320, 100, 320), hills, asphalt, Material(sky, glow=1.0))


def _lay_verge(layout: PieceLayout, kind: StreetType, side: int, road: float, verge: float) -> None:
    rng = layout.rng
    grass = textured(rng, "carpet", (0.34, 0.46, 0.20), (0.24, 0.36, 0.15), 0.08)
    slabs = textured(rng, "tiles", (0.66, 0.65, 0.62), (0.50, 0.50, 0.48), 0.5)
    pavement = 0.4 if kind.house_height == (0, 0) else verge
    near, far = road / 2, road / 2 + pavement
    piece = Piece("", (0, 0, 0))
    piece.box(_ends(side, near, far), (-0.1, 0.12), (-20, 310), slabs)
    piece.box(_ends(side, near, near + 0.15), (-0.1, 0.125), (-20, 310), Material((0.74,) * 3))
    piece.box(_ends(side, far, 310), (-0.1, 0.1), (-20, 310), grass)
    layout.put(piece, 0, 0, check=False)


def _ends(side: int, near: float, far: float) -> tuple[float, float]:
    return (near, far) if side > 0 else (-far, -near)


def _mark_lanes(layout: PieceLayout, road: float) -> None:
    piece, paint = Piece("", (0, 0, 0)), Material((0.88, 0.88, 0.85))
    for z in np.arange(-2.0, 120.0, 6.0).tolist():
        piece.box((-0.07, 0.07), (-0.01, 0.008), (z, z + 3), paint)
    for x in (-road / 2 + 0.2, road / 2 - 0.3):
        piece.box((x, x + 0.1), (-0.01, 0.008), (-20, 250), paint)
    layout.put(piece, 0, 0, check=False)


def _line_up_houses(layout: PieceLayout, kind: StreetType, front: float, side: int) -> None:
    rng = layout.rng
    if kind.house_height == (0, 0):
        return
    z = -8.0
    while z < _STREET_END:
        width = rng.uniform(8, 15)
        block = house(rng, width, rng.uniform(*kind.house_height))
        out = front + side * (block.size[2] + rng.uniform(0.2, 1.5))
        layout.put(block, out, z + width / 2, -side * pi / 2, check=False)
        z += width + (rng.uniform(2, 6) if rng.random() < 0.3 else 0.3)


def _line_up_trees(layout: PieceLayout, kind: StreetType, x: float, side: int) -> None:
    rng = layout.rng
    z = rng.uniform(6, 16)
    while z < _STREET_END:
        draw = rng.random()
        if draw < 0.65:
            shift = rng.uniform(1, 12) if kind.house_height == (0, 0) else 0.0
            layout.put(tree(rng), x + side * shift, z, check=False)
        elif draw < 0.9:
            layout.put(street_lamp(rng), x, z, -side * pi / 2, check=False)
        else:
            layout.put(traffic_sign(rng), x, z, pi, check=False)
        z += rng.uniform(*kind.tree_gap)


def _park_cars(layout: PieceLayout, kind: StreetType, x: float, side: int) -> None:
    rng = layout.rng
    z = rng.uniform(5, 10)
    while z < 130:
        if rng.random() < kind.parked_share:
            layout.put_middle(car(rng, "parked car"), x, z, 0.0 if side > 0 else pi, check=False)
        z += rng.uniform(5.5, 8.0)


def _drive_cars(layout: PieceLayout, x: float, z: float, yaw: float) -> None:
    rng = layout.rng
    while z < 140:
        layout.put_middle(car(rng, "car"), x, z, yaw, check=False)
        z += rng.uniform(20, 60)


def _write_caption(rng: Rng, street: str, phrases: list[str]) -> str:
    if not phrases:
        return f"An empty {street}."
    count = min(len(phrases), int(rng.integers(1, 4)))
    things = enumerate_things([phrases[i] for i in rng.permutation(len(phrases))[:count]])
    template = TEMPLATES[rng.integers(len(TEMPLATES))]
    return template.format(street=street, things=things, Things=things[0].upper() + things[1:])
