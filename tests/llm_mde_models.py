"""Tiny LLM-MDE networks with random weights."""

from conftest import SETTINGS
from torch import nn

from common.config import build_config
from llm_mde.language_model import LanguageModel, LanguageModelConfig
from llm_mde.language_sources import load_language_model
from llm_mde.model import LLMDepth, LLMDepthConfig, Setting, build_llm_depth
from llm_mde.prompt import PromptConfig

FAMILIES = ("gpt2", "bert", "llama")
TINY = SETTINGS["llm_mde"]["model"]
SIZE = (64, 96)
CAPTIONED = PromptConfig(dataset=False, statistics=False, depth_class=False, caption=True)


def tiny_model(prompt: PromptConfig = CAPTIONED, **parts: dict) -> LLMDepth:
    tree = {name: {**TINY.get(name, {}), **parts.get(name, {})} for name in (*TINY, *parts)}
    return build_llm_depth(build_config(LLMDepthConfig, tree), prompt, Setting(SIZE, 10.0, 0))


def language_model(family: str, **changes) -> LanguageModel:
    settings = {**TINY["language"], "name": f"tiny-{family}", "num_layers": 2, **changes}
    return load_language_model(LanguageModelConfig(**settings), seed=0).eval()


def frozen_names(module: nn.Module) -> frozenset[str]:
    """The parameters that ask for no gradient."""
    return frozenset(name for name, p in module.named_parameters() if not p.requires_grad)


def stir_adapters(module: nn.Module) -> None:
    """Give the zero halves of the adapters values, as training does."""
    for name, parameter in module.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
