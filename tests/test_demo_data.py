"""Demo data: exact geometry, true captions, exact twins."""

import json
from math import pi
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.data.lists import read_list, scene_of
from common.errors import UserError
from scripts.demo_renderer.captions import MINIATURE_ROOMS
from scripts.demo_renderer.renderer import (
    Camera,
    Light,
    Material,
    Room,
    Scene,
    Solid,
    render_geometry,
)
from scripts.demo_renderer.room_files import RoomsSettings, scene_captions, write_rooms
from scripts.demo_renderer.rooms import MAX_DEPTH, MIN_DEPTH, ROOM_TYPES, draw_room, nyu_focal_px
from scripts.demo_renderer.scale_pairs import (
    PIXELS_ONLY_BOUND,
    bound_of_data,
    pixels_only_bound,
)
from scripts.demo_renderer.street_files import StreetsSettings, write_streets

GRAY = Material((0.5, 0.5, 0.5))
SMALL = RoomsSettings(train_scenes=12, val_scenes=3, test_scenes=10, height=48, width=64)
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory) -> Path:
    """A small set of rooms, made by one process."""
    folder = tmp_path_factory.mktemp("demo") / "rooms"
    write_rooms(folder, SMALL, workers=1)
    return folder


@pytest.fixture(scope="module")
def streets(tmp_path_factory) -> Path:
    """A few small streets."""
    folder = tmp_path_factory.mktemp("demo") / "streets"
    write_streets(folder, StreetsSettings(2, 0, 1, height=94, width=311), workers=1)
    return folder


def read_captions(path: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["image"]: row["caption"] for row in rows}


def read_depth(path: Path) -> np.ndarray:
    depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert depth is not None and depth.dtype == np.uint16
    return depth


def twins(folder: Path, split: str) -> list[tuple]:
    """Pairs of (full-size, miniature) list lines, which stand next to each other."""
    pairs = read_list(folder / f"{split}_files_with_gt.txt")
    return list(zip(pairs[::2], pairs[1::2], strict=True))


def focals(path: Path) -> set[float]:
    """The focal lengths in the third column of a list, pixels."""
    return {float(line.split()[2]) for line in path.read_text().splitlines()}


def file_contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def scene_of_solids(solids: list[Solid], pitch: float = 0.0, size=(21, 33)) -> Scene:
    room = Room((0, 2, 0), (3, 2, 6), GRAY, GRAY, GRAY)
    camera = Camera((0.0, 1.5, 0.0), 20.0, *size, pitch=pitch)
    return Scene(room, tuple(solids), ("thing",), Light((0.0, 3.0, 0.0)), camera)


def pixel_grid(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Ray slopes (x right, y down) of the pixel centers, independent of the renderer."""
    col, row = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    x = (col + 0.5 - camera.width / 2) / camera.f_px
    return x, (row + 0.5 - camera.height / 2) / camera.f_px


def test_room_planes_have_pinhole_depth() -> None:
    scene = scene_of_solids([])
    x, y = pixel_grid(scene.camera)
    with np.errstate(divide="ignore"):
        side = 3 / np.abs(x)
        level = np.where(y > 0, 1.5 / np.abs(y), 2.5 / np.abs(y))
    expected = np.minimum(np.minimum(side, level), 6.0)
    np.testing.assert_allclose(render_geometry(scene).depth, expected, rtol=1e-5)


def test_pitch_looks_down_and_depth_stays_along_the_axis() -> None:
    pitch = 1.2
    scene = scene_of_solids([], pitch=pitch, size=(3, 3))
    _, y = pixel_grid(scene.camera)
    down = np.cos(pitch) * y + np.sin(pitch)
    np.testing.assert_allclose(render_geometry(scene).depth, 1.5 / down, rtol=1e-5)


@pytest.mark.parametrize("yaw", [0.0, pi / 2, 0.7])
def test_box_sphere_and_cylinder_have_analytic_depth_at_the_center(yaw: float) -> None:
    for shape, reach in (("box", None), ("ellipsoid", 0.5), ("cylinder", 0.5)):
        solid = Solid(shape, (0.0, 1.5, 4.0), (0.5, 0.5, 0.5), GRAY, yaw)
        hits = render_geometry(scene_of_solids([solid]))
        near = 0.5 / max(abs(np.cos(yaw)), abs(np.sin(yaw))) if reach is None else reach
        assert hits.depth[10, 16] == pytest.approx(4 - near, rel=1e-5)
        assert hits.solid[10, 16] == 1 and hits.solid[0, 0] == 0


def test_object_pixels_counts_what_is_visible() -> None:
    front = Solid("box", (0, 1.5, 2), (0.4, 0.4, 0.1), GRAY)
    hidden = Solid("box", (0, 1.5, 4), (0.4, 0.4, 0.1), GRAY, object_id=1)
    scene = scene_of_solids([front, hidden])
    scene = Scene(scene.room, scene.solids, ("near", "far"), scene.light, scene.camera)
    hits = render_geometry(scene)
    assert hits.object_pixels(scene).tolist() == [int((hits.solid == 1).sum()), 0]


@pytest.mark.slow
def test_same_seed_same_files_for_any_number_of_workers(rooms: Path, tmp_path: Path) -> None:
    write_rooms(tmp_path / "again", SMALL, workers=2)
    assert file_contents(tmp_path / "again") == file_contents(rooms)


def test_a_scene_depends_on_seed_split_and_index_only() -> None:
    one, same = draw_room(3, "val", 4, 24, 32), draw_room(3, "val", 4, 24, 32)
    np.testing.assert_array_equal(one.rgb, same.rgb)
    for other in (draw_room(4, "val", 4, 24, 32), draw_room(3, "test", 4, 24, 32)):
        assert (one.quarter_mm != other.quarter_mm).any()


def test_twins_share_the_picture_and_a_quarter_of_the_depth(rooms: Path) -> None:
    for split, scenes in zip(SPLITS, (12, 3, 10), strict=True):
        pairs = twins(rooms, split)
        assert len(pairs) == scenes
        for full, small in pairs:
            assert full.image != small.image
            assert (rooms / full.image).read_bytes() == (rooms / small.image).read_bytes()
            depth = read_depth(rooms / full.depth)
            np.testing.assert_array_equal(depth, 4 * read_depth(rooms / small.depth))
            assert depth.shape == cv2.imread(str(rooms / full.image)).shape[:2] == (48, 64)
            assert depth.min() >= 1000 * MIN_DEPTH and depth.max() <= 1000 * MAX_DEPTH
        assert focals(rooms / f"{split}_files_with_gt.txt") == {round(nyu_focal_px(64), 4)}


def test_splits_share_no_scene(rooms: Path) -> None:
    scenes = [
        {scene_of(pair.image) for pair in read_list(rooms / f"{split}_files_with_gt.txt")}
        for split in SPLITS
    ]
    assert not (scenes[0] & scenes[1] or scenes[0] & scenes[2] or scenes[1] & scenes[2])


def test_captions_tell_twins_apart_and_are_swapped_in_the_other_file(rooms: Path) -> None:
    captions = read_captions(rooms / "captions.jsonl")
    swapped = read_captions(rooms / "captions_swapped.jsonl")
    signs = ("dollhouse", "miniature", "toy", "model", "replica", "diorama", "dolls")
    for split in SPLITS:
        for full, small in twins(rooms, split):
            assert not any(sign in captions[full.image] for sign in signs)
            assert any(sign in captions[small.image] for sign in signs)
            for caption in (captions[full.image], captions[small.image]):
                assert "left" not in caption and "right" not in caption
            if split == "test":
                assert swapped[full.image] == captions[small.image]
                assert swapped[small.image] == captions[full.image]
    assert set(swapped) == {pair.image for twin in twins(rooms, "test") for pair in twin}
    assert len(MINIATURE_ROOMS) >= 8


def test_captions_name_visible_things_only() -> None:
    singular = {"shelves": "shelf", "chests of": "chest of"}
    for index in range(len(ROOM_TYPES)):
        room = draw_room(0, "train", index, 48, 64)
        counts = render_geometry(room.scene).object_pixels(room.scene)
        visible = {
            name
            for name, count in zip(room.scene.names, counts, strict=True)
            if count >= 0.01 * 48 * 64
        }
        for caption in scene_captions(0, "train", room).values():
            text = caption.lower()
            assert room.kind in text
            for plural, one in singular.items():
                text = text.replace(plural, one)
            text = text.replace(room.kind, "")
            for name in sorted(visible, key=len, reverse=True):
                text = text.replace(name, "")
            hidden = [name for name in room.scene.names if name in text]
            assert not hidden, f"{caption!r} names {hidden}"
            assert len(text) < len(caption) - len(room.kind), f"{caption!r} names nothing"


def test_pixels_alone_cannot_beat_a_mean_abs_rel_of_0_375(rooms: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = [
        [read_depth(rooms / pair.depth) / 1000 for pair in twin] for twin in twins(rooms, "test")
    ]
    guesses = [
        [rng.uniform(0.1, 9.5, full.shape) for full, _ in pairs],
        [full for full, _ in pairs],
        [small for _, small in pairs],
        [np.sqrt(full * small) for full, small in pairs],
        [full * rng.uniform(0.2, 1.1, full.shape) for full, _ in pairs],
    ]
    for guess in guesses:
        errors = [
            np.mean(np.abs(pred - gt) / gt)
            for pred, twin in zip(guess, pairs, strict=True)
            for gt in twin
        ]
        assert np.mean(errors) >= 0.375 - 1e-9
    always_small = [np.mean((full - small) / full) / 2 for full, small in pairs]
    assert np.mean(always_small) == pytest.approx(PIXELS_ONLY_BOUND) == pytest.approx(0.375)


def test_the_bound_of_pixels_alone_is_that_of_rooms_only(rooms: Path, streets: Path, tmp_path):
    assert (bound_of_data(rooms), bound_of_data(streets), bound_of_data(tmp_path)) == (
        0.375,
        None,
        None,
    )
    for scale, expected in ((1.0, 0.0), (2.0, 0.25), (4.0, 0.375)):
        guesses = np.linspace(0.01, 2, 20_000)
        errors = (np.abs(guesses - 1) + scale * np.abs(guesses - 1 / scale)) / 2
        assert errors.min() == pytest.approx(expected, abs=1e-3)
        assert pixels_only_bound(scale) == expected


def test_room_size_follows_from_its_type() -> None:
    def median(kind: str) -> float:
        index = [room.name for room in ROOM_TYPES].index(kind)
        step = len(ROOM_TYPES)
        rooms = [draw_room(1, "train", index + step * k, 24, 32) for k in range(3)]
        return float(np.median([0.004 * room.quarter_mm for room in rooms]))

    assert median("bathroom") < 2.5 < median("living room") < median("classroom")


@pytest.mark.parametrize("size", [(1, 1), (37, 53), (64, 64), (41, 120)])
def test_any_picture_size(size: tuple[int, int]) -> None:
    room = draw_room(0, "val", 2, *size)
    assert room.rgb.shape == (*size, 3) and room.quarter_mm.shape == size
    assert 4 * int(room.quarter_mm.min()) >= 1000 * MIN_DEPTH


def test_too_tall_a_picture_is_a_user_error() -> None:
    with pytest.raises(UserError, match="--height"):
        RoomsSettings(height=300, width=100)


def test_miniature_share_thins_out_the_training_twins_only(tmp_path: Path) -> None:
    settings = RoomsSettings(20, 2, 2, height=12, width=16, miniature_share=0.5)
    write_rooms(tmp_path / "rooms", settings, workers=1)
    counts = json.loads((tmp_path / "rooms/dataset.json").read_text())["counts"]
    assert 20 < counts["train"] < 40 and counts["val"] == counts["test"] == 4
    assert len(read_captions(tmp_path / "rooms/captions.jsonl")) == sum(counts.values())


def test_streets_look_like_kitti_on_disk(streets: Path) -> None:
    train = read_list(streets / "train_files_with_gt.txt")
    drive = "2011_09_26_drive_0001_sync"
    assert train[0].image == f"2011_09_26/{drive}/image_02/data/0000000000.png"
    assert train[0].depth == f"{drive}/proj_depth/groundtruth/image_02/0000000000.png"
    (focal,) = focals(streets / "train_files_with_gt.txt")
    assert focal == pytest.approx(721.5377 * 311 / 1242, abs=1e-3)
    test = read_list(streets / "test_files_with_gt.txt")
    assert [pair.depth is None for pair in test] == [False, True]
    captions = read_captions(streets / "captions.jsonl")
    for pair in train + test:
        assert cv2.imread(str(streets / "raw" / pair.image)).shape == (94, 311, 3)
        assert captions[pair.image].endswith(".")


def test_street_depth_is_sparse_and_in_range(streets: Path) -> None:
    for pair in read_list(streets / "train_files_with_gt.txt"):
        depth = read_depth(streets / "depth" / pair.depth) / 256
        valid = depth > 0
        assert 0.02 < valid.mean() < 0.12
        assert depth[valid].min() > 1 and depth.max() <= 80
        assert not valid[: len(depth) // 4].any()
