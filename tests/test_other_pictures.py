"""Features and captions belong to pictures and weights, and not to their names."""

import json
import shutil

import cv2
import doctor_trees
import numpy as np
import pytest
import torch
from captioning_models import write_models
from conftest import run_script, write_pair
from doctor_trees import nyu_tree  # noqa: F401  (the fixture `nyu`)
from llm_mde_files import train_into

from common.errors import UserError
from common.fingerprints import take_fingerprint
from common.language import clip
from common.language.encoders import encoder_identity
from common.language.encoding import encode_captions, encode_images
from common.language.feature_files import read_pictures, write_features
from common.language.feature_store import FeatureStore
from common.language.features import (
    FeaturePlace,
    TextConfig,
    load_image_features,
    load_text_features,
)
from common.language.untrained import load_untrained_text

NAMES = [f"room_{number % 2}/{number}.png" for number in range(6)]


def write_pictures(root, seed):
    rng = np.random.default_rng(seed)
    for name in NAMES:
        write_pair(root / name, root / "depth.png", rng)
    (root / "depth.png").unlink()
    return {name: root / name for name in NAMES}


@pytest.fixture
def pictures(tmp_path):
    """The folders `a` and `b`: other pictures of the same names."""
    for seed, folder in enumerate("ab"):
        write_pictures(tmp_path / folder, seed)
    return tmp_path


def files_in(folder):
    return {name: folder / name for name in NAMES}


def encode(*arguments):
    outcome = run_script("encode_text.py", "--encoder", "untrained:0", *arguments)
    assert outcome.code == 0, outcome.err
    return outcome.out


def test_encode_text_knows_pictures_and_not_their_names(pictures):
    output = pictures / "images.safetensors"
    words = ("--output", output, "--images")
    encode(*words, pictures / "a")
    of_a = FeatureStore.open(output)[NAMES[0]].clone()
    assert "made from other pictures (6 of 6); made anew" in encode(*words, pictures / "b")
    assert not torch.equal(FeatureStore.open(output)[NAMES[0]], of_a)
    shutil.copytree(pictures / "b", pictures / "copy", copy_function=shutil.copyfile)
    assert "already there" in encode(*words, pictures / "copy")


def test_one_picture_that_was_replaced_is_enough(pictures):
    words = ("--output", pictures / "images.safetensors", "--images", pictures / "a")
    encode(*words)
    cv2.imwrite(str(pictures / "a" / NAMES[2]), np.zeros((64, 96, 3), np.uint8))
    assert "made from other pictures (1 of 6)" in encode(*words)


def test_features_of_older_programs_are_taken_and_told(pictures):
    output = pictures / "images.safetensors"
    words = ("--output", output, "--images", pictures / "a")
    encode(*words)
    forget_pictures(output)
    assert "it does not say from which pictures it was made" in encode(*words)


def forget_pictures(path):
    """Rewrite a feature file as older programs wrote it."""
    table = FeatureStore.open(path).tables[0]
    origin = {key: table.provenance[key] for key in ("kind", "encoder", "list_sha256")}
    write_features(path, list(table.rows), table.features[list(table.rows.values())], origin)
    assert read_pictures(path) is None


@pytest.fixture
def place(pictures):
    return FeaturePlace(lambda name: pictures / name, pictures / "cache")


def cached(folder, place):
    return load_image_features(None, "untrained:0", files_in(folder), place)


def test_each_set_of_pictures_has_cached_features_of_its_own(pictures, place):
    of_a, of_b = (cached(pictures / folder, place)[0] for folder in "ab")
    assert not torch.equal(of_a[NAMES[0]], of_b[NAMES[0]])
    assert torch.equal(cached(pictures / "a", place)[0][NAMES[0]], of_a[NAMES[0]])
    assert len(list((pictures / "cache").iterdir())) == 2


def test_cached_features_without_pictures_are_taken_and_told(pictures, place):
    cached(pictures / "a", place)
    (path,) = (pictures / "cache").iterdir()
    origin = FeatureStore.open(path).provenance[0]
    forget_pictures(path)
    path.rename(path.with_name(f"image_untrained-0_{origin['list_sha256'][:16]}.safetensors"))
    store, notes = cached(pictures / "a", place)
    assert "does not say which pictures it was made from" in notes[0]
    assert store.dim == 1024 and len(list((pictures / "cache").iterdir())) == 1


def test_a_damaged_file_in_the_cache_is_one_line(pictures, place):
    cached(pictures / "a", place)
    (path,) = (pictures / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=f"{path.name}"):
        cached(pictures / "a", place)


def test_named_features_of_other_pictures_are_refused(pictures, place):
    encode_images(pictures / "a.safetensors", files_in(pictures / "a"), "untrained:0")
    named = ("a.safetensors", "untrained:0")
    assert load_image_features(*named, files_in(pictures / "a"), place)[1] == ()
    with pytest.raises(UserError, match="made from other pictures than are there now .6 of 6"):
        load_image_features(*named, files_in(pictures / "b"), place)


def test_llm_mde_reads_features_of_the_pictures_it_trains_on(workspace, tmp_path):
    """`prompt.depth_class` reads image features that the first run has left in the cache."""
    root = shutil.copytree(workspace.data, tmp_path / "data")
    words = ("prompt.depth_class=true", "model.image_dim=1024", "text.encoder=untrained:0")
    words = (*words, "text.features=null", f"data.root={root}")
    assert train_into(tmp_path / "runs", workspace, *words).code == 0
    before = {path.name for path in (tmp_path / "runs/features").iterdir()}
    rng = np.random.default_rng(9)
    for path in root.glob("train/*/rgb_*.png"):
        write_pair(path, path.with_name(path.name.replace("rgb", "sync_depth")), rng)
    outcome = train_into(tmp_path / "runs", workspace, *words, "experiment=other")
    assert outcome.code == 0, outcome.err
    assert len({path.name for path in (tmp_path / "runs/features").iterdir()} - before) == 1


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A file that `RN50:FILE` names; the tower is a small one, drawn by the file's contents."""
    file = tmp_path / "w.pt"
    file.write_text("1")

    def load(spec, device):
        return load_untrained_text(int(file.read_text()), device)

    monkeypatch.setattr(clip, "load_clip_text", load)
    return file


@pytest.mark.parametrize("tag", ["", "openai="])
def test_replaced_weights_make_captions_anew(tag, weights, tmp_path):
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"image": "a.jpg", "caption": "a room"}')
    words = ("--captions", captions, "--output", tmp_path / "text.safetensors")
    words = (*words, "--encoder", f"RN50:{tag}{weights}")
    assert run_script("encode_text.py", *words).code == 0
    assert "already there" in run_script("encode_text.py", *words).out
    weights.write_text("2")
    assert "made from something else; made anew" in run_script("encode_text.py", *words).out


def test_a_run_encodes_with_replaced_weights_and_refuses_ready_features(weights, tmp_path):
    encoder, captions = f"RN50:{weights}", {"a.jpg": "a room"}
    place = FeaturePlace(lambda name: tmp_path / name, tmp_path / "cache")
    text = TextConfig(encoder=encoder)
    before = load_text_features(text, captions, place)["a.jpg"].clone()
    encode_captions(tmp_path / "ready.safetensors", captions, encoder)
    weights.write_text("2")
    assert not torch.equal(load_text_features(text, captions, place)["a.jpg"], before)
    ready = TextConfig(features="ready.safetensors", encoder=encoder)
    with pytest.raises(UserError, match="made with other files of RN50:.*drop text.features"):
        load_text_features(ready, captions, place)
    weights.unlink()  # ready features do not need them
    assert load_text_features(ready, captions, place).dim == 1024
    assert encoder_identity(encoder) == {}


@pytest.fixture(scope="module")
def blip(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models")) / "blip"


def test_captions_are_made_anew_for_other_pictures(blip, pictures):
    output = pictures / "captions.jsonl"

    def caption(folder, model=blip):
        words = ("--model", model, "--precision", "fp32", "--max-new-tokens", 4)
        return run_script("caption_images.py", "--images", folder, "--output", output, *words)

    assert caption(pictures / "a").code == 0
    of_a = output.read_text()
    outcome = caption(pictures / "b")
    assert outcome.code == 0, outcome.err
    assert "6 captions are of other pictures than now: made anew" in outcome.out
    assert output.read_text() != of_a
    assert "already there" in caption(pictures / "b").out
    cv2.imwrite(str(pictures / "b" / NAMES[0]), np.zeros((30, 40, 3), np.uint8))
    assert "1 captions are of other pictures" in caption(pictures / "b").out

    other = shutil.copytree(blip, pictures / "model")
    output.unlink()
    assert caption(pictures / "b", other).code == 0
    with (other / "config.json").open("a") as file:
        file.write(" ")
    assert "was made with" in caption(pictures / "b", other).refusal


def test_captions_of_older_programs_are_taken_and_told(blip, pictures):
    output = pictures / "captions.jsonl"
    words = ("--images", pictures / "a", "--output", output, "--model", blip)
    words = (*words, "--precision", "fp32", "--max-new-tokens", 4)
    assert run_script("caption_images.py", *words).code == 0
    lines = [line.partition(', "picture"')[0] + "}\n" for line in output.read_text().splitlines()]
    output.write_text("".join(lines))
    out = run_script("caption_images.py", *words).out
    assert "6 captions do not say of which pictures they are" in out and "already there" in out
    assert output.read_text() == "".join(lines)


def test_the_doctor_refuses_what_training_refuses(nyu):
    keys = [json.loads(x)["image"] for x in (nyu / "captions.jsonl").open()]
    files = {key: next(nyu.rglob(key)) for key in keys}
    made_from = take_fingerprint(files)
    write_features(nyu / "i.safetensors", keys, torch.ones(len(keys), 8), {}, made_from)
    named = "text.image_features=i.safetensors"
    assert doctor_trees.examine_nyu(nyu, named).codes() == []
    cv2.imwrite(str(files[keys[0]]), cv2.imread(str(files[keys[0]]))[::-1].copy() // 2)
    health = doctor_trees.examine_nyu(nyu, named)
    assert health.codes() == ["feature_pictures"]
    assert "scripts/encode_text.py" in health.finding("feature_pictures")["mend"]
