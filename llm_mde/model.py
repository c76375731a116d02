"""LLM-MDE: a language model, steered by a prompt, reads image tokens; a head makes metric depth.

The network of LLM-MDE (Xia and Wu, 2024, arXiv:2409.01133).

Data flow: image -> ViT -> patch tokens [B, T, C] -> reprogrammed into the words of the language
model [B, T, D] -> behind an adaptive prompt [B, L, D] through the first layers of GPT-2, BERT or
LLaMA -> the tokens' states [B, T, D] -> convolutional head with the image -> meters [B, 1, H, W].
ViT and language model are frozen, with LoRA adapters. Ours: any encoder in the ViT's place
(`image_tokens.py`). docs/llm_mde.md has a picture, and what differs from the published code.

Legend: T image tokens, L prompt tokens, C width of the image tokens, D of the language model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from common.config import build_config, require_at_least, to_dict
from common.language.captions import Several
from common.networks.encoder import EncoderConfig
from llm_mde.frozen import check_frozen, frozen_sha256, leave_out_frozen
from llm_mde.head import AdaptationHead, HeadConfig
from llm_mde.image_tokens import EncoderTokens, HeightWidth, ImageTokens, size_of
from llm_mde.language_model import LanguageModel, LanguageModelConfig
from llm_mde.language_sources import (
    SavedLanguage,
    load_language_model,
    portable_name,
    restore_language_model,
    save_language_model,
)
from llm_mde.prompt import AdaptivePrompt, PromptConfig
from llm_mde.prompt_room import PromptRoom
from llm_mde.reprogramming import ReprogrammingConfig, build_reprogramming
from llm_mde.vision_encoder import VisionConfig, VisionEncoder, build_vision_body, vision_width


@dataclass(frozen=True)
class TokenEncoderConfig(EncoderConfig):
    """As for the other recipes, but it has to be named: without it the ViT gives the tokens."""

    name: str = ""  # swin or timm:NAME; must be given


@dataclass(frozen=True)
class LLMDepthConfig:
    """The parts."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    # None: the vision transformer of `vision` gives the image tokens. Given: the map at stride 16
    # of this encoder does, which sees images of `vision.image_size`; nothing else of `vision` is
    # read.
    encoder: TokenEncoderConfig | None = None
    reprogramming: ReprogrammingConfig = field(default_factory=ReprogrammingConfig)
    language: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    image_dim: int = 1024  # numbers in the CLIP image features that prompt.depth_class reads

    def __post_init__(self) -> None:
        require_at_least(1, self, "image_dim")


@dataclass(frozen=True)
class Setting:
    """What the network takes from the rest of the run."""

    data_size: tuple[int, int]
    max_depth: float  # meters
    seed: int  # of frozen weights that are random


class LLMDepth(nn.Module):
    """The whole of LLM-MDE. `complete`: its state holds the frozen weights too."""

    def __init__(
        self,
        config: LLMDepthConfig,
        prompt: PromptConfig,
        setting: Setting,
        vision: VisionEncoder | EncoderTokens,
        language: LanguageModel,
        complete: bool = False,
    ):
        super().__init__()
        self.config, self.setting, self.complete = config, setting, complete
        self.reads_prompt = config.language.num_layers > 0 and not prompt.is_empty
        self.reads_depth_class = self.reads_prompt and prompt.depth_class
        self.vision, self.language = vision, language
        if config.language.num_layers > 0:
            limit_tokens(vision, setting.data_size, language.context)
        self.reprogramming = build_reprogramming(
            config.reprogramming, vision.dim, language.vocabulary, language.dim
        )
        self.prompt = AdaptivePrompt(prompt, config.image_dim)
        self.head = AdaptationHead(config.head, language.dim, setting.max_depth)
        self.frozen: dict[str, str] = {}
        if not complete:
            parts = {**vision.named_parts, "language": language.body}
            self.frozen = {name: frozen_sha256(part) for name, part in parts.items()}
            leave_out_frozen(self, parts.values())

    def forward(
        self,
        image: Tensor,
        captions: Sequence[str] | None = None,
        image_feature: Tensor | None = None,
    ) -> Tensor:
        """Depth [B, 1, H, W] in meters, float32.

        image: [B, 3, H, W], ImageNet-normalized, any size. captions: B sentences, for
        `prompt.caption`. image_feature: [B, E] of CLIP, for `prompt.depth_class`.
        """
        tokens = self.vision(image)  # [B, T, C]
        tokens = self.reprogramming(tokens, self.language.embeddings)  # [B, T, D]
        prompt = None
        if self.reads_prompt:
            sentences = self.prompt(image, captions, image_feature)
            prompt = self.language.tokenize(sentences, tokens.shape[1])
        states = self.language(tokens, prompt)
        return self.head(states, self.vision.grid_size(size_of(image)), image)

    def check_prompts(self, captions: Mapping[str, Several], size: HeightWidth) -> None:
        """Raise `UserError` if the prompt of one of the images does not fit the context.

        captions: image key -> caption or captions. size: of the largest image (height, width).
        """
        if self.config.language.num_layers == 0:
            return
        language = self.language
        room = PromptRoom(
            language.config.name,
            language.tokenizer,
            language.vocabulary,
            language.context,
            math.prod(self.vision.grid_size(size)),
        )
        room.check(self.prompt.config, captions)

    def get_extra_state(self) -> dict[str, str]:
        """Hashes of the frozen weights the rest was trained beside; empty if complete."""
        return self.frozen

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Refuse a state that was trained beside other frozen weights."""
        names = {"vision": self.config.vision.name, "language": self.config.language.name}
        check_frozen(state, self.frozen, names)

    def size_lines(self) -> list[str]:
        """Parameters of each part and of the whole, and which share is trained."""
        parts = ("vision", "reprogramming", "language", "head")
        lines = [size_line(name, getattr(self, name)) for name in parts]
        return [*lines, size_line("all", self)]

    def describe(self) -> dict[str, Any]:
        """What `load_llm_depth` needs to rebuild this network."""
        return {
            "parts": to_dict(self.config),
            "prompt": to_dict(self.prompt.config),
            "setting": to_dict(self.setting),
            "frozen": self.frozen,
        }


def limit_tokens(vision: ImageTokens, data_size: HeightWidth, context: int) -> None:
    """Half of what the language model reads is for the prompt, or all but the image in training."""
    in_training = math.prod(vision.grid_size(data_size))
    vision.max_tokens = max(in_training, context // 2)


def size_line(name: str, module: nn.Module) -> str:
    """`name: 1.0 M parameters, 0.1 M (10.0 %) trained`."""
    everything = sum(p.numel() for p in module.parameters())
    trained = sum(p.numel() for p in module.parameters() if p.requires_grad)
    share = 100 * trained / max(everything, 1)
    return (
        f"{name}: {everything / 1e6:.2f} M parameters, {trained / 1e6:.2f} M ({share:.1f} %) "
        "trained"
    )


def build_llm_depth(
    config: LLMDepthConfig, prompt: PromptConfig, setting: Setting, restoring: bool = False
) -> LLMDepth:
    """The network at the start of training: frozen parts loaded, the rest from torch's generator.

    restoring: a checkpoint is loaded next, so a ViT that is trained as a whole needs no start.
    `model.encoder` has random weights here; its start is `start_from`'s work, in `train.py`.
    Raises `UserError` for what does not exist or does not fit.
    """
    encoder = build_encoder_tokens(config, setting)
    config.reprogramming.check_width(encoder.dim if encoder else vision_width(config.vision))
    language = load_language_model(config.language, setting.seed)
    needs_start = not restoring or config.vision.train == "lora"
    vision = encoder or build_vision(config, setting, pretrained=needs_start)
    named = replace(config.language, name=portable_name(config.language.name))
    config = replace(config, vision=config.vision.portable(), language=named)
    return LLMDepth(config, prompt, setting, vision, language)


def build_encoder_tokens(config: LLMDepthConfig, setting: Setting) -> EncoderTokens | None:
    """The encoder of `model.encoder`, with random weights; None: the ViT of `model.vision`."""
    if config.encoder is None:
        return None
    rows, columns = config.vision.image_size
    return EncoderTokens(config.encoder, (rows, columns), setting.data_size)


def build_vision(config: LLMDepthConfig, setting: Setting, pretrained: bool) -> VisionEncoder:
    """The ViT of `model.vision`; without `pretrained` its weights come later."""
    body = build_vision_body(config.vision, setting.seed, pretrained)
    return VisionEncoder(config.vision, body, setting.data_size)


def load_llm_depth(checkpoint: dict) -> LLMDepth:
    """Rebuild the network of a checkpoint; its frozen weights come from where they are named.

    A complete checkpoint (`eval.py --merge`) has them itself.
    """
    saved = checkpoint["model_config"]
    config = build_config(LLMDepthConfig, saved["parts"])
    prompt = build_config(PromptConfig, saved["prompt"])
    setting = Setting(**{**saved["setting"], "data_size": tuple(saved["setting"]["data_size"])})
    if "complete" in saved:
        language = restore_language_model(config.language, SavedLanguage(**saved["complete"]))
        encoder = build_encoder_tokens(config, setting)
        vision = encoder or build_vision(config, setting, pretrained=False)
        model = LLMDepth(config, prompt, setting, vision, language, complete=True)
    else:
        model = build_llm_depth(config, prompt, setting, restoring=True)
    model.load_state_dict(checkpoint["model"])
    return model


def complete_checkpoint(checkpoint: dict) -> dict[str, Any]:
    """The same checkpoint with the frozen weights, architecture and tokenizer in it.

    It loads without the hub and without the folders the parts came from; it does not resume.
    """
    model = load_llm_depth(checkpoint)
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    language = to_dict(save_language_model(model.language))
    return {
        **{k: checkpoint[k] for k in ("stage", "recipe", "config", "step", "best_metric")},
        "model": {**model.state_dict(), **weights, "_extra_state": {}},
        "model_config": {**model.describe(), "frozen": {}, "complete": language},
    }
