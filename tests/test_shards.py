"""Packs of shards: the same bytes, order and numbers as files; whatever is damaged is one line."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import evaluate, metrics_of, train, train_process, write_pair, write_yaml
from damage import cut, flip
from packs import members, run_pack, tars

from common import shards
from common.config import to_dict
from common.data.data_config import DataConfig
from common.data.dataset import build_dataset
from common.data.splits import find_split
from common.errors import UserError
from common.fingerprints import take_fingerprint
from common.images.reading import read_pair
from common.shards import ABOUT, INDEX, Shards, read_stored
from scripts.packing import writer
from scripts.packing.plan import make_plan

pytest_plugins = ["packs"]
TIMES = ("step_seconds", "data_seconds", "images_per_s", "memory_gb")


def weights(run: Path) -> dict:
    return torch.load(run / "checkpoints/last.pt", weights_only=True)


def numbers(run: Path) -> list[dict]:
    lines = metrics_of(run, "train") + metrics_of(run, "val")
    return [
        {k: v for k, v in line.items() if "seconds" not in k and k not in TIMES} for line in lines
    ]


def test_training_from_shards_equals_training_from_files(workspace, packed, tmp_path):
    """Workers or none, stopped in the middle and gone on with, and from files to shards."""
    words = workspace.arguments("stage1", tmp_path, "train.max_steps=5", "train.schedule=constant")
    shard_words = [*words, f"data.root={packed}"]
    assert train("stage1", *words, "experiment=files").code == 0
    assert train("stage1", *shard_words, "experiment=shards", "train.num_workers=2").code == 0
    begun = [word for word in words if not word.startswith("train.max_steps")]
    assert train("stage1", *begun, "train.max_steps=2", "experiment=both").code == 0
    outcome = train("stage1", *shard_words, "experiment=both")
    assert outcome.code == 0
    assert "resuming at step 2" in outcome.err
    assert "no longer those" not in outcome.err
    whole = weights(tmp_path / "files" / "stage1")
    for name in ("shards", "both"):
        found = weights(tmp_path / name / "stage1")
        for key, weight in whole["model"].items():
            assert torch.equal(weight, found["model"][key]), (name, key)
    assert numbers(tmp_path / "files" / "stage1") == numbers(tmp_path / "shards" / "stage1")


def test_a_folder_without_lists_keeps_its_splits(tmp_path):
    """It is divided when it is packed; the settings that are printed name the parts."""
    rng = np.random.default_rng(0)
    for number in range(12):
        image = tmp_path / f"own/rgb/room_{number // 2}/{number}.png"
        depth = tmp_path / f"own/depth/room_{number // 2}/{number}.png"
        depth.parent.mkdir(parents=True, exist_ok=True)
        write_pair(image, depth, rng)
    data = DataConfig("folder", tmp_path / "own", 64, 96, 10.0, val_share=0.2, test_share=0.2)
    config = tmp_path / "own.yaml"
    write_yaml(config, {"data": {**to_dict(data), "root": str(data.root)}})
    outcome = run_pack(config)
    assert outcome.code == 0, outcome.err
    words = [word.partition("=") for word in outcome.out.split() if word.startswith("data.")]
    given = {key.removeprefix("data."): value for key, _, value in words}
    assert given.pop("root") == str(tmp_path / "own_pack")
    moved = replace(data, root=tmp_path / "own_pack", **given)
    for name in ("train", "val", "test"):
        assert list(find_split(moved, name).samples.keys) == list(
            find_split(data, name).samples.keys
        )


@pytest.mark.slow
def test_two_processes_train_from_shards_as_from_files(workspace, packed, tmp_path):
    words = workspace.arguments("stage1", tmp_path, "train.max_steps=3", "train.num_workers=1")
    for name, more in (("files", ()), ("shards", (f"data.root={packed}",))):
        outcome = train_process("stage1", *words, f"experiment={name}", *more, NPROC="2")
        assert outcome.code == 0, outcome.err
    one, two = (weights(tmp_path / name / "stage1") for name in ("files", "shards"))
    assert all(torch.equal(weight, two["model"][key]) for key, weight in one["model"].items())


def test_evaluation_from_shards(trained, workspace, packed, tmp_path):
    results = []
    for name, more in (("files", ()), ("shards", (f"data.root={packed}",))):
        place = tmp_path / f"{name}.json"
        run = trained / "tiny" / "stage1"
        outcome = evaluate("stage1", "--checkpoint", str(run), "--json", str(place), *more)
        assert outcome.code == 0, outcome.err
        results.append(json.loads(place.read_text())["metrics"])
    assert results[0] == results[1]


def test_images_and_depth_of_two_roots(kitti, tmp_path):
    """KITTI's: a folder of its own for each in the pack; one depth map of the list is missing."""
    split = find_split(kitti, "train")
    plan = make_plan(kitti, [split], 10**6)
    writer.write_pack(plan, tmp_path / "pack", {}, {}, lambda line: None)
    moved = replace(kitti, root=tmp_path / "pack/root", gt_root=tmp_path / "pack/gt_root")
    moved = replace(moved, train_list=str(kitti.root / kitti.train_list))
    packed = find_split(moved, "train")
    assert [s.key for s in packed.samples] == [s.key for s in split.samples]
    for one, two in zip(split.samples, packed.samples, strict=True):
        assert two.image_file.startswith(str(tmp_path / "pack"))
        for a, b in zip(
            read_pair(one.image_file, one.depth_file),
            read_pair(two.image_file, two.depth_file),
            strict=True,
        ):
            assert np.array_equal(a, b)


def test_the_frame_cache_and_fingerprints_take_files_of_a_pack(nyu, tmp_path):
    split = find_split(nyu, "train")
    plan = make_plan(nyu, [split], 10**6)
    writer.write_pack(plan, tmp_path / "pack", {}, {}, lambda line: None)
    moved = replace(
        nyu,
        root=tmp_path / "pack",
        train_list=str(nyu.root / nyu.train_list),
        cache=tmp_path / "cache",
    )
    packed = build_dataset(moved, find_split(moved, "train"))
    plain = build_dataset(nyu, split)
    for _ in range(2):  # decoded, then from the cache
        assert torch.equal(packed[0, 0].image, plain[0, 0].image)
    files = {s.key: s.image_file for s in split.samples}
    inside = {s.key: s.image_file for s in packed.samples}
    assert take_fingerprint(files).changed(inside) == []
    assert take_fingerprint(inside).digest == take_fingerprint(files).digest


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda pack: flip(tars(pack)[0], 3000), "is not what was packed"),
        (lambda pack: cut(tars(pack)[0]), "bytes, not"),
        (lambda pack: tars(pack)[0].unlink(), "it cannot be read (No such file"),
        (lambda pack: cut(pack / INDEX), "bytes, not those of its files"),
        (lambda pack: (pack / INDEX).unlink(), "it cannot be read"),
        (lambda pack: (pack / ABOUT).write_text("{"), "it cannot be read"),
        (lambda pack: (pack / ABOUT).write_text("[]"), "it is not of format 1"),
        (lambda pack: (pack / ABOUT).write_text('{"format": 1}'), "it is no index of shards"),
    ],
)
def test_damage_is_one_line(workspace, packed, tmp_path, damage, reason):
    damage(packed)
    words = workspace.arguments("stage1", tmp_path, f"data.root={packed}", "train.max_steps=4")
    refusal = train("stage1", *words).refusal
    assert reason in refusal
    assert "pack anew" in refusal
    if reason != "it cannot be read":
        assert run_pack("--check", packed).code == 2


def test_a_shard_of_another_pack(packed, tmp_path):
    """Of the same size, which its label tells."""
    one, two = tars(packed)[:2]
    about = json.loads((packed / ABOUT).read_text())
    shutil.copy(one, two)
    about["shards"][1]["bytes"] = one.stat().st_size
    (packed / ABOUT).write_text(json.dumps(about))
    name = next(n for n in members_of(packed, 1, about))
    with pytest.raises(UserError, match="it is a shard of another pack"):
        Shards(str(packed)).read(name)


def members_of(pack: Path, number: int, about: dict) -> list[str]:
    index = Shards(str(pack))
    return [n for n in members(pack) + all_names(pack) if index_shard(index, n) == number]


def all_names(pack: Path) -> list[str]:
    lines = [p.read_text().split() for p in pack.glob("*.txt")]
    return [word.lstrip("/") for words in lines for word in words if word.endswith(".png")]


def index_shard(index: Shards, name: str) -> int:
    return int(index._columns["shard"][index.find(name)])


def test_an_index_that_leads_out_of_its_folder(packed):
    about = json.loads((packed / ABOUT).read_text())
    about["shards"][0]["file"] = "../secret"
    (packed / ABOUT).write_text(json.dumps(about))
    with pytest.raises(UserError, match="lies outside its folder"):
        Shards(str(packed))


def test_many_shards_are_not_all_kept_open(packed, monkeypatch):
    monkeypatch.setattr(shards, "_MOST_OPEN", 2)
    index = Shards(str(packed))
    for name in members(packed):
        index.read(name)
    assert len(tars(packed)) > 2
    assert len(index._open) <= 2


def test_a_file_of_another_program_with_that_name_makes_no_pack(tmp_path):
    (tmp_path / "shards.json").write_text('{"model": 3}')
    (tmp_path / "rooms").mkdir()
    (tmp_path / "rooms/a.png").write_bytes(b"picture")
    assert shards.find_shards(str(tmp_path / "rooms")) is None
    assert read_stored(tmp_path / "rooms/a.png") == b"picture"
