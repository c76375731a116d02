"""scripts/encode_text.py: captions, images and the authors' folders become packed feature files."""

import json
import os
import pickle
import re
import shutil

import pytest
import torch
from conftest import run_script

from common.language import encoding
from common.language.captions import captions_sha256, read_captions
from common.language.encoders import image_encoder, text_encoder
from common.language.feature_store import FeatureStore
from common.language.towers import TowerTextEncoder

STEMS = {  # data set and split -> image path without suffix -> caption
    "nyu/train": {
        "kitchen_0028b/rgb_00045": "A kitchen with a stove.",
        "kitchen_0028b/rgb_00046": "A kitchen with a stove.",
        "office_0003/rgb_00001": "An office with a désk.",
    },
    "nyu/test": {"bathroom/rgb_00045": "A bathroom."},
    "kitti/train": {
        "2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069": "A street with cars.",
    },
}
KITTI_KEY = "2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png"


def feature_of(caption):
    generator = torch.Generator().manual_seed(len(caption))
    return torch.nn.functional.normalize(torch.randn(1, 1024, generator=generator)).half()


@pytest.fixture
def published(tmp_path):
    """A folder as the authors publish it: a .txt and a .pt for every image."""
    root = tmp_path / "as published"
    for place, captions in STEMS.items():
        for stem, caption in captions.items():
            for kind, suffix in (("text", ".txt"), ("text_feat", ".pt")):
                (root / kind / place / stem).parent.mkdir(parents=True, exist_ok=True)
                file = root / kind / place / (stem + suffix)
                if kind == "text":
                    file.write_text(caption, encoding="utf-8")
                else:
                    torch.save(feature_of(caption), file)
    return root


def write_captions(path, captions):
    lines = [json.dumps({"image": key, "caption": caption}) for key, caption in captions.items()]
    path.write_text("\r\n".join(lines))
    return path


def encode(*arguments):
    return run_script("encode_text.py", *arguments)


def run_import(published, output, *arguments):
    return encode("--import-published", published, "--output", output, *arguments)


def test_captions_are_encoded_once_each_and_only_once(tmp_path, monkeypatch):
    encoded = []
    original = TowerTextEncoder.encode

    def counted(self, captions, *options):
        encoded.extend(captions)
        return original(self, captions, *options)

    monkeypatch.setattr(TowerTextEncoder, "encode", counted)
    first = write_captions(tmp_path / "a.jsonl", {"/a.jpg": "A room.", "b.jpg": "A room."})
    second = write_captions(tmp_path / "b.jsonl", {"b.jpg": "A hall.", "c.jpg": "A room."})
    output = tmp_path / "new/text.safetensors"
    arguments = ("--captions", first, second, "--encoder", "untrained:0", "--output", output)
    outcome = encode(*arguments)
    assert outcome.code == 0, outcome.err
    assert "3 images, 2 distinct features of 1024 numbers" in outcome.out
    assert encoded == ["A room.", "A hall."]
    store = FeatureStore.open(output)
    expected = original(text_encoder("untrained:0"), ["A hall."])[0]
    torch.testing.assert_close(store["b.jpg"], expected, atol=1e-3, rtol=0)
    assert torch.equal(store["a.jpg"], store["c.jpg"])
    captions = {"a.jpg": "A room.", "b.jpg": "A hall.", "c.jpg": "A room."}
    assert store.provenance[0]["captions_sha256"] == captions_sha256(captions)
    assert list(output.parent.iterdir()) == [output]

    before = output.stat().st_mtime_ns
    assert "already there" in encode(*arguments).out
    assert (output.stat().st_mtime_ns, len(encoded)) == (before, 2)
    write_captions(second, {"b.jpg": "A cellar."})
    assert "made anew" in encode(*arguments).out
    assert not FeatureStore.open(output).missing(["a.jpg", "b.jpg"])
    assert "c.jpg" not in FeatureStore.open(output)


def test_encoding_continues_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "CAPTIONS_PER_PART", 2)
    captions = {f"{i}.jpg": f"A room with {i} chairs." for i in range(7)}
    file = write_captions(tmp_path / "captions.jsonl", captions)
    output = tmp_path / "text.safetensors"
    arguments = ("--captions", file, "--encoder", "untrained:0", "--output", output)
    original, calls = TowerTextEncoder.encode, []

    def failing(self, batch, *options):
        calls.append(list(batch))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, batch, *options)

    monkeypatch.setattr(TowerTextEncoder, "encode", failing)
    assert encode(*arguments).code == 130
    assert not output.exists()
    assert len(list((tmp_path / "text.safetensors.parts").iterdir())) == 2
    assert encode(*arguments).code == 0
    assert [len(batch) for batch in calls] == [2, 2, 2, 2, 1]  # the third part twice, no other
    assert not (tmp_path / "text.safetensors.parts").exists()
    monkeypatch.setattr(TowerTextEncoder, "encode", original)
    straight = text_encoder("untrained:0").encode(list(captions.values()))
    store = FeatureStore.open(output)
    for key, feature in zip(captions, straight, strict=True):
        torch.testing.assert_close(store[key], feature, atol=1e-3, rtol=0)


def test_images_of_a_folder_and_of_a_config(workspace, tmp_path):
    output = tmp_path / "images.safetensors"
    arguments = ("--encoder", "untrained:0", "--output", output)
    outcome = encode("--images", workspace.data / "val", *arguments)
    assert outcome.code == 0, outcome.err
    assert "left out 4 depth maps" in outcome.out
    store = FeatureStore.open(output)
    file = workspace.data / "val/room_0000/rgb_00001.png"
    direct = image_encoder("untrained:0").encode([file])[0]
    torch.testing.assert_close(store["room_0000/rgb_00001.png"], direct, atol=1e-3, rtol=0)

    config = ("--config", workspace.configs / "stage1.yaml")
    outcome = encode(*config, "--split", "val", *arguments)
    assert outcome.code == 0, outcome.err
    assert "made anew" in outcome.out
    assert "4 images" in outcome.out
    store = FeatureStore.open(output)
    torch.testing.assert_close(store["val/room_0000/rgb_00001.png"], direct, atol=1e-3, rtol=0)
    everything = encode(*config, "--encoder", "untrained:0", "--output", tmp_path / "a.safetensors")
    assert "20 images" in everything.out


def test_captions_of_several_files_are_joined(tmp_path):
    first = write_captions(tmp_path / "a.jsonl", {"a.jpg": "A room.", "b.jpg": "A room."})
    second = tmp_path / "b.jsonl"
    second.write_text('{"image": "b.jpg", "captions": ["A hall.", "A room."]}')
    output = tmp_path / "text.safetensors"
    arguments = ("--captions", first, second, "--encoder", "untrained:0", "--output", output)
    assert "2 images, 2 distinct features" in encode(*arguments, "--join").out
    store = FeatureStore.open(output)
    assert [store.count_of(key) for key in ("a.jpg", "b.jpg")] == [1, 3]
    assert torch.equal(store.nth("b.jpg", 2), store["a.jpg"])
    assert "already there" in encode(*arguments, "--join").out
    assert "made anew" in encode(*arguments).out  # the later file wins
    assert encode("--images", tmp_path, "--output", output, "--join").code == 2


def test_a_published_text_of_several_lines_has_no_feature_each(published, tmp_path):
    text = published / "text/nyu/train/office_0003/rgb_00001.txt"
    text.write_text("An office.\nA desk.\n")
    refusal = run_import(published, tmp_path / "t.safetensors").refusal
    assert f"{text} has 2 captions, and there is one feature" in refusal
    assert "scripts/import_captions.py" in refusal


def test_published_folders_are_packed(published, tmp_path):
    output = tmp_path / "out/text.safetensors"
    outcome = run_import(published, output)
    assert outcome.code == 0, outcome.err
    assert "5 images, 4 distinct features of 1024 numbers" in outcome.out
    store, captions = FeatureStore.open(output), read_captions(tmp_path / "out/captions.jsonl")
    assert len(captions) == 5
    assert captions["office_0003/rgb_00001.jpg"] == "An office with a désk."
    assert captions[KITTI_KEY] == "A street with cars."
    for key, caption in captions.items():
        assert torch.equal(store[key], feature_of(caption)[0].float())
    origin = store.provenance[0]
    assert origin["encoder"] == "RN50:openai"
    assert origin["captions_sha256"] == captions_sha256(captions)
    before = output.stat().st_mtime_ns
    assert "already there" in run_import(published, output).out
    assert output.stat().st_mtime_ns == before
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "captions.jsonl",
        "text.safetensors",
    ]


def test_published_folders_by_data_set_split_and_list(published, tmp_path):
    output = tmp_path / "text.safetensors"
    assert run_import(published, output, "--dataset", "nyu", "--split", "test").code == 0
    assert list(FeatureStore.open(output).tables[0].rows) == ["bathroom/rgb_00045.jpg"]
    (tmp_path / "list.txt").write_bytes(
        b"/office_0003/rgb_00001.png /office_0003/d.png 5.0\r\n/new/rgb_1.jpg /new/d.png 5.0"
    )
    arguments = ("--list", tmp_path / "list.txt", "--captions-output", tmp_path / "c.jsonl")
    outcome = run_import(published, output, *arguments)
    assert "1 of 2 images of the lists have a published feature" in outcome.out
    assert list(read_captions(tmp_path / "c.jsonl")) == ["office_0003/rgb_00001.png"]
    outcome = run_import(published, output, "--dataset", "kitti", "--split", "test")
    assert "no features for kitti (test)" in outcome.refusal


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def damage(kind, root):
    feature = root / "text_feat/nyu/train/office_0003/rgb_00001.pt"
    caption = root / "text/nyu/train/office_0003/rgb_00001.txt"
    if kind == "cut off":
        feature.write_bytes(feature.read_bytes()[:900])
    elif kind == "code":
        feature.write_bytes(pickle.dumps(Harmful(), protocol=2))
    elif kind == "shape":
        torch.save(torch.zeros(1, 512), feature)
    elif kind == "nan":
        torch.save(torch.full((1, 1024), torch.nan), feature)
    elif kind in TENSORS:
        torch.save(TENSORS[kind], feature)
    elif kind == "no feature":
        feature.unlink()
    elif kind == "no caption":
        caption.unlink()
    elif kind == "empty caption":
        caption.write_text(" \n")


TENSORS = {
    "zeros": torch.zeros(1, 1024).half(),
    "sparse": torch.ones(1, 1024).half().to_sparse(),
    "no numbers": torch.empty(1, 1024, device="meta").half(),
    "whole numbers": torch.ones(1, 1024, dtype=torch.int64),
}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut off", r"rgb_00001.pt is no feature file \(damaged"),
        ("code", r"rgb_00001.pt is no feature file \(pickled code \(posix.mkdir\), not run\)"),
        ("shape", r"rgb_00001.pt holds \[1, 512\], not one tensor \[1, 1024\]"),
        ("nan", "rgb_00001.pt holds numbers that are not finite"),
        ("zeros", "rgb_00001.pt holds zeros only"),
        ("sparse", r"rgb_00001.pt holds a tensor of another kind \(float16, sparse_coo"),
        ("no numbers", r"rgb_00001.pt holds a tensor of another kind \(float16, strided, meta"),
        ("whole numbers", r"rgb_00001.pt holds a tensor of another kind \(int64"),
        ("no feature", "rgb_00001.txt has no partner"),
        ("no caption", "rgb_00001.pt has no partner"),
        ("empty caption", "rgb_00001.txt is empty"),
    ],
)
def test_damaged_published_files_are_named_or_left_out(
    published, tmp_path, monkeypatch, kind, message
):
    monkeypatch.chdir(tmp_path)
    damage(kind, published)
    output = tmp_path / "out/text.safetensors"
    outcome = run_import(published, output)
    error = outcome.refusal
    assert "1 published files cannot be used, first: " in error
    assert re.search(message, error), error
    assert not (tmp_path / "harm").exists()
    assert not output.exists()
    assert not (tmp_path / "out/captions.jsonl").exists()
    outcome = run_import(published, output, "--skip-damaged")
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("left out: ") == 1
    store = FeatureStore.open(output)
    assert store.missing(read_captions(tmp_path / "out/captions.jsonl")) == []
    assert len(store.tables[0].rows) == 4
    assert "office_0003/rgb_00001.jpg" not in store


def test_features_without_captions_are_packed(published, tmp_path):
    shutil.rmtree(published / "text")
    outcome = run_import(published, tmp_path / "text.safetensors")
    assert outcome.code == 0, outcome.err
    assert not (tmp_path / "captions.jsonl").exists()
    store = FeatureStore.open(tmp_path / "text.safetensors")
    assert "captions_sha256" not in store.provenance[0]
    assert torch.equal(store["bathroom/rgb_00045.jpg"], feature_of("A bathroom.")[0].float())


def test_mistakes_are_one_line(published, tmp_path):
    output = tmp_path / "text.safetensors"
    captions = write_captions(tmp_path / "captions.jsonl", {"a.jpg": "My own caption."})
    before = captions.read_bytes()
    assert "holds other captions" in run_import(published, output).refusal
    assert captions.read_bytes() == before
    arguments = ("--captions", captions, "--encoder", "untrained:0")
    assert "must end in .safetensors" in encode(*arguments, "--output", tmp_path / "t.pt").refusal
    assert "no folder text_feat" in run_import(tmp_path, output).refusal
    encoder = f"untrained:{2**80}"
    outcome = encode("--captions", captions, "--encoder", encoder, "--output", output)
    assert "at most 18 digits" in outcome.refusal
    (tmp_path / "file").write_text("not a folder")
    assert "cannot write" in encode(*arguments, "--output", tmp_path / "file/t.safetensors").refusal
    output.write_text("something else")
    assert "no packed feature file" in encode(*arguments, "--output", output).refusal
    assert output.read_text() == "something else"
    assert encode(*arguments, "--import-published", published, "--output", output).code == 2
    assert not list(tmp_path.glob("*.parts"))
