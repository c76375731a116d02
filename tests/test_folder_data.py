"""Anyone's own folder of rgb/ and depth/: found by scanning, divided by scene, any depth format."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from conftest import SETTINGS, evaluate, train

from common.data import folder_search
from common.data.data_config import DataConfig
from common.data.dataset import build_dataset
from common.data.kept_data import KeptData
from common.data.sets.folder import find_pairs
from common.data.splits import SplitFinder, find_split
from common.errors import UserError
from scripts.preparation.image_sets import images_of_config

SCENES = {"hall": 2, "kitchen 1": 6, "office": 9, "attic": 3}
SPLITS = ("train", "val", "test")


def write_image(path: Path, height=48, width=72) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), 100, np.uint8))


def write_depth(path: Path, meters: np.ndarray, scale=1000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, meters.astype(np.float32))
    else:
        assert cv2.imwrite(str(path), (meters * scale).round().astype(np.uint16))


def meters_of(index: int, height=48, width=72) -> np.ndarray:
    """Sparse, as from a LiDAR: most pixels have no measurement."""
    rng = np.random.default_rng(index)
    return rng.uniform(1, 9, (height, width)) * (rng.random((height, width)) < 0.3)


@pytest.fixture
def data(tmp_path) -> DataConfig:
    """Twenty images of four scenes; the names of folders have spaces, depth is .png or .npy."""
    index = 0
    for scene, count in SCENES.items():
        for number in range(count):
            write_image(tmp_path / f"rgb/{scene}/{number}.{('jpg', 'png', 'JPEG')[index % 3]}")
            suffix = "npy" if index % 2 else "png"
            write_depth(tmp_path / f"depth/{scene}/{number}.{suffix}", meters_of(index))
            index += 1
    return DataConfig("folder", tmp_path, 32, 64, 10.0)


def build(data, split="train"):
    return build_dataset(data, find_split(data, split))


def keys(data, split):
    return [pair.image for pair in SplitFinder(data).pairs(split)[0]]


def refusal(data, split="train") -> str:
    with pytest.raises(UserError) as caught:
        build(data, split)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_bar_of_a_search_counts_the_files(data, monkeypatch):
    monkeypatch.setattr(folder_search, "_STEP", 4)
    found = folder_search.FolderSearch("rgb", (".jpg", ".png", ".jpeg"))
    with folder_search.progress_bar("") as bar:
        monkeypatch.setattr(folder_search, "progress_bar", lambda *_, **__: bar)
        folder_search.search(data.root, found)
    assert bar.done == 2 * len(found.paths()) == 40


def test_every_pair_is_found_in_natural_order(data):
    for number in (10, 11):
        write_image(data.root / f"rgb/hall/{number}.png")
        write_depth(data.root / f"depth/hall/{number}.png", meters_of(0))
    for name in ("rgb/hall/._2.png", "rgb/notes.txt", ".cache/rgb/a.png", "depth/.DS_Store"):
        (data.root / name).parent.mkdir(parents=True, exist_ok=True)
        (data.root / name).write_bytes(b"x")
    pairs, _ = find_pairs(data.root, data.root)
    assert len(pairs) == 22
    hall = [Path(pair.image).stem for pair in pairs if "hall" in pair.image]
    assert hall == ["0", "1", "10", "11"]
    numbers = [int(Path(pair.image).stem) for pair in pairs if "office" in pair.image]
    assert numbers == sorted(numbers)
    for pair in pairs:
        assert pair.depth.rsplit(".", 1)[0] == "depth" + pair.image.rsplit(".", 1)[0][3:]


def test_rgb_may_lie_in_each_scene_and_depth_in_another_root(tmp_path):
    for scene in ("a", "b/c"):
        write_image(tmp_path / f"images/{scene}/rgb/x/1.png")
        write_depth(tmp_path / f"truth/{scene}/depth/x/1.npy", meters_of(0))
    pairs, notes = find_pairs(tmp_path / "images", tmp_path / "truth")
    assert notes == []
    assert [pair.image for pair in pairs] == ["a/rgb/x/1.png", "b/c/rgb/x/1.png"]
    assert [pair.depth for pair in pairs] == ["a/depth/x/1.npy", "b/c/depth/x/1.npy"]


def test_depth_is_meters_in_every_format(data):
    dataset = build(replace(data, test_share=1), "test")
    assert len(dataset) == 20
    found = {item.key: item.gt_depth[0].numpy() for item in map(dataset.__getitem__, range(20))}
    index = 0
    for scene, count in SCENES.items():
        for number in range(count):
            (key,) = (key for key in found if key.startswith(f"rgb/{scene}/{number}."))
            np.testing.assert_allclose(found[key], meters_of(index), atol=5.1e-4)
            index += 1


def test_depth_scale_counts_for_png_and_not_for_meters(data):
    dataset = build(replace(data, test_share=1, depth_scale=256.0), "test")
    for sample, item in zip(dataset.samples, map(dataset.__getitem__, range(20)), strict=True):
        factor = 1 if sample.depth_file.endswith("npy") else 1000 / 256
        assert item.gt_depth.max() == pytest.approx(9 * factor, rel=0.02)


def test_training_items_keep_measurements_unmixed(data):
    dataset = build(data)
    for index in range(4):
        item = dataset[index, 0]
        assert item.image.shape == (3, 32, 64)
        depth = item.gt_depth.numpy()
        assert 0.15 < (depth > 0).mean() < 0.45
        assert (depth[depth > 0] > 0.99).all()  # nothing between a measurement and none


def test_splits_are_disjoint_by_scene(data):
    data = replace(data, val_share=0.15, test_share=0.15)
    parts = {split: keys(data, split) for split in SPLITS}
    assert sum(map(len, parts.values())) == 20
    scenes = {split: {key.split("/")[1] for key in parts[split]} for split in SPLITS}
    assert all(parts.values())
    assert not scenes["train"] & scenes["val"]
    assert not scenes["test"] & (scenes["train"] | scenes["val"])
    assert parts == {split: keys(data, split) for split in SPLITS}


@pytest.mark.parametrize("carve_by", ["folder", "frames"])
def test_one_scene_gives_its_last_images(tmp_path, carve_by):
    for number in range(1, 21):
        write_image(tmp_path / f"rgb/{number}.png")
        write_depth(tmp_path / f"depth/{number}.png", meters_of(number))
    data = DataConfig("folder", tmp_path, 32, 64, 10.0, test_share=0.1, carve_by=carve_by)
    numbers = {s: [int(Path(key).stem) for key in keys(data, s)] for s in SPLITS}
    assert numbers == {"train": list(range(1, 18)), "val": [18], "test": [19, 20]}


@pytest.mark.parametrize(("carve_by", "val"), [("folder", [55, 56]), ("frames", [21, 22])])
def test_what_a_scene_is_where_a_folder_without_lists_is_divided(tmp_path, carve_by, val):
    """Runs of frames, or the one folder, whose last images are taken."""
    for number in [*range(1, 9), 21, 22, *range(51, 57)]:
        write_image(tmp_path / f"rgb/{number}.png")
        write_depth(tmp_path / f"depth/{number}.png", meters_of(number))
    shares = {"test_share": 0, "val_share": 0.15}
    data = DataConfig("folder", tmp_path, 32, 64, 10.0, **shares, carve_by=carve_by)
    assert [int(Path(key).stem) for key in keys(data, "val")] == val


@pytest.mark.parametrize(("carve_by", "count"), [("folder", 1), ("frames", 2)])
def test_images_newer_than_the_run_are_counted_in_its_kind_of_scenes(tmp_path, carve_by, count):
    def add(*numbers):
        for number in numbers:
            write_image(tmp_path / f"rgb/{number}.png")
            write_depth(tmp_path / f"depth/{number}.png", meters_of(number))

    add(*range(1, 9), 21, 22)
    data = DataConfig("folder", tmp_path, 32, 64, 10.0, carve_by=carve_by)
    kept = KeptData.take(data, SplitFinder(data).divided, {}, {})
    add(41, 42, 61)
    finder = SplitFinder(data, kept)
    assert len(finder.pairs("train")[0]) < 10
    assert f"3 images of {count} scene(s)" in finder.notes[0]


def test_a_zero_shot_folder_is_all_test_and_trains_nothing(data):
    data = replace(data, test_share=1)
    assert len(keys(data, "test")) == 20
    assert "no training images" in refusal(data, "train")
    assert "data.test_share=1" in refusal(data, "train")
    assert "no val images" in refusal(data, "val")
    none = replace(data, test_share=0)
    assert (
        "no test images: set data.test_share=0.1, or name a list of them in data.test_list"
        in refusal(none, "test")
    )
    assert len(keys(none, "train")) + len(keys(none, "val")) == 20


def test_listed_test_images_are_never_trained_on(data):
    lines = [
        f"{p.image}\t{p.depth}" for p in find_pairs(data.root, data.root)[0] if "hall" in p.image
    ]
    lines[0] = "\t".join(f"{data.root}/{path}" for path in lines[0].split("\t"))
    (data.root / "test.txt").write_text("\n".join(lines))
    listed = replace(data, test_list="test.txt")
    assert len(keys(listed, "test")) == 2
    rest = keys(listed, "train") + keys(listed, "val")
    assert len(rest) == 18
    assert not any("hall" in key for key in rest)
    own = replace(data, train_list="test.txt")
    assert "data.test_list is not set" in refusal(own, "test")
    assert (len(keys(own, "train")), len(keys(own, "val"))) == (1, 1)


def test_listed_test_images_are_known_through_links_and_other_spellings(data, tmp_path_factory):
    """The list names the real folder, the config a link to it, as on a cluster's scratch disk."""
    link = tmp_path_factory.mktemp("scratch") / "data"
    link.symlink_to(data.root)
    pairs = [pair for pair in find_pairs(data.root, data.root)[0] if "hall" in pair.image]
    (data.root / "absolute.txt").write_text(
        "\n".join(f"{data.root}/{p.image}\t{data.root}/{p.depth}" for p in pairs)
    )
    (data.root / "dots.txt").write_text("\n".join(f"./rgb/../{p.image}\t{p.depth}" for p in pairs))
    for name in ("absolute.txt", "dots.txt"):
        listed = replace(data, root=link, test_list=name)
        rest = keys(listed, "train") + keys(listed, "val")
        assert len(rest) == 18 and not any("hall" in key for key in rest), name


def test_the_folder_above_rgb_is_asked_for(data):
    inside = replace(data, root=data.root / "rgb")
    assert refusal(inside).endswith(f"data.root={data.root}")


def test_images_without_depth_are_counted(data):
    write_image(data.root / "rgb/hall/more.png")
    assert build(data).split.num_without_gt == 1
    assert build(data, "val").split.num_without_gt == 0
    dataset = build(replace(data, test_share=1), "test")
    assert (len(dataset), dataset.split.num_without_gt) == (20, 1)


def test_what_is_wrong_with_a_folder(data, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"no images in {empty}: expected {empty}/rgb/NAME.jpg" in refusal(
        replace(data, root=empty)
    )
    write_image(empty / "rgb/frame 1.png")
    write_depth(empty / "depth/depth_1.png", meters_of(0))
    text = refusal(replace(data, root=empty))
    assert "rgb/frame 1.png needs" in text
    assert (
        "depth/frame 1.png (or .npy, .exr, .tif, .tiff, .pfm, .npz); 1 depth files are there, "
        "first depth/depth_1.png" in text
    )
    np.save(empty / "depth/depth_1.npy", meters_of(0))
    assert "depth/depth_1.npy" in refusal(replace(data, root=empty))
    assert "2 files" not in refusal(replace(data, root=empty))
    (empty / "depth/frame 1.heic").touch()
    assert "1 files below depth/ are not read (1 .heic), first depth/frame 1.heic" in refusal(
        replace(data, root=empty)
    )
    assert "go with lists only" in refusal(replace(data, train_dir="sync"))
    assert "cannot list" in refusal(replace(data, gt_root=tmp_path / "nowhere"))


def test_sizes_may_differ_between_images_but_not_within_a_pair(data):
    write_image(data.root / "rgb/hall/0.jpg", 60, 90)
    write_depth(data.root / "depth/hall/0.png", meters_of(0, 60, 90))
    dataset = build(replace(data, test_share=1), "test")
    sizes = {dataset[index].gt_depth.shape for index in range(20)}
    assert sizes == {(1, 48, 72), (1, 60, 90)}
    write_depth(data.root / "depth/hall/0.png", meters_of(0))
    index = next(i for i, s in enumerate(dataset.samples) if s.key == "rgb/hall/0.jpg")
    with pytest.raises(UserError, match="hall/0.jpg is 60x90 but its depth .*hall/0.png is 48x72"):
        dataset[index]


def test_links_that_run_in_a_circle(data):
    (data.root / "rgb/hall/loop").symlink_to(data.root / "rgb", target_is_directory=True)
    assert len(find_pairs(data.root, data.root)[0]) == 20


def test_the_images_to_caption_are_those_of_the_zero_shot_config(data):
    words = [f"data.root={data.root}"]
    images = images_of_config("configs/zero_shot/folder.yaml", words)
    assert list(images) == keys(replace(data, test_share=1), "test")
    assert all(path == data.root / key for key, path in images.items())


def test_it_trains_and_scores_with_and_without_captions(data, tmp_path):
    """Stage 1 with the folder's captions.jsonl, then on a test split it was not trained on."""
    lines = [{"image": p.image, "caption": "a room"} for p in find_pairs(data.root, data.root)[0]]
    (data.root / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = {
        **SETTINGS["stage1"],
        "experiment": "own",
        "data": {
            "name": "folder",
            "root": str(data.root),
            "height": 32,
            "width": 64,
            "max_depth": 10.0,
        },
        "text": {"captions": "captions.jsonl", "encoder": "untrained:0"},
        "train": {"batch_size": 4, "max_steps": 2, "precision": "fp32", "num_workers": 0},
        "eval": {"protocol": "none"},
    }
    config["model"] = {**config["model"], "text_dim": 1024}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(config))
    outcome = train("stage1", str(path), f"output_root={tmp_path / 'runs'}")
    assert outcome.code == 0, outcome.err
    assert "set apart from training with seed 0" in outcome.err
    words = ["--checkpoint", str(tmp_path / "runs/own/stage1"), "--json", str(tmp_path / "o.json")]
    assert evaluate("stage1", *words).code == 0
    assert json.loads((tmp_path / "o.json").read_text())["num_images"] == len(keys(data, "test"))
    zero_shot = ["--config", "configs/zero_shot/folder.yaml", f"data.root={data.root}"]
    assert "of 20 images were trained on" in evaluate("stage1", *words, *zero_shot).refusal
