"""Pieces of furniture as compositions of simple solids, and the materials they are made of.

A piece stands in its own frame: x centered, y up from its underside, its back at z = 0 and its
front towards +z; meters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from scripts.demo_renderer.renderer import Material, Shape, Vector
from scripts.demo_renderer.textures import TextureName

Rng = np.random.Generator

WHITE: Vector = (0.93, 0.93, 0.91)
DARK: Vector = (0.12, 0.11, 0.11)
STEEL: Vector = (0.66, 0.68, 0.70)
WOODS: tuple[Vector, ...] = (
    (0.62, 0.43, 0.26), (0.45, 0.29, 0.17), (0.76, 0.60, 0.40), (0.33, 0.21, 0.14),
    (0.70, 0.48, 0.30), (0.82, 0.72, 0.56),
)  # fmt: skip
FABRICS: tuple[Vector, ...] = (
    (0.55, 0.20, 0.20), (0.22, 0.33, 0.52), (0.30, 0.45, 0.33), (0.62, 0.56, 0.46),
    (0.40, 0.40, 0.44), (0.72, 0.52, 0.24), (0.50, 0.34, 0.50), (0.20, 0.45, 0.48),
    (0.78, 0.70, 0.62), (0.70, 0.40, 0.36),
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One solid of a piece, placed in the piece's frame."""

    shape: Shape
    center: Vector
    half: Vector
    material: Material


@dataclass
class Piece:
    """A named thing made of parts; `size` is (width x, height y, depth z)."""

    name: str
    size: Vector
    parts: list[Part] = field(default_factory=list)

    def box(self, x: tuple, y: tuple, z: tuple, material: Material) -> None:
        """Add a box given by its (low, high) ends along every axis."""
        self._add("box", x, y, z, material)

    def cylinder(self, x: tuple, y: tuple, z: tuple, material: Material) -> None:
        """Add an upright cylinder given by its (low, high) ends along every axis."""
        self._add("cylinder", x, y, z, material)

    def ball(self, x: tuple, y: tuple, z: tuple, material: Material) -> None:
        """Add an ellipsoid given by its (low, high) ends along every axis."""
        self._add("ellipsoid", x, y, z, material)

    def legs(self, top: float, thickness: float, inset: float, material: Material) -> None:
        """Add four legs from the floor up to `top`."""
        width, _, depth = self.size
        far, back, front = width / 2 - inset, inset, depth - inset
        for x in (-far, far - thickness):
            for z in (back, front - thickness):
                self.box((x, x + thickness), (0, top), (z, z + thickness), material)

    def _add(self, shape: Shape, x: tuple, y: tuple, z: tuple, material: Material) -> None:
        center = ((x[0] + x[1]) / 2, (y[0] + y[1]) / 2, (z[0] + z[1]) / 2)
        half = ((x[1] - x[0]) / 2, (y[1] - y[0]) / 2, (z[1] - z[0]) / 2)
        self.parts.append(Part(shape, center, half, material))


def pick(rng: Rng, colors: tuple[Vector, ...], jitter: float = 0.04) -> Vector:
    """Choose one color and vary it a little."""
    base = np.asarray(colors[rng.integers(len(colors))]) + rng.uniform(-jitter, jitter, 3)
    red, green, blue = np.clip(base, 0.05, 0.97).tolist()
    return red, green, blue


def scaled(color: Vector, factor: float) -> Vector:
    """Make a color brighter or darker."""
    red, green, blue = (min(1.0, channel * factor) for channel in color)
    return red, green, blue


def textured(
    rng: Rng, texture: TextureName, first: Vector, second: Vector, scale: float, glow: float = 0.0
) -> Material:
    """Make a material whose pattern differs from every other one's."""
    return Material(first, texture, second, scale, int(rng.integers(1 << 20)), glow)


def wood(rng: Rng) -> Material:
    """Make a wooden surface."""
    color = pick(rng, WOODS)
    return textured(rng, "wood", color, scaled(color, 0.78), 0.02)


def fabric(rng: Rng) -> Material:
    """Make a plain, striped or plaid cloth."""
    color = pick(rng, FABRICS)
    other = pick(rng, (WHITE, scaled(color, 0.6), *FABRICS[:4]))
    kind = rng.integers(4)
    if kind == 0:
        return textured(rng, "stripes", color, scaled(color, 0.75), rng.uniform(0.12, 0.3))
    if kind == 1:
        return textured(rng, "plaid", color, other, rng.uniform(0.15, 0.35))
    return textured(rng, "carpet", color, scaled(color, 0.85), 0.02)


def stack(base: Piece, top: Piece, x: float, z: float) -> Piece:
    """Return `top` lifted onto `base`, shifted by (x, z), still a piece of its own name."""
    lifted = Piece(top.name, base.size)
    lift = max(part.center[1] + part.half[1] for part in base.parts if part.shape == "box")
    for part in top.parts:
        cx, cy, cz = part.center
        lifted.parts.append(Part(part.shape, (cx + x, cy + lift, cz + z), part.half, part.material))
    return lifted
