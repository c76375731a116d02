"""Weights of timm in a file: how they read images is known, or asked for."""

import hashlib
from dataclasses import replace

import pytest
import timm
import torch
from llm_mde_files import train_into, vit_file
from timm.models import get_pretrained_cfg

from common.errors import UserError
from common.networks.encoder import EncoderConfig, build_encoder
from common.networks.encoder_weights import start_from
from common.networks.normalization import reading_of, require_known_reading
from llm_mde.vision_encoder import VisionConfig, VisionEncoder, build_vision_body

SMALL = "vit_small_patch16_224"  # its weights read images in two ways
KEY = "model.vision.name"


def tags_by_reading() -> dict[str, dict[tuple, list[str]]]:
    """Network -> (mean, QuickGELU) -> tags, of timm's own table."""
    networks: dict[str, dict[tuple, list[str]]] = {}
    for name in timm.list_models(pretrained=True):
        network, _, tag = name.partition(".")
        known = get_pretrained_cfg(name)
        kind = (tuple(known.mean), tuple(known.std), "QuickGELU" in str(known.notes))
        networks.setdefault(network, {}).setdefault(kind, []).append(tag)
    return networks


def test_every_network_of_timm_whose_weights_differ_is_asked_about(tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(b"weights of somebody")
    differing = {name: kinds for name, kinds in tags_by_reading().items() if len(kinds) > 1}
    assert len(differing) >= 34
    for name, kinds in differing.items():
        with pytest.raises(UserError) as caught:
            require_known_reading(name, file, KEY)
        assert f"{KEY}={name}.TAG" in str(caught.value)
        for (mean, _, quick), tags in kinds.items():
            assert f"{tags[0]}" in str(caught.value)
            require_known_reading(f"{name}.{tags[0]}", file, KEY)
            assert reading_of(f"{name}.{tags[0]}").mean == mean
            assert reading_of(f"{name}.{tags[0]}").quick_gelu == quick


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet50", "convnext_tiny"])
def test_a_network_whose_weights_agree_is_not(name, tmp_path):
    require_known_reading(name, tmp_path / "never read", KEY)


@pytest.mark.parametrize(("tag", "is_default"), [("augreg_in1k", True), ("dino", False)])
def test_a_file_is_known_by_the_hash_in_its_address(tag, is_default, tmp_path, monkeypatch):
    file = tmp_path / "w.pth"
    file.write_bytes(b"published")
    sha256 = hashlib.sha256(b"published").hexdigest()

    def known(name: str):
        own = get_pretrained_cfg(name)
        return replace(own, url=f"https://a.b/w-{sha256[:8]}.pth") if name.endswith(tag) else own

    monkeypatch.setattr(timm.models, "get_pretrained_cfg", known)
    if is_default:  # read as the plain name says
        require_known_reading(SMALL, file, KEY)
    else:
        with pytest.raises(UserError, match=rf"{KEY}={SMALL}\.dino "):
            require_known_reading(SMALL, file, KEY)


def test_vision_weights_in_doubt_are_refused_and_the_advice_works(workspace, tmp_path):
    words = vit_file(tmp_path / "vit.pth", SMALL)
    head = ("model.reprogramming.num_heads=4", "train.max_steps=1")

    def train(name: str):
        return train_into(tmp_path / "runs", workspace, *words, *head, f"{KEY}={name}")

    assert f"{KEY}={SMALL}.TAG" in train(SMALL).refusal
    done = train(f"{SMALL}.dino")
    assert done.code == 0, done.err
    assert "images with mean 0.485 0.456 0.406" in done.err


@pytest.mark.parametrize(("tag", "mean"), [("dino", 0.485), ("augreg_in1k", 0.5)])
def test_a_named_tag_gives_its_mean(tag, mean, tmp_path):
    vit_file(tmp_path / "vit.pth", SMALL)
    config = VisionConfig(name=f"{SMALL}.{tag}", weights=str(tmp_path / "vit.pth"))
    encoder = VisionEncoder(config, build_vision_body(config, 0), (64, 96))
    black = torch.tensor([(0 - 0.485) / 0.229])
    seen = black * encoder.scale[0, 0, 0] + encoder.shift[0, 0, 0]
    std = {0.485: 0.229, 0.5: 0.5}[mean]
    torch.testing.assert_close(seen, torch.tensor([-mean / std]))


def test_an_encoder_reads_images_as_its_weights_do(tmp_path):
    encoder = build_encoder(EncoderConfig(name="timm:resnet18d"), (64, 96))
    other = "timm:resnet18d.ra4_e3600_r224_in1k"
    with pytest.raises(UserError, match=f"set model.encoder.name={other} model.encoder.weights="):
        start_from(encoder, other, pytest.fail)
    torch.save(timm.create_model("resnet18d").state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match="model.encoder.name=timm:resnet18d.TAG"):
        start_from(encoder, f"file:{tmp_path / 'w.pth'}", pytest.fail)
    tagged = build_encoder(EncoderConfig(name=other), (64, 96))
    lines: list[str] = []
    start_from(tagged, f"file:{tmp_path / 'w.pth'}", lines.append)
    assert "images with mean 0.5" in lines[0]
