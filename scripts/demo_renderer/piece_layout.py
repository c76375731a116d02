"""Place furniture in a demo room without overlaps.

The visible part of a room is x in 0..width, z in 0..length, y in 0..height (meters); the camera
stands near z = 0 and looks towards the back wall at z = length.
"""

from __future__ import annotations

from math import cos, pi, sin
from typing import Literal

import numpy as np

from scripts.demo_renderer.pieces import Piece, Rng
from scripts.demo_renderer.renderer import Solid

Wall = Literal["back", "left", "right"]
_FACING = {"back": pi, "left": pi / 2, "right": -pi / 2}  # yaw of a piece with its back to the wall


class PieceLayout:
    """The solids of a room or street under construction, with the space that is taken."""

    def __init__(self, rng: Rng, width: float, length: float, height: float) -> None:
        self.rng, self.width, self.length, self.height = rng, width, length, height
        self.solids: list[Solid] = []
        self.names: list[str] = []
        self.footprints: list[tuple[float, float, float, float, float]] = []
        self._taken: list[np.ndarray] = []  # [2, 3] low and high corners

    def put(
        self, piece: Piece, x: float, z: float, yaw: float = 0.0, y: float = 0.0, check: bool = True
    ) -> bool:
        """Stand a piece with its back's center at (x, y, z); False if it does not fit.

        With `check` off it may touch others (a lamp on a table, a chair under it, a rug).
        """
        width, height, depth = piece.size
        middle = (x + sin(yaw) * depth / 2, z + cos(yaw) * depth / 2)
        reach_x = (abs(cos(yaw)) * width + abs(sin(yaw)) * depth) / 2
        reach_z = (abs(sin(yaw)) * width + abs(cos(yaw)) * depth) / 2
        low = np.array([middle[0] - reach_x, y, middle[1] - reach_z])
        high = np.array([middle[0] + reach_x, y + height, middle[1] + reach_z])
        if check and not self._is_free(low, high):
            return False
        if check:
            self._taken.append(np.stack([low, high]))
        if y == 0.0 and height > 0.1:
            self.footprints.append((middle[0], middle[1], width / 2, depth / 2, yaw))
        self._add_parts(piece, x, y, z, yaw)
        return True

    def put_middle(self, piece: Piece, x: float, z: float, yaw: float = 0.0, **options) -> bool:
        """Stand a piece with its center at (x, z)."""
        half = piece.size[2] / 2
        return self.put(piece, x - sin(yaw) * half, z - cos(yaw) * half, yaw, **options)

    def against(
        self,
        piece: Piece,
        wall: Wall,
        y: float = 0.0,
        at: float | None = None,
        span: tuple[float, float] = (0.0, 1.0),
    ) -> float | None:
        """Stand or hang a piece on a wall; return its place along the wall, None if none is free.

        at: place along the wall in meters; otherwise a random one in `span` (shares of the wall).
        """
        size = self.width if wall == "back" else self.length
        half = piece.size[0] / 2
        low, high = max(half, span[0] * size), min(size - half, span[1] * size)
        if high < low and at is None:
            return None
        for place in [at] if at is not None else self.rng.uniform(low, high, 8).tolist():
            x = {"back": place, "left": 0.0, "right": self.width}[wall]
            z = self.length if wall == "back" else place
            if self.put(piece, x, z, _FACING[wall], y):
                return place
        return None

    def _is_free(self, low: np.ndarray, high: np.ndarray) -> bool:
        room = np.array([self.width, self.height, self.length])
        if (low < -0.01).any() or (high > room + 0.01).any():
            return False
        return not any(((low < t[1] - 0.01) & (high > t[0] + 0.01)).all() for t in self._taken)

    def _add_parts(self, piece: Piece, x: float, y: float, z: float, yaw: float) -> None:
        quarter = round(yaw / (pi / 2))
        straight = abs(yaw - quarter * pi / 2) < 1e-6
        for part in piece.parts:
            px, py, pz = part.center
            center = (x + px * cos(yaw) + pz * sin(yaw), y + py, z - px * sin(yaw) + pz * cos(yaw))
            half = part.half
            if straight and quarter % 2:  # a quarter turn: swap sides and stay axis-aligned
                half = (half[2], half[1], half[0])
            turned = 0.0 if straight else yaw
            number = len(self.names)
            self.solids.append(Solid(part.shape, center, half, part.material, turned, number))
        self.names.append(piece.name)
