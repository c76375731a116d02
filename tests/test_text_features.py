"""Packed feature files, caption files, and the features that a run finds or makes."""

import json
import pickle
import time

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from common.language.captions import captions_sha256, read_captions
from common.language.encoders import image_encoder
from common.language.feature_files import write_features
from common.language.feature_store import FeatureStore
from common.language.features import (
    FeaturePlace,
    TextConfig,
    load_image_features,
    load_text_features,
)
from common.language.language import read_all_captions
from common.language.towers import TowerTextEncoder

CAPTIONS = {
    "train/kitchen_0001/a.jpg": "A kitchen with a stove and a sink.",
    "train/kitchen_0001/b.jpg": "A kitchen with a stove and a sink.",
    "train/office_0002/a.jpg": "An office with two chairs and a desk.",
}


def write_captions(path, captions=CAPTIONS):
    lines = [json.dumps({"image": f"/{k}", "caption": c, "note": 1}) for k, c in captions.items()]
    path.write_text("\n".join(lines))
    return path


def resolver(root):
    return lambda name: root / name


def load_features(text, root, cache, keys=None, **place):
    """The text features of a run whose data lie in `root`."""
    place = FeaturePlace(resolver(root), cache, **place)
    return load_text_features(text, read_all_captions(text, place.resolve), place, keys)


def test_round_trip_deduplicates_and_keeps_provenance(tmp_path):
    rows = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    features = rows[[0, 1, 0, 2, 1]]
    keys = [f"scène/{i}.jpg" for i in range(5)]
    path = tmp_path / "deep/down/features.safetensors"
    write_features(path, keys, features, {"kind": "text", "encoder": "RN50:openai"})
    store = FeatureStore.open(path)
    assert store.dim == 16
    for key, feature in zip(keys, features, strict=True):
        assert store[key].dtype == torch.float32
        assert torch.equal(store[key], feature.half().float())
    assert store.provenance[0]["encoder"] == "RN50:openai"
    assert store.missing(["scène/1.jpg", "x", "y"]) == ["x", "y"]
    assert "scène/4.jpg" in store
    assert "x" not in store
    with pytest.raises(KeyError):
        store["x"]
    assert list(path.parent.iterdir()) == [path]  # no temporary file stays
    once, plain = tmp_path / "once.safetensors", tmp_path / "plain"
    plain.touch()
    write_features(once, [f"{i}" for i in range(500)], rows[:1].expand(500, 16), {})
    assert once.stat().st_size < 8000
    assert once.stat().st_mode & 0o777 == plain.stat().st_mode & 0o777  # others may read it


def test_write_refuses_what_would_not_read_back(tmp_path):
    path = tmp_path / "x.safetensors"
    for keys, features in (
        (["a", "a"], torch.ones(2, 3)),
        (["a"], torch.ones(2, 3)),
        (["a\nb"], torch.ones(1, 3)),
        (["a"], torch.full((1, 3), torch.nan)),
        ([], torch.ones(0, 3)),
    ):
        with pytest.raises(ValueError, match="keys|finite"):
            write_features(path, keys, features, {})
    assert not path.exists()


def test_later_file_wins_and_lengths_must_agree(tmp_path):
    a, b, c = (tmp_path / f"{n}.safetensors" for n in "abc")
    write_features(a, ["x", "y"], torch.zeros(2, 4), {"kind": "a"})
    write_features(b, ["y", "z"], torch.ones(2, 4), {"kind": "b"})
    write_features(c, ["w"], torch.ones(1, 5), {})
    store = FeatureStore.open([a, b])
    assert [store[key][0].item() for key in "xyz"] == [0, 1, 1]
    assert [origin["kind"] for origin in store.provenance] == ["a", "b"]
    with pytest.raises(UserError, match="differ in length"):
        FeatureStore.open([a, c])


def test_npz_files_are_read_as_published(tmp_path):
    path = tmp_path / "features.npz"
    feature = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float16)
    np.savez(path, image=np.array(["test/a.jpg", "/test/b.jpg"]), feature=feature)
    store = FeatureStore.open(path)
    assert torch.equal(store["test/b.jpg"], torch.from_numpy(feature[1]).float())
    assert store.provenance == (None,)


def test_bad_feature_files(tmp_path):
    with pytest.raises(UserError, match="no feature file"):
        FeatureStore.open(tmp_path / "nowhere.safetensors")
    for name in ("a.safetensors", "a.npz"):
        (tmp_path / name).write_text("not features at all")
        with pytest.raises(UserError, match=f"{name}: neither"):
            FeatureStore.open(tmp_path / name)
    whole = tmp_path / "c.safetensors"
    write_features(whole, ["a", "b"], torch.ones(2, 8), {})
    whole.write_bytes(whole.read_bytes()[:-4])  # cut off
    with pytest.raises(UserError, match="c.safetensors: neither"):
        FeatureStore.open(whole)
    np.savez(tmp_path / "b.npz", something=np.zeros(3))
    with pytest.raises(UserError, match="b.npz: neither"):
        FeatureStore.open(tmp_path / "b.npz")


def test_all_published_features_open_fast_and_pickle_small(tmp_path):
    num_keys, num_rows = 48_695, 9_271
    path = tmp_path / "all.safetensors"
    rows = np.random.default_rng(0).integers(0, num_rows, num_keys)
    distinct = torch.arange(num_rows).float()[:, None] / 8 + torch.zeros(8)
    keys = [
        f"2011_09_26/2011_09_26_drive_{i % 99:04d}_sync/data/{i:010d}.png" for i in range(num_keys)
    ]
    write_features(path, keys, distinct[rows], {})
    start = time.perf_counter()
    store = FeatureStore.open(path)
    assert time.perf_counter() - start < 1.0
    assert torch.equal(store[keys[-1]], distinct[rows[-1]].half().float())
    assert len(pickle.dumps(store)) < 1000
    assert torch.equal(pickle.loads(pickle.dumps(store))[keys[5]], store[keys[5]])


def test_captions_are_read_and_hashed_by_content(tmp_path):
    path = write_captions(tmp_path / "captions.jsonl")
    assert read_captions(path) == CAPTIONS
    shuffled = dict(reversed(CAPTIONS.items()))
    assert captions_sha256(shuffled) == captions_sha256(CAPTIONS)
    assert captions_sha256({**CAPTIONS, "new": "A room."}) != captions_sha256(CAPTIONS)
    write_captions(tmp_path / "more.jsonl", {"new": "A room."})
    text = TextConfig(captions=("captions.jsonl", "more.jsonl"))
    assert read_all_captions(text, resolver(tmp_path)) == {**CAPTIONS, "new": "A room."}
    assert read_all_captions(TextConfig(), resolver(tmp_path)) is None


@pytest.mark.parametrize(
    "line",
    [
        "{not json",
        '["list"]',
        '{"image": "a.jpg"}',
        '{"image": "a.jpg", "caption": 3}',
        '{"image": "a.jpg", "caption": " "}',
    ],
)
def test_bad_caption_line_names_file_and_line(tmp_path, line):
    path = tmp_path / "captions.jsonl"
    path.write_text('{"image": "a.jpg", "caption": "A room."}\n\n' + line)
    with pytest.raises(UserError) as caught:
        read_captions(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no caption file"):
        read_captions(tmp_path / "nowhere.jsonl")


def test_captions_are_encoded_once_by_the_main_process(tmp_path, monkeypatch):
    write_captions(tmp_path / "captions.jsonl")
    text = TextConfig(captions="captions.jsonl", encoder="untrained:0")
    cache, waits, encoded = tmp_path / "cache", [], []
    original = TowerTextEncoder.encode

    def counted(self, captions, *options):
        encoded.append(list(captions))
        return original(self, captions, *options)

    monkeypatch.setattr(TowerTextEncoder, "encode", counted)
    store = load_features(text, tmp_path, cache, barrier=lambda: waits.append(1))
    assert encoded == [list(dict.fromkeys(CAPTIONS.values()))]
    assert not store.missing(CAPTIONS)
    assert torch.equal(store["train/kitchen_0001/a.jpg"], store["train/kitchen_0001/b.jpg"])
    again = load_features(text, tmp_path, cache, is_main=False, barrier=lambda: waits.append(1))
    assert (len(encoded), len(waits)) == (1, 2)
    assert again.provenance[0]["kind"] == "text"
    assert again.provenance[0]["captions_sha256"] == captions_sha256(CAPTIONS)

    write_captions(tmp_path / "captions.jsonl", {**CAPTIONS, "new.jpg": "A room."})
    assert "new.jpg" in load_features(text, tmp_path, cache)


def test_feature_files_are_checked_against_captions(tmp_path):
    write_captions(tmp_path / "captions.jsonl")
    origin = {"encoder": "RN50:openai", "captions_sha256": captions_sha256(CAPTIONS)}
    write_features(tmp_path / "mine.safetensors", list(CAPTIONS), torch.ones(3, 4), origin)
    text = TextConfig("mine.safetensors", "captions.jsonl")
    assert load_features(text, tmp_path, tmp_path / "cache").dim == 4
    other = TextConfig("mine.safetensors", "captions.jsonl", "untrained:0")
    with pytest.raises(UserError, match="made with encoder RN50:openai, .* untrained:0"):
        load_features(other, tmp_path, tmp_path / "cache")
    # The same file in the project's own cache is no obstacle: features are made anew beside it.
    assert load_features(other, tmp_path, tmp_path).dim == 1024
    # A file for all images serves a split, and a list that has grown: missing keys are told later.
    one = list(CAPTIONS)[:1]
    assert load_features(text, tmp_path, tmp_path / "cache", keys=one).dim == 4
    write_captions(tmp_path / "captions.jsonl", {**CAPTIONS, "new.jpg": "A room."})
    store = load_features(text, tmp_path, tmp_path / "cache")
    assert store.missing([*CAPTIONS, "new.jpg"]) == ["new.jpg"]
    write_captions(tmp_path / "captions.jsonl", {**CAPTIONS, one[0]: "A room."})
    with pytest.raises(UserError, match="mine.safetensors was made from other captions"):
        load_features(text, tmp_path, tmp_path / "cache")


def test_nothing_configured_or_found(tmp_path):
    with pytest.raises(UserError, match="no text features are configured; set text.features"):
        load_features(TextConfig(), tmp_path, tmp_path)
    (tmp_path / "captions.jsonl").write_text('{"image": "a.jpg", "caption": "A room."}')
    for captions in (None, "captions.jsonl"):  # never silently other features than those named
        with pytest.raises(UserError, match="no feature file .*nowhere.npz"):
            load_features(TextConfig("nowhere.npz", captions), tmp_path, tmp_path / "cache")


def test_image_features_are_encoded_once(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    files = {}
    for name in ("a", "b"):
        files[f"room/{name}.png"] = tmp_path / f"{name}.png"
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(tmp_path / f"{name}.png")
    call = ("untrained:0", files, FeaturePlace(resolver(tmp_path), tmp_path / "cache"))
    store, _ = load_image_features(None, *call)
    direct = image_encoder("untrained:0").encode(list(files.values()), batch_size=1)
    torch.testing.assert_close(store["room/b.png"], direct[1], atol=1e-3, rtol=0)
    assert store.provenance[0]["kind"] == "image"
    monkeypatch.setattr(
        "common.language.features.encode_images", None
    )  # the second call reads the packed file
    assert load_image_features(None, *call)[0].dim == 1024
    packed = next((tmp_path / "cache").iterdir())
    elsewhere = FeaturePlace(resolver(tmp_path), tmp_path)
    assert load_image_features(str(packed), "untrained:7", {}, elsewhere)[0].dim == 1024
