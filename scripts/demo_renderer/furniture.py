"""Furniture of the demo rooms, in the sizes of real furniture, so that they agree with captions.

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
    fabric,
    pick,
    scaled,
    textured,
    wood,
)
from scripts.demo_renderer.renderer import Material
from scripts.demo_renderer.textures import TextureName

RUG_PATTERNS: tuple[TextureName, ...] = ("stripes", "checks", "wallpaper", "carpet", "plaid")


def bed(rng: Rng) -> Piece:
    width, length = rng.uniform(1.3, 1.9), rng.uniform(1.95, 2.1)
    w, frame, cover = width / 2, wood(rng), fabric(rng)
    sheet, pillow = Material(pick(rng, (WHITE,))), Material(pick(rng, (WHITE, (0.85, 0.85, 0.92))))
    piece = Piece("bed", (width, rng.uniform(0.95, 1.2), length))
    piece.box((-w, w), (0, piece.size[1]), (0, 0.06), frame)
    piece.box((-w, w), (0.08, 0.30), (0.06, length), frame)
    piece.box((-w + 0.03, w - 0.03), (0.30, 0.50), (0.06, length - 0.03), sheet)
    piece.box((-w, w), (0.26, 0.55), (0.75, length + 0.01), cover)
    for x in (-w / 2, w / 2) if width > 1.5 else (0.0,):
        piece.ball((x - 0.33, x + 0.33), (0.44, 0.68), (0.08, 0.55), pillow)
    return piece


def nightstand(rng: Rng) -> Piece:
    body = wood(rng)
    front = textured(rng, "panels", body.color, scaled(body.color, 0.4), 0.24)
    piece = Piece("nightstand", (0.46, 0.48, 0.42))
    piece.box((-0.23, 0.23), (0, 0.48), (0, 0.40), body)
    piece.box((-0.21, 0.21), (0.02, 0.46), (0.40, 0.42), front)
    return piece


def table_lamp(rng: Rng) -> Piece:
    shade = Material(pick(rng, ((0.98, 0.90, 0.66), (0.97, 0.84, 0.60))), glow=1.0)
    stem = Material(pick(rng, (STEEL, DARK, WOODS[1])))
    piece = Piece("lamp", (0.3, 0.5, 0.3))
    piece.cylinder((-0.08, 0.08), (0, 0.03), (0.07, 0.23), stem)
    piece.cylinder((-0.02, 0.02), (0.03, 0.28), (0.13, 0.17), stem)
    piece.cylinder((-0.15, 0.15), (0.26, 0.5), (0.0, 0.3), shade)
    return piece


def floor_lamp(rng: Rng) -> Piece:
    shade = Material(pick(rng, ((0.98, 0.90, 0.66), (0.97, 0.84, 0.60))), glow=1.0)
    stem = Material(pick(rng, (STEEL, DARK)))
    piece = Piece("floor lamp", (0.44, 1.6, 0.44))
    piece.cylinder((-0.15, 0.15), (0, 0.03), (0.07, 0.37), stem)
    piece.cylinder((-0.02, 0.02), (0.03, 1.35), (0.20, 0.24), stem)
    piece.cylinder((-0.22, 0.22), (1.25, 1.6), (0.0, 0.44), shade)
    return piece


def pendant_lamp(rng: Rng) -> Piece:
    """Build a hanging lamp; its top is at y = size[1]."""
    shade = Material(pick(rng, ((0.98, 0.90, 0.66), (0.96, 0.80, 0.55))), glow=1.0)
    piece = Piece("hanging lamp", (0.5, 0.75, 0.5))
    piece.cylinder((-0.012, 0.012), (0.2, 0.75), (0.24, 0.26), Material(DARK))
    piece.cylinder((-0.25, 0.25), (0, 0.24), (0, 0.5), shade)
    return piece


def wardrobe(rng: Rng) -> Piece:
    doors = int(rng.integers(2, 4))
    width, height, body = 0.55 * doors, rng.uniform(1.9, 2.15), wood(rng)
    color = pick(rng, (body.color, WHITE, scaled(body.color, 1.15)))
    w, piece = width / 2, Piece("wardrobe", (width, height, 0.6))
    piece.box((-w, w), (0, height), (0, 0.57), body)
    for door in range(doors):
        x = -w + 0.55 * door
        front = textured(rng, "panels", color, scaled(color, 0.35), 0.52)
        piece.box((x + 0.015, x + 0.535), (0.06, height - 0.04), (0.57, 0.6), front)
    return piece


def dresser(rng: Rng) -> Piece:
    width, body = rng.uniform(0.9, 1.3), wood(rng)
    piece = Piece("chest of drawers", (width, 0.86, 0.48))
    w, dark = width / 2, Material(scaled(body.color, 0.35))
    piece.box((-w, w), (0, 0.86), (0, 0.46), body)
    for row in range(3):
        low = 0.08 + 0.26 * row
        piece.box((-w + 0.03, w - 0.03), (low, low + 0.23), (0.46, 0.475), body)
        piece.box((-0.12, 0.12), (low + 0.11, low + 0.14), (0.475, 0.48), dark)
    return piece


def table(
    rng: Rng, name: str, width: float, depth: float, height: float, material: Material | None = None
) -> Piece:
    """Build a table top on four legs."""
    top = material or wood(rng)
    piece = Piece(name, (width, height, depth))
    piece.box((-width / 2, width / 2), (height - 0.045, height), (0, depth), top)
    piece.legs(height - 0.045, 0.06, 0.04, Material(scaled(top.color, 0.7)))
    return piece


def round_table(rng: Rng, name: str, radius: float, height: float) -> Piece:
    """Build a round table top on one foot."""
    top = wood(rng)
    piece, foot = Piece(name, (2 * radius, height, 2 * radius)), Material(scaled(top.color, 0.6))
    piece.cylinder((-radius, radius), (height - 0.04, height), (0, 2 * radius), top)
    piece.cylinder((-0.05, 0.05), (0.03, height - 0.04), (radius - 0.05, radius + 0.05), foot)
    piece.cylinder((-0.28, 0.28), (0, 0.04), (radius - 0.28, radius + 0.28), foot)
    return piece


def chair(rng: Rng, material: Material | None = None, cloth: Material | None = None) -> Piece:
    """Build a chair; two of one set share their materials."""
    frame = material or wood(rng)
    seat = cloth or frame
    piece = Piece("chair", (0.44, 0.92, 0.46))
    piece.box((-0.22, 0.22), (0.42, 0.47), (0, 0.46), seat)
    piece.box((-0.22, 0.22), (0.62, 0.92), (0, 0.04), seat)
    for x in (-0.22, 0.185):
        piece.box((x, x + 0.035), (0, 0.9), (0, 0.035), frame)
        piece.box((x, x + 0.035), (0, 0.42), (0.42, 0.455), frame)
    return piece


def office_chair(rng: Rng) -> Piece:
    cloth, metal = Material(pick(rng, (DARK, FABRICS[1], FABRICS[4]))), Material((0.25, 0.25, 0.26))
    piece = Piece("office chair", (0.56, 1.08, 0.56))
    piece.box((-0.25, 0.25), (0.44, 0.52), (0.04, 0.54), cloth)
    piece.box((-0.23, 0.23), (0.56, 1.08), (0.0, 0.07), cloth)
    piece.cylinder((-0.03, 0.03), (0.06, 0.44), (0.26, 0.32), metal)
    piece.box((-0.28, 0.28), (0.03, 0.08), (0.26, 0.32), metal)
    piece.box((-0.03, 0.03), (0.03, 0.08), (0.01, 0.55), metal)
    for x in (-0.28, 0.24):
        piece.box((x, x + 0.04), (0.66, 0.70), (0.12, 0.44), metal)
    return piece


def sofa(rng: Rng, seats: int = 0) -> Piece:
    """Build a sofa with 2 or 3 seats; one seat makes an armchair."""
    seats = seats or int(rng.integers(2, 4))
    width = 0.62 * seats + 0.36
    cloth = fabric(rng)
    cushion = Material(scaled(cloth.color, 1.12), cloth.texture, cloth.second, cloth.scale)
    w, piece = width / 2, Piece("sofa" if seats > 1 else "armchair", (width, 0.86, 0.9))
    piece.box((-w, w), (0.06, 0.40), (0, 0.88), cloth)
    piece.box((-w, w), (0.40, 0.86), (0, 0.22), cloth)
    for x in (-w, w - 0.18):
        piece.box((x, x + 0.18), (0.40, 0.62), (0, 0.88), cloth)
    for seat in range(seats):
        x = -w + 0.18 + 0.62 * seat
        piece.box((x + 0.01, x + 0.61), (0.40, 0.52), (0.2, 0.9), cushion)
        piece.box((x + 0.02, x + 0.60), (0.52, 0.80), (0.22, 0.34), cushion)
    pillow = Material(pick(rng, FABRICS))
    if seats > 1:
        piece.ball((-w + 0.2, -w + 0.62), (0.5, 0.88), (0.30, 0.52), pillow)
    return piece


def bookshelf(rng: Rng, width: float = 0.0, height: float = 0.0) -> Piece:
    """Build shelves full of books; 0 draws a size."""
    width, height = width or rng.uniform(0.8, 1.2), height or rng.uniform(1.7, 2.1)
    body, w = wood(rng), width / 2
    inside = Material(scaled(body.color, 0.4))
    piece = Piece("bookshelf", (width, height, 0.32))
    piece.box((-w, w), (0, height), (0, 0.04), inside)
    for x in (-w, w - 0.03):
        piece.box((x, x + 0.03), (0, height), (0, 0.32), body)
    gaps = round(height / 0.38)
    step = (height - 0.03) / gaps
    for row in range(gaps + 1):
        piece.box((-w, w), (row * step, row * step + 0.03), (0, 0.32), body)
    for row in range(gaps):
        low, end = row * step + 0.03, w - rng.uniform(0.03, 0.35) * (rng.random() < 0.6) - 0.03
        books = textured(rng, "books", inside.color, inside.color, step * 0.17)
        piece.box((-w + 0.03, end), (low, low + step * 0.85), (0.04, 0.27), books)
    return piece


def tv_stand(rng: Rng) -> Piece:
    body, width = wood(rng), rng.uniform(1.2, 1.6)
    w, piece = width / 2, Piece("television", (width, 1.2, 0.42))
    front = textured(rng, "panels", body.color, scaled(body.color, 0.4), 0.4)
    piece.box((-w, w), (0, 0.46), (0, 0.4), body)
    piece.box((-w + 0.03, w - 0.03), (0.04, 0.43), (0.4, 0.42), front)
    piece.box((-0.15, 0.15), (0.46, 0.52), (0.15, 0.3), Material(DARK))
    piece.box((-0.55, 0.55), (0.52, 1.17), (0.2, 0.25), Material((0.05, 0.05, 0.06)))
    picture = textured(rng, "painting", (0.35, 0.55, 0.80), (0.25, 0.50, 0.30), 0.6, glow=0.9)
    piece.box((-0.52, 0.52), (0.55, 1.14), (0.25, 0.255), picture)
    return piece


def plant(rng: Rng) -> Piece:
    green = pick(rng, ((0.18, 0.42, 0.18), (0.25, 0.48, 0.20), (0.14, 0.36, 0.22)))
    leaf = textured(rng, "leaves", green, scaled(green, 0.55), 0.035)
    pot = Material(pick(rng, ((0.70, 0.38, 0.25), WHITE, (0.35, 0.35, 0.38))))
    height = rng.uniform(0.9, 1.5)
    piece = Piece("plant", (0.56, height, 0.56))
    piece.cylinder((-0.15, 0.15), (0, 0.32), (0.13, 0.43), pot)
    piece.cylinder((-0.02, 0.02), (0.3, height * 0.7), (0.26, 0.30), Material((0.35, 0.24, 0.14)))
    for _ in range(4):
        x, z = rng.uniform(-0.12, 0.12), 0.28 + rng.uniform(-0.12, 0.12)
        y = rng.uniform(0.5, height - 0.2)
        piece.ball((x - 0.16, x + 0.16), (y - 0.2, y + 0.2), (z - 0.16, z + 0.16), leaf)
    return piece


def rug(rng: Rng, width: float, depth: float) -> Piece:
    """Build a flat rug with a border."""
    color = pick(rng, FABRICS)
    kind = RUG_PATTERNS[rng.integers(len(RUG_PATTERNS))]
    other = pick(rng, (WHITE, *FABRICS))
    piece = Piece("rug", (width, 0.015, depth))
    w = width / 2
    piece.box((-w, w), (0, 0.01), (0, depth), Material(scaled(other, 0.8)))
    pattern = textured(rng, kind, color, other, rng.uniform(0.12, 0.3))
    piece.box((-w + 0.08, w - 0.08), (0.01, 0.015), (0.08, depth - 0.08), pattern)
    return piece


def desk(rng: Rng) -> Piece:
    piece = table(rng, "desk", rng.uniform(1.2, 1.5), 0.68, 0.74)
    w = piece.size[0] / 2
    body = piece.parts[0].material
    front = textured(rng, "panels", body.color, scaled(body.color, 0.4), 0.22)
    piece.box((w - 0.45, w - 0.06), (0.05, 0.7), (0.05, 0.62), body)
    piece.box((w - 0.43, w - 0.08), (0.07, 0.68), (0.62, 0.635), front)
    return piece


def monitor(rng: Rng) -> Piece:
    piece = Piece("computer screen", (0.6, 0.5, 0.22))
    piece.box((-0.12, 0.12), (0, 0.015), (0.02, 0.2), Material(DARK))
    piece.box((-0.03, 0.03), (0.015, 0.15), (0.04, 0.07), Material(DARK))
    piece.box((-0.3, 0.3), (0.12, 0.5), (0.07, 0.11), Material(DARK))
    shown = textured(rng, "screen", (0.80, 0.88, 0.96), (0.30, 0.40, 0.55), 0.36, glow=1.0)
    piece.box((-0.28, 0.28), (0.14, 0.48), (0.11, 0.113), shown)
    return piece


def filing_cabinet(rng: Rng) -> Piece:
    color = pick(rng, (STEEL, (0.45, 0.47, 0.48), (0.62, 0.60, 0.52)))
    piece, dark = Piece("filing cabinet", (0.46, 1.1, 0.56)), Material(scaled(color, 0.4))
    piece.box((-0.23, 0.23), (0, 1.1), (0, 0.54), Material(scaled(color, 0.8)))
    for row in range(3):
        low = 0.04 + 0.355 * row
        piece.box((-0.215, 0.215), (low, low + 0.33), (0.54, 0.555), Material(color))
        piece.box((-0.08, 0.08), (low + 0.22, low + 0.25), (0.555, 0.56), dark)
    return piece
