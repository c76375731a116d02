"""Procedural textures of the demo renderer.

Every texture is a function of `u, v` ([P], surface position in units of the material's scale, zero
at the lower corner of the face), two colors `first, second` ([3, P], 0..1) and `salt` ([P], int32,
one number per material, so that two materials of one kind differ). It returns colors [3, P].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

TextureName = Literal[
    "plain",
    "planks",
    "tiles",
    "checks",
    "stripes",
    "wallpaper",
    "carpet",
    "wood",
    "brick",
    "books",
    "panels",
    "outdoors",
    "painting",
    "screen",
    "chalk",
    "plaid",
    "leaves",
    "facade",
]
Texture = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _smooth_noise(size: int = 128) -> np.ndarray:
    """Return a fixed periodic noise table [size, size] with values in 0..1."""
    rng = np.random.default_rng(20240607)
    table = np.zeros((size, size))
    for cell, weight in ((16, 0.3), (4, 0.3), (1, 0.4)):
        coarse = rng.random((size // cell, size // cell))
        table += weight * np.kron(coarse, np.ones((cell, cell)))
    return table.astype(np.float32)


_NOISE = _smooth_noise()


def _noise(u: np.ndarray, v: np.ndarray, salt: np.ndarray) -> np.ndarray:
    """Look up noise in 0..1; one table cell per unit of `u` and `v`."""
    size = len(_NOISE)
    row = (np.floor(v).astype(np.int32) + salt) % size
    col = (np.floor(u).astype(np.int32) + 3 * salt) % size
    return _NOISE[row, col]


def _hash(i: np.ndarray, j: np.ndarray, salt: np.ndarray) -> np.ndarray:
    """Return one repeatable random number in 0..1 for each cell (i, j)."""
    mixed = i.astype(np.int32).astype(np.uint32) * np.uint32(374761393)
    mixed += j.astype(np.int32).astype(np.uint32) * np.uint32(668265263)
    mixed += salt.astype(np.uint32) * np.uint32(2246822519)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(1274126177)
    return ((mixed >> np.uint32(16)) & np.uint32(0xFFFF)).astype(np.float32) / np.float32(65535)


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return first + (second - first) * weight


def _plain(u, v, first, second, salt):
    return first


def _planks(u, v, first, second, salt):
    row = np.floor(v)
    along = u / 7 + _hash(row, row, salt)
    shade = 0.8 + 0.3 * _hash(row, np.floor(along), salt) + 0.12 * _noise(u * 2, v * 12, salt)
    seam = (v - row < 0.07) | (along - np.floor(along) < 0.012)
    return np.where(seam, second, first * shade)


def _tiles(u, v, first, second, salt):
    row, col = np.floor(v), np.floor(u)
    shade = 0.93 + 0.1 * _hash(row, col, salt)
    grout = (v - row < 0.06) | (u - col < 0.06)
    return np.where(grout, second, first * shade)


def _checks(u, v, first, second, salt):
    return np.where((np.floor(u) + np.floor(v)) % 2 == 0, first, second)


def _stripes(u, v, first, second, salt):
    return np.where(u - np.floor(u) < 0.5, first, second)


def _wallpaper(u, v, first, second, salt):
    row = np.floor(v)
    across = u + 0.5 * (row % 2)
    du, dv = across - np.floor(across) - 0.5, v - row - 0.5
    return np.where(du * du + 2 * dv * dv < 0.05, second, first)


def _carpet(u, v, first, second, salt):
    return _mix(first, second, _noise(u, v, salt))


def _wood(u, v, first, second, salt):
    return _mix(first, second, _noise(u * 0.5, v * 6, salt))


def _brick(u, v, first, second, salt):
    row = np.floor(v)
    across = u / 2 + 0.5 * (row % 2)
    shade = 0.8 + 0.35 * _hash(row, np.floor(across), salt)
    mortar = (v - row < 0.14) | (across - np.floor(across) < 0.06)
    return np.where(mortar, second, first * shade)


def _books(u, v, first, second, salt):
    col = np.floor(u)
    hue = _hash(col, col, salt)
    color = 0.14 + 0.6 * np.stack(
        [_hash(col, col + 1, salt), 0.8 * _hash(col, col + 2, salt), _hash(col, col + 3, salt)]
    )
    gap = (u - col < 0.12) | (v > 3.2 + 2.2 * hue)
    return np.where(gap, second, color.astype(np.float32))


def _panels(u, v, first, second, salt):
    du, dv = u - np.floor(u), v - np.floor(v)
    edge = np.minimum(np.minimum(du, 1 - du), np.minimum(dv, 1 - dv))
    handle = (np.abs(du - 0.82) < 0.035) & (np.abs(dv - 0.5) < 0.13)
    color = np.where(np.abs(edge - 0.12) < 0.018, first * 0.82, first)
    return np.where((edge < 0.025) | handle, second, color)


def _outdoors(u, v, first, second, salt):
    hill = 0.3 + 0.12 * np.sin(4 * u + salt) + 0.05 * np.sin(11 * u)
    return np.where(
        v < hill, second * (0.85 + 0.3 * _noise(u * 25, v * 25, salt)), first + 0.15 * v
    )


def _painting(u, v, first, second, salt):
    ridge = 0.45 + 0.2 * np.sin(5 * u + salt) + 0.1 * np.sin(13 * u + 2 * salt)
    sun = (u - 0.7) ** 2 + (v - 0.75) ** 2 < 0.015
    ground = np.where(v < 0.5 * ridge, second * 0.6, second)
    return np.where(v < ridge, ground, np.where(sun, 0.95, first))


def _screen(u, v, first, second, salt):
    row = np.floor(v * 12)
    text = (v * 12 - row > 0.45) & (u < 0.25 + 0.9 * _hash(row, row, salt)) & (u > 0.12)
    return np.where(text, second, first)


def _chalk(u, v, first, second, salt):
    row = np.floor(v)
    word = _hash(row, np.floor(u * 1.5), salt) > 0.45
    line = np.abs(v - row - 0.5 + 0.12 * np.sin(17 * u + salt)) < 0.08
    return np.where(word & line, second, first * (0.92 + 0.16 * _noise(u * 4, v * 4, salt)))


def _plaid(u, v, first, second, salt):
    weight = 0.45 * (u - np.floor(u) < 0.4) + 0.45 * (v - np.floor(v) < 0.4)
    return _mix(first, second, weight.astype(np.float32))


def _leaves(u, v, first, second, salt):
    return np.where(_noise(u, v, salt) > 0.5, first, second)


def _facade(u, v, first, second, salt):
    row, col = np.floor(v), np.floor(u)
    du, dv = u - col, v - row
    window = (np.abs(du - 0.5) < 0.26) & (np.abs(dv - 0.52) < 0.29)
    frame = (np.abs(du - 0.5) < 0.3) & (np.abs(dv - 0.52) < 0.33)
    glass = second * (0.7 + 0.6 * _hash(row, col, salt))
    wall = first * (0.93 + 0.12 * _noise(u * 12, v * 12, salt))
    return np.where(window, glass, np.where(frame, np.minimum(first * 1.35, 1), wall))


TEXTURES: dict[TextureName, Texture] = {
    "plain": _plain,
    "planks": _planks,
    "tiles": _tiles,
    "checks": _checks,
    "stripes": _stripes,
    "wallpaper": _wallpaper,
    "carpet": _carpet,
    "wood": _wood,
    "brick": _brick,
    "books": _books,
    "panels": _panels,
    "outdoors": _outdoors,
    "painting": _painting,
    "screen": _screen,
    "chalk": _chalk,
    "plaid": _plaid,
    "leaves": _leaves,
    "facade": _facade,
}
