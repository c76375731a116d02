"""Colour of the surfaces that the demo renderer's rays meet: texture, point light, soft shadows.

P is the number of rays of one picture; everything is computed for all of them at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from common.data.demo_textures import TEXTURES

if TYPE_CHECKING:
    from common.data.renderer import Light, Material, Room, Scene

_SHAPES = ("box", "cylinder", "ellipsoid")
_TEXTURE_NAMES = tuple(TEXTURES)


def _solid_table(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return center, half size and cos, sin of yaw as [8, N + 1], and shape codes [N + 1].

    Column 0 is the room.
    """
    rows = [(*scene.room.center, *scene.room.half, 1.0, 0.0)]
    rows += [(*s.center, *s.half, np.cos(s.yaw), np.sin(s.yaw)) for s in scene.solids]
    shapes = [0] + [_SHAPES.index(solid.shape) for solid in scene.solids]
    return np.array(rows, np.float32).T.copy(), np.array(shapes, np.uint8)


def _local_normal(unit: np.ndarray, half: np.ndarray, shape: np.ndarray) -> tuple:
    """Return outward normals [3, P] in the solids' frames and the face axis [P] (0 x, 1 y, 2 z)."""
    size = np.abs(unit)
    axis = np.where(size[0] > size[1], np.where(size[0] > size[2], 0, 2), 1).astype(np.uint8)
    axis[(axis == 1) & (size[2] > size[1])] = 2
    axis[(shape == 1) & (size[1] < 0.999)] = 0
    normal = np.where(axis == np.arange(3, dtype=np.uint8)[:, None], np.sign(unit), 0)
    curved = np.flatnonzero((shape == 2) | ((shape == 1) & (axis == 0)))
    if curved.size:
        slope = unit[:, curved] / half[:, curved]
        slope[1] *= shape[curved] == 2
        normal[:, curved] = slope / np.linalg.norm(slope, axis=0)
    return normal.astype(np.float32), axis


def _surface_uv(local: np.ndarray, half: np.ndarray, axis: np.ndarray) -> tuple:
    """Return the position (u, v) on the face, metres from its lower corner."""
    corner = local + half
    u = np.where(axis == 0, corner[2], corner[0])
    v = np.where(axis == 1, corner[2], corner[1])
    return u, v


def _albedo(materials: list[Material], which: np.ndarray, u: np.ndarray, v: np.ndarray):
    """Evaluate the materials: colour [3, P] of the surface, before light."""
    first = np.array([m.color for m in materials], np.float32).T[:, which]
    codes = np.array([_TEXTURE_NAMES.index(m.texture) for m in materials], np.uint8)
    second = np.array([m.second for m in materials], np.float32).T
    scale = np.array([m.scale for m in materials], np.float32)
    salt = np.array([m.salt for m in materials], np.int32)
    code = codes[which]
    for kind in np.unique(codes):
        if _TEXTURE_NAMES[kind] == "plain":
            continue
        at = np.flatnonzero(code == kind)
        if at.size:
            owner = which[at]
            texture = TEXTURES[_TEXTURE_NAMES[kind]]
            su, sv = u[at] / scale[owner], v[at] / scale[owner]
            first[:, at] = texture(su, sv, first[:, at], second[:, owner], salt[owner])
    return first


def _brightness(light: Light, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return ambient plus diffuse light [P] at world points [3, P]."""
    to_light = np.asarray(light.position, np.float32)[:, None] - point
    square = (to_light * to_light).sum(0)
    facing = np.maximum((normal * to_light).sum(0), 0) / np.sqrt(square)
    ambient = light.ambient * (1 + 0.12 * normal[1] + 0.06 * normal[0] - 0.05 * normal[2])
    return ambient + light.strength * facing / (1 + square / light.reach**2)


def _corner_darkening(room: Room, local: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Darken room surfaces [P] near the room's edges; `local` is relative to its centre."""
    dark = np.ones(local.shape[1], np.float32)
    for other in range(3):
        gap = (room.half[other] - np.abs(local[other])) / 0.22
        dark *= np.where(axis == other, 1, 1 - 0.3 / (1 + gap * gap))
    return dark


def _footprint_shadow(footprints, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Darken floor points [P] under and close around what stands on the floor."""
    bright = np.ones(x.shape, np.float32)
    for center_x, center_z, half_x, half_z, yaw in footprints:
        cos, sin = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
        dx, dz = x - np.float32(center_x), z - np.float32(center_z)
        out_x = np.maximum(np.abs(dx * cos - dz * sin) - np.float32(half_x), 0)
        out_z = np.maximum(np.abs(dx * sin + dz * cos) - np.float32(half_z), 0)
        bright *= 1 - 0.5 / (1 + (out_x * out_x + out_z * out_z) * 60)
    return bright


def shade(
    scene: Scene, origin: np.ndarray, directions: np.ndarray, depth: np.ndarray, solid: np.ndarray
) -> np.ndarray:
    """Return linear colours [3, H, W] (mostly 0..1) of what the rays meet.

    directions: [3, H, W]; depth: [H, W]; solid: [H, W], 0 the room and i + 1 `scene.solids[i]`.
    """
    room, owner = scene.room, solid.ravel()
    ray = directions.reshape(3, -1) * depth.ravel()  # [3, P]
    point = ray + origin.astype(np.float32)[:, None]
    table, shapes = _solid_table(scene)
    placed = table[:, owner]  # [8, P]
    half, cos, sin = placed[3:6], placed[6], placed[7]
    offset = point - placed[:3]
    local = np.stack(
        [offset[0] * cos - offset[2] * sin, offset[1], offset[0] * sin + offset[2] * cos]
    )
    normal, axis = _local_normal(local / half, half, shapes[owner])
    materials = [room.wall, room.floor, room.ceiling] + [s.material for s in scene.solids]
    which = owner + 2
    inside = np.flatnonzero(owner == 0)
    normal[:, inside] *= -1
    which[inside] = np.where(axis[inside] != 1, 0, np.where(normal[1, inside] > 0, 1, 2))
    color = _albedo(materials, which, *_surface_uv(local, half, axis))
    x, z = normal[0] * cos + normal[2] * sin, normal[2] * cos - normal[0] * sin
    bright = _brightness(scene.light, point, np.stack([x, normal[1], z]))
    bright[inside] *= _corner_darkening(room, local[:, inside], axis[inside])
    floor = inside[which[inside] == 1]
    bright[floor] *= _footprint_shadow(scene.footprints, point[0, floor], point[2, floor])
    glow = np.array([material.glow for material in materials], np.float32)[which]
    tint = np.asarray(scene.light.tint, np.float32)[:, None]
    color *= np.where(glow > 0, glow, bright * tint)
    return color.reshape(3, *depth.shape)
