"""CLIP text and image towers of open_clip, `<model>:<weights>`.

`RN50:openai` and `ViT-B-32:laion2b_s34b_b79k` name open_clip's weights, downloaded once.
`RN50-quickgelu:/path/RN50.pt` names a file; OpenAI's weights need a `-quickgelu` model then.
"""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg
from PIL import Image
from torch import Tensor

from common.errors import UserError
from common.language.towers import TowerImageEncoder, TowerTextEncoder
from common.runtime.hub import one_line_failure

OTHER_KINDS = ("untrained", "hf")  # what may stand before the colon and is no model of open_clip
_ALTERNATIVES = (
    "on a machine without network, copy the weights and name the file (<model>:<file>), use ready "
    "feature files, or untrained:0"
)


def load_clip_text(spec: str, device: torch.device) -> TowerTextEncoder:
    """The text tower of `<model>:<weights>`."""
    model, weights = parse_clip(spec)
    with one_line_failure(f"CLIP weights {spec}", _ALTERNATIVES):
        clip, _ = _load_clip(model, weights)
        tokenizer = open_clip.get_tokenizer(model)
        tower = clip.to(device).eval()
    return TowerTextEncoder(tokenizer, tower.encode_text, is_cut_by(tokenizer), device)


def load_clip_images(spec: str, device: torch.device) -> TowerImageEncoder:
    """The image tower of `<model>:<weights>`."""
    model, weights = parse_clip(spec)
    with one_line_failure(f"CLIP weights {spec}", _ALTERNATIVES):
        clip, preprocess = _load_clip(model, weights)
        tower = clip.to(device).eval()
    return TowerImageEncoder(preprocess, tower.encode_image, device)


def parse_clip(spec: str) -> tuple[str, str]:
    """Model and weights, both checked to exist."""
    model, _, weights = spec.partition(":")
    if model not in open_clip.list_models():
        known = [*OTHER_KINDS, *open_clip.list_models()]
        near = difflib.get_close_matches(model, known, 3, 0.4)
        raise UserError(
            f"encoder '{spec}': no open_clip model '{model}'; nearest: {', '.join(near) or 'none'} "
            "(hf:NAME is a model of Hugging Face)"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights not in tags and not Path(weights).is_file():
        raise UserError(
            f"encoder '{spec}': '{weights}' is neither a file nor weights of {model}; "
            f"it has {', '.join(tags) or 'none'}"
        )
    return model, weights


def is_cut_by(tokenizer: Any) -> Callable[[str], bool]:
    """Whether a tokenizer of open_clip cuts a caption to its context length."""

    def is_cut(caption: str) -> bool:
        if isinstance(tokenizer, open_clip.SimpleTokenizer):
            num_tokens = len(tokenizer.encode(caption)) + 2  # start and end
        else:
            num_tokens = len(tokenizer.tokenizer(tokenizer.clean_fn(caption)).input_ids)
        return num_tokens > tokenizer.context_length

    return is_cut


def _load_clip(model: str, weights: str) -> tuple[open_clip.CLIP, Callable[[Image.Image], Tensor]]:
    # OpenAI's weights were trained with QuickGELU, which the plain model names do not imply.
    quick_gelu = get_pretrained_cfg(model, weights).get("quick_gelu", False)
    return open_clip.create_model_from_pretrained(
        model, pretrained=weights, force_quick_gelu=quick_gelu
    )
