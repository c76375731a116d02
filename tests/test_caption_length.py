"""Captions longer than what reads them: named, counted, the same by training and doctor."""

import json
import re
from pathlib import Path

import doctor_trees
import open_clip
import pytest
import torch
from conftest import run_script, train
from llm_mde_files import evaluate, train_into
from text_models import make_bert, make_clip_text, make_gpt2, make_roberta, make_t5

from common.language.caption_length import describe_cut
from common.language.clip import limit_of
from common.language.encoders import caption_limit, text_encoder
from common.language.feature_files import write_features
from common.language.feature_store import FeatureStore

START = "A room with " + "a chair and " * 30
TWINS = [f"{START}a red carpet.", f"{START}a green wall.", "A room."]
MAKERS = {
    "bert": make_bert,
    "roberta": make_roberta,
    "clip_text": make_clip_text,
    "t5": make_t5,
    "gpt2": make_gpt2,
}


def test_captions_that_differ_at_their_end_only_are_one_to_clip_and_are_named():
    encoder = text_encoder("untrained:0")
    features = encoder.encode(TWINS)
    assert torch.equal(features[0], features[1])
    cut = encoder.limit.find_cut(TWINS)
    assert [entry.caption for entry in cut] == TWINS[:2]
    tokenizer = open_clip.SimpleTokenizer()
    assert cut[0].num_tokens == len(tokenizer.encode(TWINS[0])) + 2
    assert cut[0].num_read == 32
    assert cut[0].lost.endswith("a red carpet .")
    assert not encoder.limit.find_cut([])


@pytest.mark.parametrize("spec", ["RN50:openai", "ViT-B-32-256:datacomp_s34b_b86k", "untrained:3"])
def test_what_is_cut_is_known_without_weights(spec):
    limit = caption_limit(spec)
    room = (limit.longest or 0) - 2
    fits = " ".join(["chair"] * room)
    assert [entry.caption for entry in limit.find_cut([fits, f"{fits} red"])] == [f"{fits} red"]
    assert limit.find_cut([f"{fits} red"])[0].lost == "red"


@pytest.mark.parametrize("name", list(MAKERS))
def test_models_of_hugging_face_tell_it_without_weights_too(name, tmp_path):
    (tmp_path / name).mkdir()
    folder = MAKERS[name](tmp_path / name)
    captions = ["a kitchen with a table and a room of a photo and a kitchen with a table", "a room"]
    with_weights = text_encoder(f"hf:{folder}").limit
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    limit = caption_limit(f"hf:{folder}")
    assert limit.longest == with_weights.longest
    assert limit.find_cut(captions) == with_weights.find_cut(captions)
    assert len(limit.find_cut(captions)) == (0 if name == "t5" else 1)


@pytest.mark.parametrize("mode", [None, "clips"])
def test_open_clips_other_tokenizers(mode, tmp_path):
    """A caption fits if nothing of it is missing among the tokens that the network is given."""
    folder = make_bert(tmp_path)
    special = {"bos_token": "[CLS]", "eos_token": "[SEP]"} if mode else {}
    tokenizer = open_clip.tokenizer.HFTokenizer(
        str(folder), context_length=8, tokenizer_mode=mode, **special
    )
    limit = limit_of(tokenizer)
    words = ["a", "kitchen", "with", "table", "and", "room", "of", "photo"]
    kitchen = tokenizer.tokenizer.convert_tokens_to_ids(words)
    for count in range(1, 9):
        caption = " ".join(words[:count])
        kept = set(tokenizer([caption])[0].tolist())
        assert bool(limit.find_cut([caption])) == (not set(kitchen[:count]) <= kept), count


def write_captions(root: Path, captions: dict[str, str]) -> Path:
    lines = [json.dumps({"image": key, "caption": words}) for key, words in captions.items()]
    (root / "long.jsonl").write_text("\n".join(lines))
    return root / "long.jsonl"


@pytest.fixture
def long(workspace, tmp_path) -> Path:
    """The captions of the tiny data set; that of the second training image is long."""
    lines = (workspace.data / "captions.jsonl").read_text().splitlines()
    captions = {entry["image"]: entry["caption"] for entry in map(json.loads, lines)}
    captions["train/room_0000/rgb_00001.png"] = TWINS[0]
    return write_captions(tmp_path, captions)


IMAGE = "train/room_0000/rgb_00001.png: 99 tokens, 32 read; lost: "


def test_training_encoding_and_doctor_say_what_is_cut(workspace, long, tmp_path):
    words = ("text.features=null", f"text.captions={long}", "text.encoder=untrained:0")
    model = ("model.text_dim=1024", "train.max_steps=1")
    done = train("stage1", *workspace.arguments("stage1", tmp_path / "runs", *words, *model))
    assert done.code == 0, done.err
    line = "train: 1 distinct captions are longer than what untrained:0 reads, of 1 images"
    assert f"{line}; such as {IMAGE}" in (tmp_path / "runs/tiny/stage1/log.txt").read_text()

    packed = tmp_path / "packed.safetensors"
    arguments = ("--captions", long, "--encoder", "untrained:0", "--output", packed)
    assert f"of 1 images; such as {IMAGE}" in run_script("encode_text.py", *arguments).out

    lists = [f"data.{split}_list={split}.txt" for split in ("train", "val", "test")]
    data = (f"data.root={workspace.data}", "data.train_dir=.", "data.test_dir=.", *lists)
    ready = (*words[1:], f"text.features={packed}")
    for given in (words, ready):  # computed, and as the file says
        health = doctor_trees.examine("nyu", tmp_path, *data, *given)
        finding = health.finding("caption_cut")
        assert finding["level"] == "note"
        assert finding["examples"][0].startswith(IMAGE)


def test_features_of_an_earlier_version_are_described_too():
    assert describe_cut({"num_cut": 3}, "RN50:openai") == (
        "3 distinct captions are longer than what RN50:openai reads; it read their beginning"
    )
    assert not describe_cut({"num_cut": 0}, "RN50:openai")


# LLM-MDE

CAPTIONED = ("prompt.caption=true", "prompt.task=true", "train.max_steps=1", "eval.every=1")
LONG = " ".join(["room"] * 1100)


def fitting(refusal: str) -> int:
    found = re.search(r"its caption has (\d+), and (\d+) fit", refusal)
    assert found, refusal
    assert int(found[1]) == 1100
    return int(found[2])


def test_a_prompt_that_does_not_fit_names_its_image_and_the_advice_works(workspace, tmp_path):
    captions = {
        f"{split}/room_{i // 2:04d}/rgb_{i:05d}.png": LONG if i in (2, 3) else "A room."
        for split, count in (("train", 12), ("val", 4), ("test", 4))
        for i in range(count)
    }
    given = f"text.captions={write_captions(tmp_path, captions)}"

    def start(name: str, *words: str):
        return train_into(tmp_path / name, workspace, *CAPTIONED, given, *words)

    refusal = start("a").refusal
    assert refusal.startswith(
        "error: train/room_0001/rgb_00002.png (and 1 more of 12 images): a prompt of "
    )
    assert not (tmp_path / "a/tiny").exists()
    most = fitting(refusal)
    for length, code in ((most, 0), (most + 1, 2)):
        shorter = {key: " ".join(words.split()[:length]) for key, words in captions.items()}
        write_captions(tmp_path, shorter)
        assert start(f"b{length}").code == code
    write_captions(tmp_path, captions)
    assert start("c", "prompt.caption=false").code == 0


def test_the_doctor_refuses_the_same_prompts(workspace, tmp_path):
    key = "test/room_0000/rgb_00001.png"
    given = f"text.captions={write_captions(tmp_path, {key: LONG})}"
    words = ("--config", str(workspace.configs / "llm_mde.yaml"), *CAPTIONED, given)
    health = doctor_trees.examine("nyu", tmp_path, *words)
    finding = health.finding("prompt_length")
    assert finding["level"] == "problem"
    assert finding["text"].startswith(f"{key}: a prompt of ")
    assert "prompt.caption=false" in finding["mend"]
    off = doctor_trees.examine("nyu", tmp_path, *words, "prompt.caption=false")
    assert "prompt_length" not in off.codes()


def test_scoring_refuses_a_prompt_before_the_first_image(workspace, tmp_path):
    assert train_into(tmp_path / "runs", workspace, *CAPTIONED).code == 0
    keys = [f"test/room_{i // 2:04d}/rgb_{i:05d}.png" for i in range(4)]
    captions = {key: LONG if key == keys[3] else "A room." for key in keys}
    given = f"text.captions={write_captions(tmp_path, captions)}"
    done = evaluate("--checkpoint", str(tmp_path / "runs/tiny/llm_mde"), given)
    assert f"{keys[3]}: a prompt of " in done.refusal


def test_a_sentence_for_clip_is_not_cut(workspace, tmp_path):
    words = (
        "prompt.depth_class=true",
        f"prompt.templates.clip={START} {{depth_class}}",
        "text.encoder=untrained:0",
        "model.image_dim=1024",
    )
    packed = tmp_path / "image.safetensors"
    store = FeatureStore.open(workspace.data / "image.safetensors")
    keys = list(store.tables[0].rows)
    write_features(packed, keys, torch.eye(1024)[: len(keys)], {"kind": "image"})
    done = train_into(tmp_path / "runs", workspace, *words, f"text.image_features={packed}")
    assert "prompt.templates.clip: untrained:0 reads 32 of the" in done.refusal
