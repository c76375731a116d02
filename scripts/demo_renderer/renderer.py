"""Ray-cast small scenes of boxes, cylinders and ellipsoids with NumPy.

World frame: x right, y up, z ahead, meters. A camera ray is `position + depth * direction` where
`direction` has length 1 along the optical axis, so the ray parameter *is* the z-depth.
A solid's own frame is turned by `yaw` about y and divided by its half sizes, so that every solid is
the unit box, the unit cylinder (axis y) or the unit sphere. The room is a box seen from inside.

Shape legend: H, W image size; P = H * W pixels; N solids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scripts.demo_renderer.shading import shade_image
from scripts.demo_renderer.textures import TextureName

Vector = tuple[float, float, float]
Shape = Literal["box", "cylinder", "ellipsoid"]
NEAR = 1e-3  # meters; nothing nearer is drawn


@dataclass(frozen=True)
class Material:
    """Surface color (RGB, 0..1), its texture (scale in meters) and how much it glows."""

    color: Vector
    texture: TextureName = "plain"
    second: Vector = (0.0, 0.0, 0.0)
    scale: float = 1.0
    salt: int = 0
    glow: float = 0.0


@dataclass(frozen=True)
class Solid:
    """One primitive; `object_id` indexes `Scene.names`."""

    shape: Shape
    center: Vector
    half: Vector
    material: Material
    yaw: float = 0.0
    object_id: int = 0


@dataclass(frozen=True)
class Room:
    """The box around everything."""

    center: Vector
    half: Vector
    wall: Material
    floor: Material
    ceiling: Material


@dataclass(frozen=True)
class Light:
    """A point light; `reach` is the distance in meters at which its strength has halved."""

    position: Vector
    ambient: float = 0.45
    strength: float = 0.75
    reach: float = 4.0
    tint: Vector = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera; angles in radians, positive pitch looks down, principal point centered."""

    position: Vector
    f_px: float
    height: int
    width: int
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def rotation(self) -> np.ndarray:
        """Return [3, 3]: camera axes (x right, y down, z ahead) as columns in the world frame."""
        cy, sy = np.cos(self.yaw), np.sin(self.yaw)
        cp, sp = np.cos(self.pitch), np.sin(self.pitch)
        cr, sr = np.cos(self.roll), np.sin(self.roll)
        turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        tilt = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return turn @ tilt @ roll @ np.diag([1.0, -1.0, 1.0])

    def enlarged(self, factor: int) -> Camera:
        """Return the same view with `factor` times as many pixels per side."""
        size = (self.height * factor, self.width * factor)
        return Camera(
            self.position, self.f_px * factor, *size, yaw=self.yaw, pitch=self.pitch, roll=self.roll
        )

    def directions(self) -> np.ndarray:
        """Return ray directions [3, H, W] through the pixel centers, z-depth 1."""
        x = (np.arange(self.width) + 0.5 - self.width / 2) / self.f_px
        y = (np.arange(self.height) + 0.5 - self.height / 2) / self.f_px
        axes = self.rotation()[:, :, None, None]
        return (axes[:, 0] * x + axes[:, 1] * y[:, None] + axes[:, 2]).astype(np.float32)


@dataclass(frozen=True)
class Scene:
    """Everything in front of the camera. Soft shadows fall from `footprints` onto the floor.

    footprints: [(x, z, half_x, half_z, yaw)], the outlines of what stands on the floor.
    """

    room: Room
    solids: tuple[Solid, ...]
    names: tuple[str, ...]
    light: Light
    camera: Camera
    footprints: tuple[tuple[float, float, float, float, float], ...] = ()


@dataclass(frozen=True)
class Hits:
    """What each pixel-center ray meets first.

    depth: [H, W] float32, meters along the optical axis. solid: [H, W] int32, 0 is the room and
    i + 1 is `scene.solids[i]`.
    """

    depth: np.ndarray
    solid: np.ndarray

    def object_pixels(self, scene: Scene) -> np.ndarray:
        """Count the pixels of every object of `scene.names`: [len(names)] int."""
        owner = np.array([len(scene.names)] + [solid.object_id for solid in scene.solids])
        counts = np.bincount(owner[self.solid.ravel()], minlength=len(scene.names) + 1)
        return counts[:-1]


def turn(x, z, yaw: float) -> tuple:
    """Express world (x, z), numbers or arrays, in a frame with the given yaw."""
    cos, sin = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    return x * cos - z * sin, x * sin + z * cos


class Rays:
    """The pixel-center rays of a camera, with their directions kept for every yaw asked for."""

    def __init__(self, camera: Camera) -> None:
        self.origin = np.asarray(camera.position)
        self.directions = camera.directions()
        self._turned: dict[float, tuple[np.ndarray, np.ndarray]] = {}

    def turned(self, yaw: float) -> tuple[np.ndarray, np.ndarray]:
        """Return directions [3, H, W] in a frame with this yaw, and their inverses."""
        if yaw not in self._turned:
            x, z = turn(self.directions[0], self.directions[2], yaw)
            local = np.stack([x, self.directions[1], z])
            local[np.abs(local) < 1e-7] = 1e-7
            self._turned[yaw] = (local, 1 / local)
        return self._turned[yaw]

    def start(self, center: Vector, yaw: float) -> np.ndarray:
        """Return the camera's position [3] in the frame of a solid."""
        offset = self.origin - np.asarray(center)
        x, z = turn(offset[0], offset[2], yaw)
        return np.array([x, offset[1], z], np.float32)


def _box_span(inverse: np.ndarray, start: np.ndarray, half: Vector) -> tuple[np.ndarray, ...]:
    """Return the depths [h, w] where rays enter and leave a box; `inverse` is [3, h, w]."""
    spans = []
    for axis in range(3):
        low = (-half[axis] - start[axis]) * inverse[axis]
        high = (half[axis] - start[axis]) * inverse[axis]
        spans.append((np.minimum(low, high), np.maximum(low, high)))
    (near, far), *others = spans
    for enter, leave in others:
        np.maximum(near, enter, out=near)
        np.minimum(far, leave, out=far)
    return near, far


def _hit_ellipsoid(d: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the depth [h, w] at which rays enter the unit sphere, inf where they miss."""
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = start[0] * d[0] + start[1] * d[1] + start[2] * d[2]
    root = b * b - a * (start @ start - 1)
    return np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf)


def _hit_cylinder(d: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return the depth [h, w] at which rays enter the unit cylinder, inf where they miss."""
    a = d[0] * d[0] + d[2] * d[2]
    b = start[0] * d[0] + start[2] * d[2]
    root = b * b - a * (start[0] ** 2 + start[2] ** 2 - 1)
    side = (-b - np.sqrt(np.maximum(root, 0))) / a
    on_side = (root > 0) & (np.abs(start[1] + side * d[1]) <= 1)
    cap = (np.sign(start[1]) - start[1]) / d[1]
    on_cap = (start[0] + cap * d[0]) ** 2 + (start[2] + cap * d[2]) ** 2 <= 1
    on_cap &= bool(abs(start[1]) > 1)
    return np.where(on_side, side, np.where(on_cap, cap, np.inf))


def _hit(solid: Solid, rays: Rays, window: tuple[slice, slice]) -> np.ndarray:
    """Return the depth at which the rays of a window enter a solid, inf where they miss."""
    directions, inverse = rays.turned(solid.yaw)
    start = rays.start(solid.center, solid.yaw)
    if solid.shape == "box":
        near, far = _box_span(inverse[:, *window], start, solid.half)
        near[near >= far] = np.inf
        return near
    half = np.asarray(solid.half, np.float32)
    unit = directions[:, *window] / half[:, None, None]
    return (_hit_cylinder if solid.shape == "cylinder" else _hit_ellipsoid)(unit, start / half)


def _screen_windows(solids: tuple[Solid, ...], camera: Camera) -> list[tuple[slice, slice]]:
    """Bound every solid on the screen by (rows, columns)."""
    if not solids:
        return []
    corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, 8)
    half = np.array([solid.half for solid in solids])
    offset = np.array([solid.center for solid in solids]) - np.asarray(camera.position)
    yaw = np.array([[solid.yaw] for solid in solids])
    x, y, z = (corners * half[:, :, None]).transpose(1, 0, 2)  # [N, 8] each
    cos, sin = np.cos(yaw), np.sin(yaw)
    world = np.stack([x * cos + z * sin, y, z * cos - x * sin], 1) + offset[:, :, None]
    seen = np.einsum("ji,njk->ink", camera.rotation(), world)  # [3, N, 8]
    depth = np.maximum(seen[2], 0.02)
    row = camera.f_px * seen[1] / depth + camera.height / 2
    col = camera.f_px * seen[0] / depth + camera.width / 2
    bounds = np.stack([row.min(1), row.max(1) + 1, col.min(1), col.max(1) + 1], 1)
    height, width = camera.height, camera.width
    bounds[seen[2].min(1) < 0.02] = [0, height, 0, width]
    bounds[seen[2].max(1) < 0.02] = 0
    limits = np.clip(np.floor(bounds), 0, [height, height, width, width]).astype(int)
    return [(slice(top, bottom), slice(left, right)) for top, bottom, left, right in limits]


def trace(scene: Scene, rays: Rays, camera: Camera, drawn: set[int] | None = None) -> Hits:
    """Find the first surface along every ray; `camera` is the one the rays come from.

    drawn: numbers, as in `Hits.solid`, of the solids to look at; None: all of them.
    """
    _, inverse = rays.turned(0.0)
    _, depth = _box_span(inverse, rays.start(scene.room.center, 0.0), scene.room.half)
    index = np.zeros(depth.shape, np.int32)
    windows = _screen_windows(scene.solids, camera)
    for number, (solid, window) in enumerate(zip(scene.solids, windows, strict=True), start=1):
        if index[window].size == 0 or (drawn is not None and number not in drawn):
            continue
        near = _hit(solid, rays, window)
        hit = (near > NEAR) & (near < depth[window])
        np.copyto(depth[window], near, where=hit, casting="same_kind")
        index[window][hit] = number
    return Hits(depth, index)


def render_geometry(scene: Scene) -> Hits:
    """Return depth and solid of every pixel of the scene's camera."""
    return trace(scene, Rays(scene.camera), scene.camera)


def render_color(scene: Scene, seen: Hits, supersample: int = 2) -> np.ndarray:
    """Draw what `seen` (of `render_geometry`) holds: RGB uint8 [H, W, 3].

    Each pixel is the mean of `supersample`^2 rays.
    """
    fine = scene.camera.enlarged(supersample)
    rays = Rays(fine)
    drawn = set(np.flatnonzero(np.bincount(seen.solid.ravel())).tolist())
    hits = trace(scene, rays, fine, drawn)
    color = np.clip(shade_image(scene, rays.directions, hits.depth, hits.solid), 0, 1)
    step = range(supersample)
    total = sum(color[:, i::supersample, j::supersample] for i in step for j in step)  # [3, H, W]
    mean = total.transpose(1, 2, 0) * (255 / supersample**2)
    return (mean + 0.5).astype(np.uint8, order="C")
