"""Color of the surfaces that the demo renderer's rays meet: texture, point light, soft shadows.

P is a number of rays, computed together; N solids; M materials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scripts.demo_renderer.textures import TEXTURES

if TYPE_CHECKING:
    from scripts.demo_renderer.renderer import Light, Material, Room, Scene

_SHAPES = ("box", "cylinder", "ellipsoid")
_TEXTURE_NAMES = tuple(TEXTURES)
_CHUNK = 12288  # rays shaded at a time: their arrays stay in the cache


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
    """Return the position (u, v) on the face, meters from its lower corner."""
    corner = local + half
    u = np.where(axis == 0, corner[2], corner[0])
    v = np.where(axis == 1, corner[2], corner[1])
    return u, v


class Palette:
    """The materials of a scene as arrays, one column per material."""

    def __init__(self, materials: list[Material]) -> None:
        self.first = np.array([m.color for m in materials], np.float32).T.copy()  # [3, M]
        self.second = np.array([m.second for m in materials], np.float32).T.copy()
        self.scale = np.array([m.scale for m in materials], np.float32)
        self.salt = np.array([m.salt for m in materials], np.int32)
        self.glow = np.array([m.glow for m in materials], np.float32)
        self.texture = np.array([_TEXTURE_NAMES.index(m.texture) for m in materials], np.uint8)

    def colors(self, which: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the surfaces' own colors [3, P]; `which` [P] says whose, (u, v) where, meters."""
        colors = self.first.take(which, axis=1)
        texture = self.texture.take(which)
        for kind in np.flatnonzero(np.bincount(texture)):
            if _TEXTURE_NAMES[kind] == "plain":
                continue
            at = np.flatnonzero(texture == kind)
            owner = which[at]
            su, sv = u[at] / self.scale[owner], v[at] / self.scale[owner]
            second, salt = self.second.take(owner, axis=1), self.salt[owner]
            paint = TEXTURES[_TEXTURE_NAMES[kind]]
            colors[:, at] = paint(su, sv, colors.take(at, axis=1), second, salt)
        return colors


def _brightness(light: Light, point: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Return ambient plus diffuse light [P] at world points [3, P]."""
    to_light = np.asarray(light.position, np.float32)[:, None] - point
    square = (to_light * to_light).sum(0)
    facing = np.maximum((normal * to_light).sum(0), 0) / np.sqrt(square)
    ambient = light.ambient * (1 + 0.12 * normal[1] + 0.06 * normal[0] - 0.05 * normal[2])
    return ambient + light.strength * facing / (1 + square / light.reach**2)


def _corner_darkening(room: Room, local: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Darken room surfaces [P] near the room's edges; `local` is relative to its center."""
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


class Shader:
    """Colors of ray hits in one scene."""

    def __init__(self, scene: Scene) -> None:
        room, solids = scene.room, scene.solids
        self.scene = scene
        self.solids, self.shapes = _solid_table(scene)
        self.palette = Palette([room.wall, room.floor, room.ceiling, *(s.material for s in solids)])

    def shade(self, ray: np.ndarray, solid: np.ndarray) -> np.ndarray:
        """Return colors [3, P], mostly in 0..1.

        ray: [3, P], meters from the camera to the surface; solid: [P], 0 the room and i + 1
        `scene.solids[i]`.
        """
        scene, room = self.scene, self.scene.room
        point = ray + np.asarray(scene.camera.position, np.float32)[:, None]
        placed = self.solids.take(solid, axis=1)  # [8, P]
        half, cos, sin = placed[3:6], placed[6], placed[7]
        x, y, z = point - placed[:3]
        local = np.stack([x * cos - z * sin, y, x * sin + z * cos])
        normal, axis = _local_normal(local / half, half, self.shapes.take(solid))
        inside = np.flatnonzero(solid == 0)
        normal[:, inside] *= -1
        which = solid + 2
        which[inside] = np.where(axis[inside] != 1, 0, np.where(normal[1, inside] > 0, 1, 2))
        color = self.palette.colors(which, *_surface_uv(local, half, axis))
        x, z = normal[0] * cos + normal[2] * sin, normal[2] * cos - normal[0] * sin
        bright = _brightness(scene.light, point, np.stack([x, normal[1], z]))
        bright[inside] *= _corner_darkening(room, local.take(inside, axis=1), axis[inside])
        floor = inside[which[inside] == 1]
        bright[floor] *= _footprint_shadow(scene.footprints, point[0, floor], point[2, floor])
        glow = self.palette.glow.take(which)
        tint = np.asarray(scene.light.tint, np.float32)[:, None]
        return color * np.where(glow > 0, glow, bright * tint)


def shade_image(
    scene: Scene, directions: np.ndarray, depth: np.ndarray, solid: np.ndarray
) -> np.ndarray:
    """Return colors [3, H, W] of what rays [3, H, W] meet at `depth` [H, W] on `solid` [H, W]."""
    shader, height = Shader(scene), depth.shape[0]
    rows = max(1, _CHUNK // depth.shape[1])
    color = np.empty_like(directions)
    for top in range(0, height, rows):
        part = slice(top, top + rows)
        ray = (directions[:, part] * depth[part]).reshape(3, -1)
        color[:, part] = shader.shade(ray, solid[part].ravel()).reshape(3, -1, depth.shape[1])
    return color
