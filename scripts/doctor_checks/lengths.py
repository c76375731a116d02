"""Captions that are longer than what reads them: an encoder cuts them, a language model refuses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from common.config import build_config
from common.errors import UserError
from common.language.caption_length import describe_cut, describe_one, report_cut
from common.language.captions import Captions
from common.language.encoders import caption_limit
from common.language.features import TextConfig
from llm_mde.config import LLMMDEConfig
from llm_mde.language_sources import find_source, first_layers
from llm_mde.model import Setting, build_encoder_tokens, limit_tokens
from llm_mde.prompt_room import PromptRoom
from llm_mde.tokenizer import PromptTokenizer, load_tokenizer
from llm_mde.vision_encoder import VisionEncoder, create_vit
from scripts.doctor_checks.findings import Finding, Fix, advice, note, problem, some_of

_NUM_CHECKED = 20_000  # distinct captions
CAUSE = "the encoder reads so many tokens at once; captions with the same beginning are one to it"
FIX = "shorter captions, or a text.encoder that reads more"


def check_cut(text: TextConfig, captions: Captions) -> list[Finding]:
    """Captions that `text.encoder` reads in part only."""
    distinct = some_of(captions.distinct[0], _NUM_CHECKED)
    try:
        report = report_cut(caption_limit(text.encoder).find_cut(distinct), captions)
    except UserError as error:
        return [note("caption_cut", f"the lengths of captions were not checked: {error}")]
    return cut_finding(report, text.encoder)


def cut_finding(report: Mapping, encoder: str) -> list[Finding]:
    """A note, if anything is cut. report: of `report_cut`, or the provenance of features."""
    line = describe_cut(report, encoder).partition("; such as")[0]
    examples = [describe_one(entry) for entry in report.get("cut", ())]
    return [note("caption_cut", line, examples, CAUSE, advice(FIX))] if line else []


def check_prompts(config: LLMMDEConfig, captions: Captions) -> list[Finding]:
    """Prompts that do not fit into the language model; needs its tokenizer, and no weights."""
    if config.model.language.num_layers == 0:
        return []
    try:
        room = _room(config)
    except UserError as error:
        return [note("prompt_length", f"the lengths of prompts were not checked: {error}")]
    try:
        room.check(config.prompt, captions)
    except UserError as error:
        text, _, what = str(error).rpartition("; ")
        helps = ("prompt.caption=false",) if "prompt.caption=false" in what else ()
        return [problem("prompt_length", text, fix=Fix(settings=helps, advice=what))]
    return []


def llm_mde_config(tree: Mapping[str, Any], sources: dict[str, str]) -> LLMMDEConfig | None:
    """The config of LLM-MDE that a tree of settings is; None: of another stage, or of data."""
    own = "prompt" in tree or "language" in (tree.get("model") or {})
    return build_config(LLMMDEConfig, dict(tree), sources) if own else None


def _room(config: LLMMDEConfig) -> PromptRoom:
    """What training would find, of networks without numbers."""
    parts, data = config.model, config.data
    setting = Setting(data.size, data.max_depth, config.seed)
    source = find_source(parts.language.name)
    tiny = parts.language.is_tiny
    tokenizer = PromptTokenizer.built_in() if tiny else load_tokenizer(source)
    architecture = first_layers(parts.language, source)
    with torch.device("meta"):
        plain = replace(parts.vision, train="full")
        vision = build_encoder_tokens(parts, setting) or VisionEncoder(
            plain, create_vit(plain), data.size
        )
    limit_tokens(vision, data.size, architecture.max_position_embeddings)
    return PromptRoom(
        parts.language.name,
        tokenizer,
        architecture.vocab_size,
        architecture.max_position_embeddings,
        math.prod(vision.grid_size(data.data_set.crop_size or data.size)),
    )
