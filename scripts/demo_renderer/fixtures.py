"""What is built into the demo rooms: kitchen, bathroom, school, and things that hang on walls.

The frame is that of `pieces`: back at z = 0, front towards +z, meters.
"""

from __future__ import annotations

from scripts.demo_renderer.pieces import (
    DARK,
    FABRICS,
    STEEL,
    WHITE,
    WOODS,
    Piece,
    Rng,
    pick,
    scaled,
    textured,
    wood,
)
from scripts.demo_renderer.renderer import Material, Vector

PORCELAIN = Material((0.95, 0.95, 0.96))
CHROME = Material((0.75, 0.77, 0.80))


def toilet(rng: Rng) -> Piece:
    piece = Piece("toilet", (0.42, 0.82, 0.68))
    piece.box((-0.2, 0.2), (0.40, 0.80), (0.0, 0.18), PORCELAIN)
    piece.box((-0.21, 0.21), (0.79, 0.82), (0.0, 0.19), Material((0.85, 0.85, 0.87)))
    piece.cylinder((-0.13, 0.13), (0.0, 0.36), (0.16, 0.56), PORCELAIN)
    piece.cylinder((-0.2, 0.2), (0.30, 0.41), (0.16, 0.68), PORCELAIN)
    seat = Material(pick(rng, ((0.82, 0.82, 0.84), WOODS[0], DARK)))
    piece.cylinder((-0.21, 0.21), (0.41, 0.44), (0.17, 0.69), seat)
    return piece


def bathtub(rng: Rng) -> Piece:
    length, side = rng.uniform(1.5, 1.65), Material((0.90, 0.90, 0.91))
    w, piece = length / 2, Piece("bathtub", (length, 0.58, 0.74))
    piece.box((-w, w), (0, 0.57), (0, 0.08), side)
    piece.box((-w, w), (0, 0.57), (0.66, 0.74), side)
    for x in (-w, w - 0.09):
        piece.box((x, x + 0.09), (0, 0.57), (0.08, 0.66), side)
    piece.box((-w + 0.09, w - 0.09), (0, 0.40), (0.08, 0.66), Material((0.55, 0.75, 0.84)))
    for x in (-w, w - 0.1):
        piece.box((x, x + 0.1), (0.57, 0.59), (0, 0.74), PORCELAIN)
    piece.box((-w, w), (0.57, 0.59), (0.65, 0.75), PORCELAIN)
    piece.box((w - 0.3, w - 0.24), (0.70, 0.76), (0.0, 0.2), CHROME)
    return piece


def shower_curtain(rng: Rng, width: float) -> Piece:
    """Build a curtain that hangs from a rail; `width` is how far it is drawn."""
    color = pick(rng, FABRICS)
    piece = Piece("shower curtain", (width, 1.5, 0.05))
    cloth = textured(rng, "stripes", color, scaled(color, 1.35), rng.uniform(0.09, 0.16))
    piece.box((-width / 2, width / 2), (0, 1.45), (0, 0.03), cloth)
    piece.box((-width / 2 - 0.02, width / 2 + 0.02), (1.46, 1.49), (0, 0.03), CHROME)
    return piece


def washbasin(rng: Rng) -> Piece:
    color = pick(rng, (WHITE, *WOODS[:3]))
    front = textured(rng, "panels", color, scaled(color, 0.4), 0.33)
    piece = Piece("sink", (0.7, 1.05, 0.5))
    piece.box((-0.33, 0.33), (0.08, 0.76), (0, 0.44), Material(color))
    piece.box((-0.33, 0.33), (0.09, 0.75), (0.44, 0.45), front)
    piece.box((-0.35, 0.35), (0.76, 0.80), (0, 0.48), PORCELAIN)
    piece.cylinder((-0.24, 0.24), (0.80, 0.87), (0.08, 0.48), PORCELAIN)
    piece.cylinder((-0.2, 0.2), (0.87, 0.875), (0.11, 0.45), Material((0.70, 0.78, 0.82)))
    piece.box((-0.02, 0.02), (0.87, 1.02), (0.03, 0.07), CHROME)
    piece.box((-0.02, 0.02), (0.99, 1.02), (0.03, 0.18), CHROME)
    return piece


def mirror(rng: Rng) -> Piece:
    width, height = rng.uniform(0.5, 0.7), rng.uniform(0.7, 0.85)
    piece, frame = Piece("mirror", (width, height, 0.03)), Material(pick(rng, (STEEL, *WOODS[:3])))
    glass = textured(rng, "painting", (0.82, 0.88, 0.92), (0.74, 0.80, 0.84), height, glow=0.95)
    w = width / 2
    piece.box((-w, w), (0, height), (0, 0.02), frame)
    piece.box((-w + 0.03, w - 0.03), (0.03, height - 0.03), (0.02, 0.025), glass)
    return piece


def towel(rng: Rng) -> Piece:
    piece, color = Piece("towel", (0.5, 0.75, 0.08)), pick(rng, FABRICS)
    cloth = textured(rng, "stripes", color, scaled(color, 1.3), 0.25)
    piece.box((-0.3, 0.3), (0.72, 0.75), (0.04, 0.07), CHROME)
    piece.box((-0.23, 0.23), (0, 0.76), (0.03, 0.08), cloth)
    return piece


def counter(rng: Rng, width: float, color: Vector, top: Material) -> Piece:
    """Build kitchen base cabinets under a worktop."""
    w, piece = width / 2, Piece("kitchen counter", (width, 0.92, 0.62))
    front = textured(rng, "panels", color, scaled(color, 0.35), width / max(1, round(width / 0.5)))
    piece.box((-w, w), (0, 0.1), (0, 0.52), Material(DARK))
    piece.box((-w, w), (0.1, 0.88), (0, 0.58), Material(color))
    piece.box((-w, w), (0.1, 0.88), (0.58, 0.60), front)
    piece.box((-w, w), (0.88, 0.92), (0, 0.62), top)
    return piece


def wall_cabinet(rng: Rng, width: float, color: Vector) -> Piece:
    """Build cupboards that hang above a counter."""
    w, piece = width / 2, Piece("cupboard", (width, 0.65, 0.35))
    front = textured(rng, "panels", color, scaled(color, 0.35), width / max(1, round(width / 0.5)))
    piece.box((-w, w), (0, 0.65), (0, 0.33), Material(scaled(color, 0.95)))
    piece.box((-w, w), (0, 0.65), (0.33, 0.35), front)
    return piece


def kitchen_sink(rng: Rng) -> Piece:
    piece = Piece("sink", (0.6, 0.3, 0.5))
    piece.box((-0.3, 0.3), (0, 0.012), (0.06, 0.54), Material(STEEL))
    piece.box((-0.25, 0.25), (0.012, 0.014), (0.12, 0.5), Material((0.35, 0.37, 0.39)))
    piece.box((-0.02, 0.02), (0, 0.28), (0.06, 0.1), CHROME)
    piece.box((-0.02, 0.02), (0.25, 0.28), (0.06, 0.26), CHROME)
    return piece


def stove(rng: Rng) -> Piece:
    color = pick(rng, (WHITE, STEEL, (0.3, 0.3, 0.32)))
    piece, dark = Piece("stove", (0.6, 0.94, 0.62)), Material(DARK)
    piece.box((-0.3, 0.3), (0, 0.91), (0, 0.61), Material(color))
    piece.box((-0.3, 0.3), (0.91, 0.925), (0, 0.62), dark)
    piece.box((-0.24, 0.24), (0.2, 0.62), (0.61, 0.62), dark)
    piece.box((-0.24, 0.24), (0.66, 0.69), (0.61, 0.65), CHROME)
    for x in (-0.14, 0.14):
        piece.cylinder((x - 0.1, x + 0.1), (0.925, 0.94), (0.06, 0.26), Material((0.45, 0.12, 0.1)))
        piece.cylinder((x - 0.1, x + 0.1), (0.925, 0.94), (0.34, 0.54), Material((0.3, 0.3, 0.3)))
        piece.box((x - 0.03, x + 0.03), (0.77, 0.83), (0.61, 0.64), dark)
    return piece


def fridge(rng: Rng) -> Piece:
    color, height = pick(rng, (WHITE, WHITE, STEEL)), rng.uniform(1.65, 1.85)
    piece, body = Piece("fridge", (0.66, height, 0.68)), Material(color)
    split = height * 0.62
    piece.box((-0.33, 0.33), (0, height), (0, 0.62), Material(scaled(color, 0.9)))
    piece.box((-0.33, 0.33), (0.05, split - 0.01), (0.62, 0.68), body)
    piece.box((-0.33, 0.33), (split + 0.01, height), (0.62, 0.68), body)
    piece.box((0.25, 0.28), (split - 0.5, split - 0.06), (0.68, 0.72), CHROME)
    piece.box((0.25, 0.28), (split + 0.06, height - 0.15), (0.68, 0.72), CHROME)
    return piece


def window(rng: Rng, width: float, height: float) -> Piece:
    """Build a window with a view outdoors, sometimes between curtains."""
    w, piece, frame = width / 2, Piece("window", (width + 0.1, height, 0.12)), Material(WHITE)
    view = textured(
        rng, "outdoors", (0.62, 0.80, 0.97), pick(rng, ((0.35, 0.55, 0.28),)), height, glow=1.05
    )
    piece.box((-w, w), (0, height), (0, 0.02), frame)
    piece.box((-w + 0.06, w - 0.06), (0.06, height - 0.06), (0.02, 0.025), view)
    bars = max(1, round(width / 0.7))
    for bar in range(1, bars + (bars == 1)):
        x = -w + width * bar / max(bars, 2)
        piece.box((x - 0.02, x + 0.02), (0, height), (0.02, 0.04), frame)
    piece.box((-w, w), (height * 0.62, height * 0.62 + 0.04), (0.02, 0.04), frame)
    piece.box((-w - 0.05, w + 0.05), (-0.05, 0), (0, 0.12), frame)
    if rng.random() < 0.5:
        color = pick(rng, FABRICS)
        cloth = textured(rng, "stripes", color, scaled(color, 1.25), 0.1)
        for x in (-w - 0.05, w - 0.2):
            piece.box((x, x + 0.25), (-0.15, height + 0.1), (0.05, 0.09), cloth)
    return piece


def door(rng: Rng) -> Piece:
    color = pick(rng, (WHITE, *WOODS))
    panels = textured(rng, "panels", color, scaled(color, 0.5), 0.82)
    piece, frame = Piece("door", (0.96, 2.06, 0.07)), Material(scaled(color, 0.75))
    piece.box((-0.48, 0.48), (0, 2.06), (0, 0.03), frame)
    piece.box((-0.41, 0.41), (0, 2.0), (0.03, 0.045), Material(scaled(color, 0.9)))
    piece.box((-0.41, 0.41), (0.05, 0.95), (0.045, 0.05), panels)
    piece.box((-0.41, 0.41), (1.05, 1.95), (0.045, 0.05), panels)
    piece.ball((0.31, 0.38), (0.97, 1.04), (0.05, 0.11), Material((0.80, 0.68, 0.35)))
    return piece


def picture(rng: Rng) -> Piece:
    width, height = rng.uniform(0.4, 0.9), rng.uniform(0.4, 0.65)
    sky = pick(rng, ((0.75, 0.85, 0.95), (0.95, 0.75, 0.50), (0.90, 0.88, 0.75)))
    art = textured(rng, "painting", sky, pick(rng, FABRICS), height)
    w, piece = width / 2, Piece("picture", (width, height, 0.03))
    piece.box((-w, w), (0, height), (0, 0.02), Material(pick(rng, (DARK, WHITE, *WOODS[:3]))))
    piece.box((-w + 0.04, w - 0.04), (0.04, height - 0.04), (0.02, 0.025), art)
    return piece


def blackboard(rng: Rng) -> Piece:
    width = rng.uniform(2.8, 3.8)
    w, piece, rail = width / 2, Piece("blackboard", (width, 1.2, 0.08)), wood(rng)
    color = pick(rng, ((0.10, 0.24, 0.18), (0.12, 0.13, 0.14)), 0.02)
    piece.box((-w, w), (0, 1.2), (0, 0.02), rail)
    slate = textured(rng, "chalk", color, (0.85, 0.87, 0.84), 0.2)
    piece.box((-w + 0.06, w - 0.06), (0.06, 1.14), (0.02, 0.03), slate)
    piece.box((-w, w), (0, 0.03), (0.02, 0.1), rail)
    return piece


def whiteboard(rng: Rng) -> Piece:
    width = rng.uniform(1.6, 2.4)
    w, piece = width / 2, Piece("whiteboard", (width, 1.1, 0.05))
    piece.box((-w, w), (0, 1.1), (0, 0.02), Material(STEEL))
    ink = pick(rng, ((0.2, 0.25, 0.6), (0.65, 0.2, 0.2), (0.15, 0.15, 0.15)))
    sheet = textured(rng, "chalk", (0.96, 0.97, 0.97), ink, 0.2)
    piece.box((-w + 0.04, w - 0.04), (0.04, 1.06), (0.02, 0.025), sheet)
    return piece


def clock(rng: Rng) -> Piece:
    piece, rim = Piece("clock", (0.36, 0.36, 0.04)), Material(pick(rng, (DARK, WOODS[1])))
    piece.ball((-0.18, 0.18), (0, 0.36), (-0.03, 0.03), rim)
    piece.ball((-0.15, 0.15), (0.03, 0.33), (-0.04, 0.04), Material(WHITE, glow=1.0))
    piece.box((-0.01, 0.01), (0.18, 0.31), (0.035, 0.045), Material(DARK))
    piece.box((0.0, 0.09), (0.17, 0.19), (0.035, 0.045), Material(DARK))
    return piece


def coat_rack(rng: Rng) -> Piece:
    piece, rail = Piece("coat rack", (1.0, 1.15, 0.25)), wood(rng)
    piece.box((-0.5, 0.5), (1.05, 1.15), (0, 0.03), rail)
    for x in (-0.35, 0.0, 0.35):
        piece.box((x - 0.02, x + 0.02), (1.06, 1.09), (0.03, 0.12), Material(DARK))
        if rng.random() < 0.75:
            coat = Material(pick(rng, FABRICS))
            piece.ball((x - 0.17, x + 0.17), (0.05, 1.08), (0.02, 0.22), coat)
    return piece
