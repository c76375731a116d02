"""A tiny CLIP with published tags, and its weights as a file or as an archive of OpenAI."""

import json
import warnings
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip import pretrained

TINY = "tiny-clip"
SIZES = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
SIGNS = {"input_resolution": 32, "context_length": 16, "vocab_size": 49408}
PLAIN = {"hf_hub": "nobody/nothing/", "mean": (0.5, 0.5, 0.5), "resize_mode": "squash"}
OPENAI = {"hf_hub": "nobody/openai/", "quick_gelu": True}


def add_tiny_clip(folder: Path, monkeypatch: pytest.MonkeyPatch, **tags: dict) -> None:
    """Make `tiny-clip` known to open_clip, with these published weights."""
    (folder / f"{TINY}.json").write_text(json.dumps(SIZES))
    open_clip.add_model_config(folder / f"{TINY}.json")
    monkeypatch.setitem(pretrained._PRETRAINED, TINY, tags)


def tiny_clip(quick_gelu: bool = False) -> open_clip.CLIP:
    """Weights that tell activations apart; the same each time."""
    torch.manual_seed(0)
    model = open_clip.create_model(TINY, force_quick_gelu=quick_gelu).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape))
    return model


def save_weights(path: Path, model: open_clip.CLIP) -> Path:
    torch.save(model.state_dict(), path)
    return path


def save_archive(path: Path, model: open_clip.CLIP, is_openai: bool = True) -> Path:
    """As OpenAI publishes CLIP: TorchScript, with three numbers beside the weights."""
    for name, number in SIGNS.items() if is_openai else ():
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(number))
    dtype = model.visual.conv1.weight.dtype
    words = open_clip.SimpleTokenizer(context_length=16)(["a cat"])
    inputs = {"encode_text": words, "encode_image": torch.zeros(1, 3, 32, 32, dtype=dtype)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace_module(model, inputs, check_trace=False).save(str(path))
    return path
