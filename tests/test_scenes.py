"""Scenes of test images: folders that name one, runs of frame numbers, twins of demo rooms."""

import random
from dataclasses import replace

import pytest

from common.data.lists import carve_by_scene, number_scenes
from common.data.pairs import Pair, PairList
from common.data.scenes import (
    LARGEST_GAP,
    count_scenes,
    number_labels,
    scene_labels,
    scene_type,
)
from scripts.demo_renderer.room_files import RoomsSettings, write_scene


def groups(keys):
    """The scenes as sets of keys."""
    found: dict[str, set[str]] = {}
    for key, label in zip(keys, scene_labels(keys), strict=True):
        found.setdefault(label, set()).add(key)
    return sorted(map(sorted, found.values()))


def frames(folder, *numbers, pattern="rgb_{:05d}.jpg"):
    return [f"{folder}/{pattern.format(number)}" for number in numbers]


@pytest.mark.parametrize(
    "keys",
    [
        frames("kitchen_0028b", 1, 900) + frames("kitchen_0028a", 5),
        frames("2011_09_26/2011_09_26_drive_0002_sync/image_02/data", 1, 999)
        + frames("2011_09_26/2011_09_26_drive_0002_sync/image_03/data", 5),
        frames("scene0011_00/color", 0, 500, 4000, pattern="{}.jpg"),
        frames("office 2/rgb", 1, 70),
        frames("test/kitchen", 193, 194, 194 + LARGEST_GAP),
        frames("seven/scenes", 7, 8, pattern="frame-{:06d}.color.png"),
    ],
)
def test_one_scene(keys):
    assert groups(keys) == [sorted(keys)]


@pytest.mark.parametrize(
    "keys",
    [
        frames("kitchen_0028b", 1) + frames("kitchen_0029b", 1),
        frames("test/kitchen", 1) + frames("test/office", 2),
        frames("test/kitchen", 193, 193 + LARGEST_GAP + 1),
        ["rooms/hall.jpg", "rooms/kitchen.jpg"],
        ["rooms/hall_1.jpg", "rooms/kitchen_1.jpg"],
        ["a.jpg", "b.jpg"],
        [f"SUNRGBD/kv1/NYUdata/NYU{n:04d}/image/NYU{n:04d}.jpg" for n in (1, 2)],
        ["a/2011_09_26_drive_0001_sync/image_02/data/1.png"]
        + ["a/2011_09_26_drive_0002_sync/image_02/data/1.png"],
    ],
)
def test_two_scenes(keys):
    assert groups(keys) == [[key] for key in sorted(keys)]


def test_a_run_may_be_longer_than_the_gap():
    assert count_scenes(frames("test/bedroom", *range(0, 60, LARGEST_GAP))) == 1


def test_order_changes_nothing_and_labels_stay_with_their_keys():
    keys = frames("test/office", *range(5), *range(40, 44)) + frames("test/bedroom", 20, 21)
    mixed = random.Random(0).sample(keys, len(keys))
    assert dict(zip(mixed, scene_labels(mixed), strict=True)) == dict(
        zip(keys, scene_labels(keys), strict=True)
    )
    assert count_scenes(keys) == 3


def test_a_key_given_twice_has_one_label():
    labels = scene_labels(["test/a/1.jpg", "test/a/50.jpg", "test/a/1.jpg"])
    assert labels[0] == labels[2] != labels[1]
    assert scene_labels([]) == []


def test_twins_of_a_demo_room_are_one_scene(tmp_path):
    settings = RoomsSettings(height=24, width=32)
    made = [write_scene(tmp_path, settings, ("test", index)) for index in range(3)]
    keys = [entry.image for scene in made for entry in scene]
    assert [len(scene) for scene in made] == [2, 2, 2]
    assert groups(keys) == sorted(sorted(entry.image for entry in scene) for scene in made)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("test/living_room/rgb_00001.jpg", "living room"),
        ("living_room_0028b/rgb_1.jpg", "living room"),
        ("living_room_0028b/rgb/1.jpg", "living room"),
        ("rgb/hall/1.jpg", "hall"),
        ("1.jpg", "scene"),
    ],
)
def test_type_of_a_scene(key, kind):
    assert scene_type(key) == kind


def test_scenes_set_apart_are_runs_of_frames_where_folders_are_categories():
    images = [*frames("kitchen", *range(1, 9), *range(40, 52)), *frames("office", *range(90, 100))]
    pairs = PairList.of(Pair(image, f"{image}.png") for image in images)
    rest, apart = carve_by_scene(pairs, 0.3, 0, number_labels)
    assert len(rest) + len(apart) == len(images)
    assert len(apart) == 8  # the first run of the kitchen: the only one that fits
    assert not {*scene_labels(images[:8])} & {*scene_labels([pair.image for pair in rest])}
    folders = frames("kitchen_0001", 1, 2, 3) + frames("kitchen_0002", 1) + frames("den_0003", 4, 5)
    named = PairList.of(Pair(image, f"{image}.png") for image in folders)
    assert carve_by_scene(named, 0.4, 0, number_labels)[1] == carve_by_scene(named, 0.4, 0)[1]


def test_data_carve_by_frames_sets_apart_by_frames(nyu):
    data = replace(nyu, val_list=None, val_share=0.5, carve_by="frames")
    assert data.number_scenes is number_labels
    assert nyu.number_scenes is number_scenes
