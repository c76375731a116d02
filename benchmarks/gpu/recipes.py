"""The recipes that are measured: network, step, optimizer and batch of each, by name.

The four of `benchmarks/networks.py`, and LLM-MDE at its published sizes: ViT-B/16 and the first
four layers of GPT-2, both with random weights, so that nothing is downloaded.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.gpu.bench import Bench
from benchmarks.networks import MAX_DEPTH, WHAT, make_batch, make_network, make_step
from common.data.batch import Batch
from common.engine.optimization import adam, adamw
from common.engine.train_config import TrainConfig
from common.losses.depth import DepthLossConfig
from common.networks.layers import trainable_parameters

LLM_MDE = "llm-mde"
RECIPES = ("stage3", "joint-image", "joint-text", "stage1", LLM_MDE)  # the heaviest first
assert set(RECIPES) == {*WHAT, LLM_MDE}


def network_of(what: str, bench: Bench) -> nn.Module:
    """The network on the device, in training mode, with random weights."""
    torch.manual_seed(0)
    if what == LLM_MDE:
        return llm_mde(bench.is_tiny, bench.image_size).to(bench.device).train()
    with bench.device:  # Swin-L's random weights take seconds on a CPU
        network = make_network(what, bench.sizes, bench.image_size)
    return network.to(bench.device).train()


def step_of(what: str) -> Callable:
    """The recipe's own `step_fn`."""
    if what != LLM_MDE:
        return make_step(what)
    from llm_mde.train import step_fn

    return partial(step_fn, loss=DepthLossConfig(), max_depth=MAX_DEPTH)


def optimizer_of(what: str, network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The recipe's own optimizer of everything that is trained."""
    make = adamw if what == LLM_MDE else adam
    return make(trainable_parameters(network), config)


def batch_of(what: str, count: int, bench: Bench) -> Batch:
    """Made-up images and depths in pinned memory, as the loader hands them on."""
    batch = make_batch(count, bench.image_size, bench.sizes, torch.device("cpu"))
    if what == LLM_MDE:
        features = torch.randn(count, 1024, generator=torch.Generator().manual_seed(1))
        batch = replace(batch, image_feature=features)
    return batch.pin_memory() if bench.device.type == "cuda" else batch


def llm_mde(is_tiny: bool, image_size: tuple[int, int]) -> nn.Module:
    """LLM-MDE as in configs/nyu/llm_mde.yaml, or a tiny one; every fourth byte is a token."""
    # Imported here: transformers and peft take seconds, and the other recipes need neither.
    from transformers import GPT2Config

    from llm_mde.language_model import LanguageModel, LanguageModelConfig
    from llm_mde.language_sources import build_body
    from llm_mde.model import LLMDepth, LLMDepthConfig, Setting, build_vision
    from llm_mde.prompt import PromptConfig
    from llm_mde.random_weights import fill_with_random
    from llm_mde.reprogramming import ReprogrammingConfig
    from llm_mde.tokenizer import PromptTokenizer
    from llm_mde.vision_encoder import VisionConfig

    vision: dict[str, Any] = {"weights": None}
    sizes = {"n_embd": 768, "n_head": 12, "n_layer": 4}
    reprogramming = ReprogrammingConfig()
    if is_tiny:
        vision |= {"embed_dim": 32, "depth": 2, "num_heads": 2, "image_size": (64, 96)}
        sizes = {"n_embd": 32, "n_head": 2, "n_layer": 2}
        reprogramming = ReprogrammingConfig(num_prototypes=8, num_heads=2)
    named = LanguageModelConfig(name="gpt2", num_layers=sizes["n_layer"])
    architecture = GPT2Config(**sizes)
    body = build_body(architecture)
    fill_with_random(body, architecture.initializer_range, seed=0)
    tokenizer = PromptTokenizer(lambda text: list(text.encode()[::4]))
    config = LLMDepthConfig(VisionConfig(**vision), None, reprogramming, named)
    setting = Setting(image_size, MAX_DEPTH, seed=0)
    encoder = build_vision(config, setting, pretrained=False)
    language = LanguageModel(named, body, tokenizer)
    return LLMDepth(config, PromptConfig(), setting, encoder, language)
