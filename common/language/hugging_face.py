"""`hf:NAME_OR_FOLDER[@REVISION]`: any text model of Hugging Face, frozen, as a text encoder.

Data flow: captions -> tokens [B, L] -> token states [B, L, C] -> pooled as the model's own files
say, else their mean -> perhaps linear layers -> length 1. Models of text and images (CLIP, SigLIP
...) give their projected text features, encoder-decoders (T5, BART ...) their encoder's states.

Legend: B captions, L tokens, C width.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError
from common.language.caption_length import CaptionLimit
from common.language.model_source import ModelSource, commit_of, find_model
from common.language.sentence_files import (
    PoolingMode,
    SentenceSettings,
    load_dense,
    read_settings,
)
from common.language.towers import Progress, encode_in_batches
from common.runtime.hub import load_from_hub

_ADVICE = (
    "check text.encoder and the network, or name a local folder with config.json, weights and "
    "tokenizer (hf:FOLDER); ready feature files and untrained:0 need nothing"
)
# Weights that are never asked: of what follows the token states, and of the image side.
_UNUSED = ("pooler.", "decoder.", "vision", "visual", "logit_", "lm_head", "cls.")
_CPU_BATCH = 64  # captions whose states fit into a processor's cache


def load_hugging_face(spec: str, device: torch.device) -> "HuggingFaceTextEncoder":
    """The text encoder of `hf:NAME_OR_FOLDER[@REVISION]`, from the hub, its cache, or a folder."""
    source = find_model(spec)
    transformers.utils.logging.disable_progress_bar()

    def load() -> "HuggingFaceTextEncoder":
        settings = read_settings(source)
        tokenizer = _load_tokenizer(source, settings)
        model = _load_model(source, settings)
        dense = nn.Sequential(*(load_dense(source, path) for path in settings.dense))
        commit = commit_of(source, settings.subfolder)
        if settings.pooling is not None and hasattr(model, "get_text_features"):
            raise UserError(
                f"encoder '{spec}': a model of text and images with a pooling of its own; take "
                "another"
            )
        facts = {} if commit is None else {"encoder_commit": commit}
        return HuggingFaceTextEncoder(model, tokenizer, settings, dense, device, facts)

    return load_from_hub(f"text model {spec}", _ADVICE, load, source.is_folder)


class HuggingFaceTextEncoder:
    """A `TextEncoder` of a network, its tokenizer, and what comes after the token states."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: SentenceSettings,
        dense: nn.Sequential,
        device: torch.device,
        facts: dict[str, str],
    ) -> None:
        self.device, self.facts = device, facts
        self.limit = limit_of(model, tokenizer, settings)
        self._model = model.to(device)
        self._dense = dense.to(device).eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._settings = settings
        # SigLIP was trained on tokens padded to one length, and without a mask.
        self._is_siglip = model.config.model_type.startswith("siglip")

    def encode(
        self,
        captions: Sequence[str],
        batch_size: int = 256,
        progress: Progress = lambda count: None,
    ) -> Tensor:
        """float32 [N, D] on the CPU. Captions of similar lengths are read together."""
        if self.device.type == "cpu":
            batch_size = min(batch_size, _CPU_BATCH)
        order = sorted(range(len(captions)), key=lambda row: -len(captions[row]))
        in_order = [captions[row] for row in order]
        features = encode_in_batches(in_order, batch_size, self._encode_batch, progress)
        return features[torch.tensor(order).argsort()]

    def _encode_batch(self, captions: Sequence[str]) -> Tensor:
        tokens = self._tokenizer(
            sentences_of(captions, self._tokenizer, self._settings),
            padding="max_length" if self._is_siglip else True,
            truncation=self.limit.longest is not None,
            max_length=self.limit.longest,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.device)
        mask = tokens["attention_mask"]  # [B, L]
        if self._is_siglip:
            del tokens["attention_mask"]
        return self._dense(self._features(tokens, mask))

    def _features(self, tokens: Any, mask: Tensor) -> Tensor:
        """Features [B, C] before the linear layers."""
        if hasattr(self._model, "get_text_features"):
            output = _call(self._model.get_text_features, tokens)
            return output if isinstance(output, Tensor) else output.pooler_output
        output = _call(self._model.forward, tokens)
        if getattr(output, "text_embeds", None) is not None:
            return output.text_embeds
        modes = self._settings.pooling or ("mean",)
        return torch.cat([pool(output.last_hidden_state, mask, mode) for mode in modes], dim=1)


def pool(states: Tensor, mask: Tensor, mode: PoolingMode) -> Tensor:
    """Token states [B, L, C] -> [B, C]; mask [B, L]: 1 = a token, 0 = padding behind it."""
    weights = mask[..., None].to(states.dtype)  # [B, L, 1]
    match mode:
        case "cls":
            return states[:, 0]
        case "max":
            return states.masked_fill(weights == 0, -torch.inf).amax(dim=1)
        case "mean":
            return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
        case "mean_sqrt_len":
            return (states * weights).sum(1) / weights.sum(1).clamp(min=1).sqrt()
        case "weightedmean":  # later tokens count more
            weights = weights * torch.arange(1, states.shape[1] + 1, device=mask.device)[:, None]
            return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
        case "lasttoken":
            last = (mask.sum(1) - 1).clamp(min=0)  # [B]
            return states[torch.arange(len(states), device=mask.device), last]


def load_hugging_face_limit(spec: str) -> CaptionLimit:
    """How much `hf:NAME_OR_FOLDER[@REVISION]` reads of a caption; needs no weights."""
    source = find_model(spec)

    def load() -> CaptionLimit:
        settings = read_settings(source)
        tokenizer = _load_tokenizer(source, settings)
        config = transformers.AutoConfig.from_pretrained(
            source.name, **source.options(settings.subfolder)
        )
        kind = _class_for(config)
        build = getattr(kind, "from_config", None) or kind._from_config
        with torch.device("meta"):
            return limit_of(build(config), tokenizer, settings)

    return load_from_hub(f"the tokenizer of {spec}", _ADVICE, load, source.is_folder)


def limit_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: SentenceSettings
) -> CaptionLimit:
    """How much of a caption is read of this network and tokenizer."""

    def encode(captions: Sequence[str]) -> list[list[int]]:
        sentences = sentences_of(captions, tokenizer, settings)
        return tokenizer(sentences, add_special_tokens=False, verbose=False).input_ids

    def decode(tokens: list[int]) -> str:
        return str(tokenizer.decode(tokens))

    num_marks = tokenizer.num_special_tokens_to_add()
    return CaptionLimit(encode, decode, num_marks, longest_input(model, tokenizer, settings))


def sentences_of(
    captions: Sequence[str], tokenizer: PreTrainedTokenizerBase, settings: SentenceSettings
) -> list[str]:
    """What the tokenizer is given."""
    sentences = [settings.prompt + caption for caption in captions]
    if settings.lowercase:
        sentences = [sentence.lower() for sentence in sentences]
    return [sentence or _words_for_nothing(tokenizer) for sentence in sentences]


def longest_input(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: SentenceSettings
) -> int | None:
    """Tokens that the network reads of a sentence; None: any number."""
    config = getattr(model.config, "text_config", model.config)
    limits = [settings.max_length, getattr(config, "max_position_embeddings", None)]
    for name, module in model.named_modules():
        is_table = isinstance(module, nn.Embedding) and name.endswith("position_embeddings")
        if is_table and module.padding_idx is not None:  # RoBERTa counts from behind the padding's
            limits.append(module.num_embeddings - module.padding_idx - 1)
    known = [limit for limit in limits if limit is not None and limit > 0]
    longest = min([*known, tokenizer.model_max_length])
    return longest if longest < transformers.tokenization_utils_base.LARGE_INTEGER else None


def _load_tokenizer(source: ModelSource, settings: SentenceSettings) -> Any:
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
        source.name, **source.options(settings.subfolder)
    )
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    if tokenizer.pad_token_id is None:  # GPT-2: any token will do behind the mask
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token_id is None:
        raise UserError(f"{source.name}: its tokenizer has no token to pad with; take another")
    return tokenizer


def _words_for_nothing(tokenizer: Any) -> str:
    """What is read for an empty caption: itself, if the tokenizer makes any token of it."""
    if tokenizer("").input_ids:
        return ""
    return tokenizer.bos_token or tokenizer.eos_token or tokenizer.pad_token


def _load_model(source: ModelSource, settings: SentenceSettings) -> PreTrainedModel:
    """The network in float32; a `UserError` if weights that are used are not in its files."""
    options = source.options(settings.subfolder)
    config = transformers.AutoConfig.from_pretrained(source.name, **options)
    model, found = _class_for(config).from_pretrained(
        source.name, config=config, output_loading_info=True, **options
    )
    missing = sorted(key for key in found["missing_keys"] if not key.startswith(_UNUSED))
    if missing:  # transformers would fill them with random numbers
        raise UserError(
            f"{source.name} lacks {len(missing)} weights, first {missing[0]}; config.json and "
            "weights are of different models"
        )
    if config.is_encoder_decoder and hasattr(model, "decoder"):
        model = model.get_encoder()
    return model.float().eval().requires_grad_(False)


def _class_for(config: Any) -> Any:
    """What loads the part of the model that reads text."""
    if config.model_type == "clip_text_model" and any(
        name.endswith("WithProjection") for name in config.architectures or ()
    ):
        return transformers.CLIPTextModelWithProjection
    if config.is_encoder_decoder and type(config) in transformers.MODEL_FOR_TEXT_ENCODING_MAPPING:
        return transformers.AutoModelForTextEncoding
    return transformers.AutoModel


def _call(function: Callable[..., Any], tokens: Any) -> Any:
    """Call with those of the tokens' tensors that it takes: not every network has token types."""
    takes = inspect.signature(function).parameters
    return function(**{name: value for name, value in tokens.items() if name in takes})
