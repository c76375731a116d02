"""A validation list that shows scenes of training: named in the log, an error of the doctor."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import doctor_trees as trees
import pytest
from conftest import train
from dataset_trees import write_nyu
from test_scenes import frames

from common.data.data_config import DataConfig
from common.data.pairs import Pair, PairList
from common.data.samples import name_files
from common.data.shared_scenes import find_shared_scenes
from common.data.splits import find_split
from common.images.folder_index import FolderIndex
from scripts.demo_renderer.room_files import RoomsSettings, write_scene

DRIVE = "2011_09_26/2011_09_26_drive_{:04d}_sync/image_02/data"
VIDEOS = {
    "nyu": [frames(f"kitchen_{n:04d}a", *range(0, 200, 9)) for n in range(4)],
    "kitti": [frames(DRIVE.format(n), *range(20), pattern="{:010d}.png") for n in (1, 2, 9)],
    "demo": [
        frames(f"train/{scale}kitchen_{n:04d}", *range(9))
        for n in range(3)
        for scale in ("", "dollhouse_")
    ],
    "folder": [frames(f"rgb/{name}", *range(20)) for name in ("kitchen", "hall", "den")],
    "own": [frames(f"{name}/rgb", *range(20)) for name in ("kitchen", "hall", "den")],
}
KINDS = {"nyu": "nyu", "kitti": "kitti", "demo": "nyu", "folder": "folder", "own": "folder"}


def config(kind="nyu", **changes):
    return DataConfig(kind, Path("/data"), 64, 96, 10.0, **changes)


def samples(images, data=None):
    pairs = PairList.of(Pair(image, f"{image}.png") for image in images)
    return name_files(data or config(), "train", pairs, FolderIndex(is_strict=False))


def random_tenth(images):
    """A random 90/10 split, as anyone makes it."""
    mixed = random.Random(0).sample(images, len(images))
    cut = len(images) // 10
    return samples(mixed[cut:]), samples(mixed[:cut])


@pytest.mark.parametrize("name", VIDEOS)
def test_a_random_tenth_of_the_frames_is_named_for_what_it_is(name):
    training, val = random_tenth([image for video in VIDEOS[name] for image in video])
    shared = find_shared_scenes(training, val, config(KINDS[name]))
    assert shared.is_known and shared.is_by_frames
    assert shared.num_images == shared.num_all == len(val)
    line = shared.describe("val")
    assert "a split by frames of the same videos, not by scene" in line and "\n" not in line
    assert shared.scenes[0] in line


def test_scenes_that_are_not_trained_on_are_not_counted():
    first, second = VIDEOS["nyu"][:2]
    shared = find_shared_scenes(samples(first[::2]), samples(first[1::2] + second), config())
    assert len(shared.scenes) == 1
    assert shared.num_images == len(first[1::2]) == shared.num_all - len(second)


def test_where_scenes_are_known_they_alone_are_told():
    video, folder = VIDEOS["nyu"][0], frames("flat", *range(20))
    parts = [samples(video[start::2] + folder[start::2]) for start in (0, 1)]
    shared = find_shared_scenes(*parts, config())
    assert shared.is_known and shared.num_images == len(video[1::2])
    assert not find_shared_scenes(*(samples(folder[n::2]) for n in (0, 1)), config()).is_known


@pytest.mark.parametrize(("every", "is_by_frames"), [(5, True), (6, False)])
def test_a_split_by_frames_has_half_of_its_images_beside_training(every, is_by_frames):
    """On either side: two of four are the half, two of five are not."""
    images = VIDEOS["nyu"][0]
    training = images[::every]
    rest = [image for image in images if image not in training]
    shared = find_shared_scenes(samples(training), samples(rest), config())
    assert shared.is_by_frames == is_by_frames


def test_an_image_that_a_list_has_twice_is_counted_as_often():
    images = VIDEOS["nyu"][0]
    shared = find_shared_scenes(samples(images[::2]), samples(images[1::2] + images[1:4]), config())
    assert shared.num_all == len(images[1::2]) + 3
    assert shared.num_images == shared.num_all - 1  # images[2] is trained on itself


@pytest.mark.parametrize("name", VIDEOS)
def test_whole_scenes_are_well(name):
    size = 2 if name == "demo" else 1  # a demo room and its miniature are one scene
    rest, last = VIDEOS[name][:-size], VIDEOS[name][-size:]
    parts = [samples([i for video in videos for i in video]) for videos in (rest, last)]
    assert find_shared_scenes(*parts, config(KINDS[name])) is None


def test_a_miniature_in_validation_shares_its_room(tmp_path):
    settings = RoomsSettings(height=24, width=32)
    made = write_scene(tmp_path, settings, ("train", 0))
    one, twin = (samples([entry.image]) for entry in made)
    assert find_shared_scenes(one, twin, config()).is_known


def test_the_last_frames_of_every_video_are_no_split_by_frames_but_of_its_scenes():
    first = [image for video in VIDEOS["nyu"] for image in video[:-4]]
    last = [image for video in VIDEOS["nyu"] for image in video[-4:]]
    shared = find_shared_scenes(samples(first), samples(last), config())
    assert shared.is_known and not shared.is_by_frames
    assert "16 of 16 images are of 4 scene(s) that are trained on" in shared.describe("val")
    assert "..." in shared.describe("val")


def test_clips_of_one_scene_and_other_cameras_of_one_drive():
    one, two = frames("kitchen_0028a", 1, 2), frames("kitchen_0028b", 7, 8)
    assert find_shared_scenes(samples(one), samples(two), config()).scenes == ("kitchen_0028",)
    left = frames(DRIVE.format(1), 1, 2)
    right = [image.replace("image_02", "image_03") for image in left]
    assert find_shared_scenes(samples(left), samples(right), config("kitti")).is_known


@pytest.mark.parametrize("folder", ["kitchen", "rgb", ""])
def test_a_folder_that_may_hold_many_scenes_is_told_of_carefully(folder):
    images = frames(folder or ".", *range(100))
    training, val = random_tenth(images)
    shared = find_shared_scenes(training, val, config())
    assert not shared.is_known
    assert "if that is a video, or one place, this is a split by frames" in shared.describe("val")
    assert find_shared_scenes(samples(images[:90]), samples(images[90:]), config()) is None
    as_frames = config(carve_by="frames")
    assert find_shared_scenes(training, val, as_frames).is_known
    apart = samples(images[:50]), samples(images[60:])
    assert find_shared_scenes(*apart, as_frames) is None


def test_images_in_both_lists_are_another_matter():
    both = samples(frames("kitchen_0001", 1, 2))
    assert find_shared_scenes(both, both, config()) is None


def test_a_list_that_leads_through_a_link(tmp_path):
    (tmp_path / "room_1").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "room_1")
    data = replace(config(), root=tmp_path)
    one, two = samples(frames("room_1", 1), data), samples(frames("link", 2), data)
    absolute = samples(frames(str(tmp_path / "room_1"), 3), data)
    assert find_shared_scenes(one, two, data).is_known
    assert find_shared_scenes(one, absolute, data).is_known


def by_frames(root, train_list):
    """Two lines of a training list, of two scenes, into the validation list."""
    lines = (root / train_list).read_text().splitlines()
    moved = lines[0], lines[2]
    (root / "mine_val.txt").write_text("\n".join(moved))
    (root / train_list).write_text("\n".join(line for line in lines if line not in moved))


def test_it_is_an_error_of_the_doctor(tmp_path):
    root = trees.write_nyu(tmp_path / "nyu")
    healthy = trees.examine_nyu(root)
    assert "scene_overlap" not in healthy.codes()
    by_frames(root, trees.NYU_TRAIN_LIST)
    health = trees.examine_nyu(root, "data.val_list=mine_val.txt")
    assert health.codes() == ["scene_overlap"]
    assert "a split by frames of the same videos" in health.finding("scene_overlap")["text"]
    assert "data.val_list=null" in health.outcome.out
    assert trees.examine_nyu(root, "data.val_list=null").codes() == []


def test_it_is_a_loud_line_of_the_run(workspace, tmp_path):
    data = shutil.copytree(workspace.data, tmp_path / "data")
    by_frames(data, "train.txt")
    words = workspace.arguments(
        "stage1", tmp_path, f"data.root={data}", "data.val_list=mine_val.txt", "train.max_steps=1"
    )
    assert train("stage1", *words).code == 0
    log = (tmp_path / "tiny/stage1/log.txt").read_text()
    assert log.count("WARNING: val: 2 of 2 images are of 2 scene(s) that are trained on") == 1
    assert train("stage1", *words, "experiment=b", "data.val_list=val.txt").code == 0
    assert "WARNING: val" not in (tmp_path / "b/stage1/log.txt").read_text()


def test_the_last_images_of_one_folder_are_told_as_such(tmp_path):
    root = write_nyu(tmp_path).root / "sync/kitchen_0001"
    own = tmp_path / "own"
    for kind, name in (("rgb", "rgb"), ("depth", "sync_depth")):
        (own / kind).mkdir(parents=True)
        for number in range(3):
            source = next(root.glob(f"{name}_{number:05d}.*"))
            shutil.copyfile(source, own / kind / f"{number}{source.suffix}")
    data = DataConfig("folder", own, 64, 96, 10.0, test_share=0.0, val_share=0.3)
    (note,) = find_split(data, "val").notes
    assert note.startswith("val: the last 1 images by name, as all are in one folder: if that is a")
