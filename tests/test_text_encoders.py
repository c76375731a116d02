"""Encoders by one word: specs, CLIP weights of a file, and the stand-ins that need no download."""

import json

import open_clip
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from common.errors import UserError
from common.language import clip
from common.language.encoders import image_encoder, text_encoder


def test_untrained_text_tower_is_seeded_and_separates_captions():
    captions = [
        "A kitchen with a stove.",
        "A bathroom with a toilet.",
        "A desk with two chairs.",
        "",
    ]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    features = text_encoder("untrained:0").encode(captions)
    assert torch.equal(before, torch.get_rng_state())
    assert features.shape == (4, 1024)
    torch.testing.assert_close(features[:3].norm(dim=1), torch.ones(3))
    assert torch.isfinite(features).all()
    torch.testing.assert_close(text_encoder("untrained:0").encode(captions[:1]), features[:1])
    assert not torch.allclose(text_encoder("untrained:1").encode(captions[:1]), features[:1])
    similar = text_encoder("untrained:0").encode(["A kitchen with a big stove."])[0]
    cosines = features[:3] @ similar
    assert cosines[0] > 0.9
    assert cosines[1:].max() < cosines[0] - 0.1


def test_tokenizer_is_clips_own():
    tokens = open_clip.SimpleTokenizer(context_length=8)(["a photo of a cat"])
    assert tokens.tolist() == [[49406, 320, 1125, 539, 320, 2368, 49407, 0]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("RN51:openai", "no open_clip model 'RN51'; nearest: RN50"),
        ("RN50:opnai", "'opnai' is neither a file nor weights of RN50; it has .*openai"),
        ("RN50", "neither a file nor weights"),
        ("untrained:x", "expected untrained:<seed>"),
        ("untrained:" + "9" * 5000, "at most 18 digits"),
        ("untrained:18446744073709551616", "at most 18 digits"),
        ("untraned:0", "nearest: untrained"),
    ],
)
def test_unknown_encoders_name_the_nearest(spec, message):
    with pytest.raises(UserError, match=message):
        text_encoder(spec)


def test_failed_download_is_one_line_with_alternatives(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Failed to download weights for tag 'openai': offline\nmore\nlines")

    monkeypatch.setattr(clip, "_load_clip", fail)
    for encoder in (text_encoder, image_encoder):
        with pytest.raises(UserError) as caught:
            encoder("RN50:openai")
        assert "\n" not in str(caught.value)
        assert "RN50:openai" in str(caught.value)
        assert "untrained:0" in str(caught.value)


def test_weights_file_is_loaded_and_a_broken_one_refused(tmp_path):
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "tiny-clip.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    model = open_clip.create_model("tiny-clip").eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    spec = f"tiny-clip:{tmp_path / 'weights.pt'}"
    captions = ["A kitchen.", "A bathroom."]
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("tiny-clip")(captions))
    torch.testing.assert_close(text_encoder(spec).encode(captions), F.normalize(expected, dim=-1))
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert image_encoder(spec).encode([tmp_path / "a.png"]).shape == (1, 24)
    (tmp_path / "broken.pt").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot load CLIP weights"):
        text_encoder(f"tiny-clip:{tmp_path / 'broken.pt'}")
