"""What the kinds of demo rooms share: their surfaces and how chairs stand around a table."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

from scripts.demo_renderer import furniture
from scripts.demo_renderer.piece_layout import PieceLayout, Wall
from scripts.demo_renderer.pieces import (
    FABRICS,
    WHITE,
    WOODS,
    Rng,
    fabric,
    pick,
    scaled,
    textured,
    wood,
)
from scripts.demo_renderer.renderer import Material, Vector

PAINTS: tuple[Vector, ...] = (
    (0.90, 0.87, 0.78), (0.78, 0.84, 0.88), (0.85, 0.80, 0.72), (0.80, 0.87, 0.78),
    (0.90, 0.82, 0.80), (0.86, 0.86, 0.86), (0.93, 0.90, 0.84), (0.74, 0.78, 0.84),
)  # fmt: skip


@dataclass(frozen=True)
class Finish:
    """The surfaces of a room."""

    wall: Material
    floor: Material
    ceiling: Material


def paint(rng: Rng, patterned: float = 0.3) -> Material:
    color = pick(rng, PAINTS)
    if rng.random() < patterned:
        kind = rng.integers(2)
        if kind == 0:
            return textured(rng, "wallpaper", color, scaled(color, 0.85), rng.uniform(0.15, 0.3))
        return textured(rng, "stripes", color, scaled(color, 0.92), rng.uniform(0.2, 0.4))
    return Material(color)


def planks(rng: Rng) -> Material:
    color = pick(rng, WOODS)
    return textured(rng, "planks", color, scaled(color, 0.5), rng.uniform(0.1, 0.16))


def tiles(rng: Rng, size: float) -> Material:
    color = pick(rng, (WHITE, (0.75, 0.82, 0.86), (0.85, 0.80, 0.70), (0.62, 0.70, 0.72)))
    if rng.random() < 0.35:
        return textured(rng, "checks", color, scaled(color, 0.5), size)
    return textured(rng, "tiles", color, scaled(color, 0.62), size)


def carpet(rng: Rng) -> Material:
    color = pick(rng, FABRICS)
    return textured(rng, "carpet", color, scaled(color, 0.8), 0.025)


def white_ceiling(rng: Rng) -> Material:
    return Material(pick(rng, (WHITE,)))


def home_finish(rng: Rng) -> Finish:
    floor = planks(rng) if rng.random() < 0.7 else carpet(rng)
    return Finish(paint(rng), floor, white_ceiling(rng))


def draw_sides(rng: Rng) -> tuple[Wall, Wall]:
    return ("left", "right") if rng.random() < 0.5 else ("right", "left")


def put_chairs_around(
    layout: PieceLayout, x: float, z: float, width: float, depth: float, rows: int
) -> None:
    """Set `rows` chairs along both long sides (z) of a table at (x, z) and one at its far end."""
    rng = layout.rng
    frame, cloth = wood(rng), fabric(rng)
    for row in range(rows):
        along = z + depth * ((row + 0.5) / rows - 0.5)
        for side in (-1, 1):
            out = x + side * (width / 2 + rng.uniform(0.22, 0.36))
            yaw = -side * pi / 2 + rng.uniform(-0.15, 0.15)
            layout.put(furniture.chair(rng, frame, cloth), out, along, yaw, check=False)
    out = z + depth / 2 + rng.uniform(0.25, 0.38)
    layout.put(furniture.chair(rng, frame, cloth), x, out, pi + rng.uniform(-0.1, 0.1), check=False)
