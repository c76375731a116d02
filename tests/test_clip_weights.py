"""CLIP weights as a file: read as their tag implies, recognised, or asked for."""

import hashlib
import pickle
import zipfile
from pathlib import Path

import open_clip
import pytest
import torch
from clip_files import OPENAI, PLAIN, TINY, add_tiny_clip, save_archive, save_weights, tiny_clip
from conftest import run_script
from open_clip import pretrained
from PIL import Image
from torch.nn import functional as F

from common.errors import UserError
from common.language.encoders import image_encoder, text_encoder
from common.language.encoding import encode_captions
from common.runtime.known_files import sha256_in
from common.runtime.torchscript import is_archive, read_archive

PAIRS = [(model, tag) for model, tags in pretrained._PRETRAINED.items() for tag in tags]
CAPTIONS = ["A kitchen.", "A bathroom."]


def expected_words(quick_gelu: bool) -> torch.Tensor:
    """What open_clip's own network gives."""
    tokens = open_clip.SimpleTokenizer(context_length=16)(CAPTIONS)
    with torch.no_grad():
        return F.normalize(tiny_clip(quick_gelu).encode_text(tokens), dim=-1)


class Built(Exception):
    """Stops before a network is built."""


@pytest.fixture
def built(monkeypatch) -> dict:
    """What open_clip was asked for."""
    asked: dict = {}

    def build(model: str, **options: object) -> None:
        asked.update(options, model=model)
        raise Built

    monkeypatch.setattr(open_clip, "create_model_from_pretrained", build)
    return asked


def test_every_published_pair_is_read_from_a_file_as_by_its_tag(built, tmp_path):
    """Activation, normalization and resizing, of each model and tag of open_clip's table."""
    file = tmp_path / "weights.pt"
    torch.save({"x": torch.zeros(1)}, file)
    num_quick = num_other = 0
    for model, tag in PAIRS:
        known = pretrained.get_pretrained_cfg(model, tag)
        with pytest.raises(Built):
            image_encoder(f"{model}:{tag}={file}")
        quick = known.get("quick_gelu", False)
        own = open_clip.get_model_config(model).get("quick_gelu", False)
        assert built["pretrained"] == str(file)
        assert built["force_quick_gelu"] == (quick or own), (model, tag)
        for name in ("mean", "std", "interpolation", "resize_mode"):
            assert built[f"image_{name}"] == known[name], (model, tag, name)
        num_quick += quick and not own
        num_other += (
            known["mean"] != open_clip.OPENAI_DATASET_MEAN or known["resize_mode"] != "shortest"
        )
    assert num_quick >= 27
    assert num_other >= 50


def test_a_tag_without_a_file_is_left_to_open_clip(built):
    for model, tag in [("RN50", "openai"), ("ViT-B-32", "laion2b_s34b_b79k")]:
        with pytest.raises(Built):
            text_encoder(f"{model}:{tag}")
        assert built["pretrained"] == tag
        assert built["force_quick_gelu"] == (tag == "openai")


@pytest.mark.parametrize("tag", ["plain", "openai"])
def test_a_named_tag_decides_how_a_file_is_read(tag, tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, plain=PLAIN, openai=OPENAI)
    file = save_weights(tmp_path / "w.pt", tiny_clip())
    encoder = text_encoder(f"{TINY}:{tag}={file}")
    torch.testing.assert_close(encoder.encode(CAPTIONS), expected_words(tag == "openai"))
    assert f"{TINY}:{tag}, as named" in encoder.facts["weights_read_as"]
    Image.new("RGB", (64, 32), "white").save(tmp_path / "a.png")
    pixels = image_encoder(f"{TINY}:{tag}={file}")._read(tmp_path / "a.png")
    mean, std = (0.5, open_clip.OPENAI_DATASET_STD[0])
    if tag == "openai":
        mean = open_clip.OPENAI_DATASET_MEAN[0]
    assert pixels[0].mean().item() == pytest.approx((1 - mean) / std, abs=1e-4)


def test_a_file_that_says_nothing_is_asked_about_and_the_advice_works(tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, plain=PLAIN, openai=OPENAI)
    file = save_weights(tmp_path / "w.pt", tiny_clip())
    with pytest.raises(UserError) as caught:
        text_encoder(f"{TINY}:{file}")
    message = str(caught.value)
    assert "\n" not in message
    assert f"{TINY}:TAG={file}" in message
    assert "plain: GELU, mean 0.5" in message
    assert "openai: QuickGELU" in message
    text_encoder(f"{TINY}:plain={file}")


def test_a_file_of_a_model_whose_tags_agree_needs_no_tag(tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, one=OPENAI, two={**OPENAI, "hf_hub": "another/"})
    encoder = text_encoder(f"{TINY}:{save_weights(tmp_path / 'w.pt', tiny_clip())}")
    torch.testing.assert_close(encoder.encode(CAPTIONS), expected_words(True))


@pytest.mark.parametrize("digits", [64, 8])
def test_a_file_is_known_by_the_hash_in_its_address(digits, tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch)
    file = save_weights(tmp_path / "w.pt", tiny_clip())
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    url = {64: f"https://a.b/{sha256}/w.pt", 8: f"https://a.b/w-{sha256[:8]}.pt"}[digits]
    add_tiny_clip(tmp_path, monkeypatch, plain=PLAIN, quick={**OPENAI, "url": url})
    encoder = text_encoder(f"{TINY}:{file}")
    assert f"{TINY}:quick, by its SHA-256" in encoder.facts["weights_read_as"]
    torch.testing.assert_close(encoder.encode(CAPTIONS), expected_words(True))


def test_open_clips_table_names_hashes():
    named = [sha256_in(pretrained.get_pretrained_url(*pair)) for pair in PAIRS]
    assert sum(len(digits) == 64 for digits in named) >= 9  # OpenAI's
    assert sum(len(digits) == 8 for digits in named) >= 10  # open_clip's


def test_openais_archive_is_read_and_known(tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, plain=PLAIN, openai=OPENAI)
    file = save_archive(tmp_path / "RN50.pt", tiny_clip(True))
    encoder = text_encoder(f"{TINY}:{file}")
    torch.testing.assert_close(encoder.encode(CAPTIONS), expected_words(True))
    assert f"{TINY}:openai, whose archive it is" in encoder.facts["weights_read_as"]
    Image.new("RGB", (64, 32)).save(tmp_path / "a.png")
    assert image_encoder(f"{TINY}:{file}").encode([tmp_path / "a.png"]).shape == (1, 24)
    with pytest.raises(UserError, match=f"not of plain; write {TINY}:openai={file}"):
        text_encoder(f"{TINY}:plain={file}")
    add_tiny_clip(tmp_path, monkeypatch, plain=PLAIN)
    with pytest.raises(UserError, match="has no weights of"):
        text_encoder(f"{TINY}:{file}")


def test_another_archive_is_read_by_its_tag(tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, plain=PLAIN, openai=OPENAI)
    file = save_archive(tmp_path / "own.pt", tiny_clip(), is_openai=False)
    with pytest.raises(UserError, match="name the tag"):
        text_encoder(f"{TINY}:{file}")
    encoder = text_encoder(f"{TINY}:plain={file}")
    torch.testing.assert_close(encoder.encode(CAPTIONS), expected_words(False))


def test_an_archive_gives_the_tensors_of_its_module(tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch)
    file = save_archive(tmp_path / "w.pt", tiny_clip().half())
    assert is_archive(file)
    found, own = read_archive(file), torch.jit.load(file).state_dict()
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], own[name]) for name in own)
    assert {found[name].dtype for name in own} >= {torch.float16, torch.int64}
    assert not is_archive(save_weights(tmp_path / "plain.pt", tiny_clip()))


class Attack:
    def __reduce__(self):
        return Path.touch, (Path("was-run"),)


def test_nothing_in_an_archive_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps(Attack(), protocol=2))
        archive.writestr("bad/code/__torch__.py", "")
    with pytest.raises(UserError, match="cannot load CLIP weights .*getattr, which is no tensor"):
        text_encoder(f"RN50:{tmp_path / 'bad.pt'}")
    assert not Path("was-run").exists()


def test_half_an_archive_is_refused(tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, openai=OPENAI)
    whole = save_archive(tmp_path / "w.pt", tiny_clip()).read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot load CLIP weights"):
        text_encoder(f"{TINY}:{tmp_path / 'half.pt'}")


@pytest.mark.parametrize("name", ["no/where.pt", "openai=no/where.pt", "openai="])
def test_a_file_that_is_not_there_is_refused(name):
    with pytest.raises(UserError, match="is neither a file nor weights|no file .*after the ="):
        text_encoder(f"RN50:{name}")


@pytest.mark.parametrize("kind", ["--captions", "--images"])
def test_how_a_file_is_read_is_told(kind, tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, plain=PLAIN, openai=OPENAI)
    file = save_archive(tmp_path / "RN50.pt", tiny_clip(True))
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 32)).save(tmp_path / "pictures/a.png")
    (tmp_path / "c.jsonl").write_text('{"image": "a.png", "caption": "A room."}')
    source = tmp_path / {"--captions": "c.jsonl", "--images": "pictures"}[kind]
    output = tmp_path / "f.safetensors"
    done = run_script(
        "encode_text.py", kind, source, "--encoder", f"{TINY}:{file}", "--output", output
    )
    assert done.code == 0, done.err
    assert f"read as {TINY}:openai, whose archive it is (QuickGELU, mean 0.481" in done.out


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>404",
        [1, 2],
        {"model": torch.nn.Linear(2, 2)},
        torch.nn.Linear(2, 2).state_dict(),
    ],
    ids=["empty", "web page", "list", "module", "another network"],
)
def test_a_file_that_is_no_weights_of_the_model_is_one_line(content, tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, openai=OPENAI)
    file = tmp_path / "w.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(UserError, match="cannot load CLIP weights .*; check that") as caught:
        text_encoder(f"{TINY}:{file}")
    assert "PyTorch 2" not in str(caught.value)


def test_weights_of_another_width_are_one_line(tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, openai=OPENAI)
    file = save_weights(tmp_path / "w.pt", tiny_clip())
    with pytest.raises(
        UserError, match="cannot load CLIP weights RN50:openai=.* is whole and of RN50"
    ):
        text_encoder(f"RN50:openai={file}")


def test_weights_that_are_no_numbers_are_one_line_and_leave_no_part(tmp_path, monkeypatch):
    add_tiny_clip(tmp_path, monkeypatch, openai=OPENAI)
    weights = tiny_clip().state_dict()
    torch.save({name: w * torch.nan for name, w in weights.items()}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="features are not finite"):
        encode_captions(tmp_path / "out", {"1.png": "a room"}, f"{TINY}:{tmp_path / 'w.pt'}")
    assert not list(tmp_path.glob("out*"))
