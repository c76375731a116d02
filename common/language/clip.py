"""CLIP text and image towers of open_clip, `<model>:<weights>` (see `clip_weights.py`).

`RN50:openai` and `ViT-B-32:laion2b_s34b_b79k` name open_clip's weights, downloaded once.
`RN50:/path/RN50.pt` names a file, also an archive as OpenAI publishes them; `RN50:TAG=/path/w.pt`
says which weights are in a file that does not say it itself.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from common.language.caption_length import CaptionLimit
from common.language.clip_weights import (
    OPENAI_SIGNS,
    ClipReading,
    ClipWeights,
    choose_reading,
    parse_clip,
    reading_of,
)
from common.language.towers import TowerImageEncoder, TowerTextEncoder
from common.runtime.hub import load_from_hub
from common.runtime.torchscript import is_archive, read_archive

Preprocess = Callable[[Image.Image], Tensor]
NOT_WEIGHTS = (*OPENAI_SIGNS, "attn_mask")  # tensors of an archive that the network makes itself
_OTHERS = "use ready feature files, or untrained:0"


def load_clip_text(spec: str, device: torch.device) -> TowerTextEncoder:
    """The text tower of `<model>:<weights>`."""
    weights = parse_clip(spec)
    clip, _, facts = _load_weights(weights)
    tokenizer = _load_tokenizer(weights.model)
    tower = clip.to(device).eval()
    return TowerTextEncoder(tokenizer, tower.encode_text, limit_of(tokenizer), device, facts)


def load_clip_images(spec: str, device: torch.device) -> TowerImageEncoder:
    """The image tower of `<model>:<weights>`."""
    clip, preprocess, facts = _load_weights(parse_clip(spec))
    return TowerImageEncoder(preprocess, clip.to(device).eval().encode_image, device, facts)


def _load_weights(weights: ClipWeights) -> tuple[open_clip.CLIP, Preprocess, dict[str, str]]:
    return load_from_hub(
        f"CLIP weights {weights.spec}",
        _advice(weights),
        lambda: _load_clip(weights),
        is_local=weights.file is not None,
    )


@lru_cache
def _load_tokenizer(model: str) -> Any:
    """Most come with open_clip, some from the hub."""
    return load_from_hub(
        f"the tokenizer of {model}", _OTHERS, lambda: open_clip.get_tokenizer(model)
    )


def _advice(weights: ClipWeights) -> str:
    if weights.file is not None:
        return f"check that {weights.file} is whole and of {weights.model}, {_OTHERS}"
    return (
        "on a machine without network, copy the weights and name the file "
        f"({weights.model}:{weights.tag}=FILE), {_OTHERS}"
    )


def load_clip_limit(spec: str) -> CaptionLimit:
    """How much `<model>:<weights>` reads of a caption; needs no weights."""
    return limit_of(_load_tokenizer(parse_clip(spec).model))


def limit_of(tokenizer: Any) -> CaptionLimit:
    """How much of a caption a tokenizer of open_clip keeps."""
    if isinstance(tokenizer, open_clip.SimpleTokenizer):

        def encode(captions: Sequence[str]) -> list[list[int]]:
            return [tokenizer.encode(caption) for caption in captions]

        return CaptionLimit(encode, tokenizer.decode, 2, tokenizer.context_length)
    clean, words = getattr(tokenizer, "clean_fn", str), tokenizer.tokenizer
    num_marks = words.num_special_tokens_to_add()
    if getattr(tokenizer, "tokenizer_mode", "") == "clips":  # start, end, and a class token
        num_marks = 3

    def encode_cleaned(captions: Sequence[str]) -> list[list[int]]:
        cleaned = [clean(caption) for caption in captions]
        return words(cleaned, add_special_tokens=False, verbose=False).input_ids

    return CaptionLimit(encode_cleaned, words.decode, num_marks, tokenizer.context_length)


def _load_clip(weights: ClipWeights) -> tuple[open_clip.CLIP, Preprocess, dict[str, str]]:
    """Network, preprocessing, and facts about a file: how it is read, and why."""
    if weights.file is None:
        assert weights.tag is not None
        # OpenAI's weights were trained with QuickGELU, which the plain model names do not imply.
        quick_gelu = reading_of(weights.model, weights.tag).quick_gelu
        clip, preprocess = open_clip.create_model_from_pretrained(
            weights.model, pretrained=weights.tag, force_quick_gelu=quick_gelu
        )
        return clip, preprocess, {}
    archive = read_archive(weights.file) if is_archive(weights.file) else {}
    reading, why = choose_reading(weights, is_openai=archive.keys() >= OPENAI_SIGNS)
    facts = {"weights_read_as": f"{why} ({reading})"}
    if archive:
        return *_from_archive(weights.model, reading, archive), facts
    clip, preprocess = open_clip.create_model_from_pretrained(
        weights.model,
        pretrained=str(weights.file),
        force_quick_gelu=reading.quick_gelu,
        image_mean=reading.mean,
        image_std=reading.std,
        image_interpolation=reading.interpolation,
        image_resize_mode=reading.resize_mode,
    )
    return clip, preprocess, facts


def _from_archive(
    model: str, reading: ClipReading, archive: dict[str, Tensor]
) -> tuple[open_clip.CLIP, Preprocess]:
    clip = open_clip.create_model(model, force_quick_gelu=reading.quick_gelu, pretrained_hf=False)
    clip.load_state_dict({k: v for k, v in archive.items() if k not in NOT_WEIGHTS})
    preprocess = open_clip.image_transform(
        clip.visual.image_size,
        is_train=False,
        mean=reading.mean,
        std=reading.std,
        interpolation=reading.interpolation,
        resize_mode=reading.resize_mode,
    )
    return clip, preprocess
