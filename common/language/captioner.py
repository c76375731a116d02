"""Captions by any Hugging Face model that turns an image into text (BLIP, BLIP-2, GIT, LLaVA ...).

    captioner = Captioner(CaptionSettings("Salesforce/blip-image-captioning-large"), device)
    captioner.caption(["room/a.jpg"], [image])      # [["a kitchen with a stove"]]

Sampled captions are the same whatever the batch and the number of processes: every caption draws
from a generator of its own, seeded by --seed, the image's key and the caption's number.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from common.errors import UserError
from common.language.model_source import ModelSource, commit_of, folder_sha256
from common.runtime.hub import load_from_hub
from common.runtime.precision import DTYPES
from common.text_files import to_bytes

CHAT_PROMPT = "Describe this picture in one short sentence."  # for models that are asked
_ADVICE = (
    "check the name, or copy the model and give its folder: any image-captioning or "
    "image-text-to-text model that transformers knows will do"
)


@dataclass(frozen=True)
class CaptionSettings:
    """What decides the captions; written beside each of them."""

    model: str  # name on the hub, or a folder
    revision: str | None = None  # branch, tag or commit; in the files: the commit
    prompt: str | None = None  # how the caption starts, or what the model is asked
    temperature: float = 0.0  # 0: the most probable words
    num_captions: int = 1
    num_beams: int = 1
    max_new_tokens: int = 40
    seed: int = 0
    precision: str = "fp32"  # fp32, bf16 or fp16

    def provenance(self) -> dict[str, Any]:
        """The settings; the revision is the model's commit, or the hash of a folder's files."""
        source = ModelSource(self.model, self.revision, Path(self.model).is_dir())

        def load() -> str | None:
            transformers.AutoConfig.from_pretrained(self.model, revision=self.revision)
            return None if source.is_folder else commit_of(source)

        commit = load_from_hub(f"model {self.model}", _ADVICE, load, source.is_folder)
        if source.is_folder:
            commit = f"sha256:{folder_sha256(self.model)}"
        return {**asdict(self), "revision": commit or self.revision}


class Captioner:
    """A model with its processor, ready to caption."""

    def __init__(self, settings: CaptionSettings, device: torch.device) -> None:
        self.settings, self.device = settings, device
        self.dtype = DTYPES[settings.precision]
        transformers.logging.set_verbosity_error()

        def load() -> tuple[Any, Any]:
            processor = _load_processor(settings)
            return processor, transformers.AutoModelForImageTextToText.from_pretrained(
                settings.model, revision=settings.revision, dtype=self.dtype
            )

        is_folder = Path(settings.model).is_dir()
        self._processor, model = load_from_hub(f"model {settings.model}", _ADVICE, load, is_folder)
        self._model = model.to(device).eval()
        self._is_chat = getattr(self._processor, "chat_template", None) is not None

    @torch.inference_mode()
    def caption(self, keys: Sequence[str], images: Sequence[np.ndarray]) -> list[list[str]]:
        """Up to `num_captions` sentences for each RGB image, uint8 [H, W, 3]; empty ones go."""
        inputs = {
            name: value.to(self.device, self.dtype if value.is_floating_point() else None)
            for name, value in self._inputs([Image.fromarray(image) for image in images]).items()
            if isinstance(value, Tensor)
        }
        prompt_ids = inputs.get("input_ids")
        prompt_ids = None if prompt_ids is None else prompt_ids.clone()  # BLIP writes into them
        try:
            tokens = self._model.generate(**inputs, **self._generation(keys))  # [B * N, L]
        except torch.OutOfMemoryError as error:
            raise UserError("the GPU's memory is full; use a smaller --batch-size") from error
        texts = self._decode(tokens, prompt_ids)
        n = self.settings.num_captions
        groups = [texts[first : first + n] for first in range(0, len(texts), n)]
        return [[text for text in group if text] for group in groups]

    def _inputs(self, images: list[Image.Image]) -> transformers.BatchFeature:
        prompt = self.settings.prompt
        if self._is_chat:
            text = self._processor.apply_chat_template(
                _question(prompt or CHAT_PROMPT), add_generation_prompt=True
            )
            start = self._processor.tokenizer.bos_token
            has_start = start is not None and text.startswith(start)
            return self._processor(
                images=[[image] for image in images],
                text=[text] * len(images),
                return_tensors="pt",
                padding=True,
                **({"add_special_tokens": False} if has_start else {}),
            )
        if prompt is None:
            return self._processor(images=images, return_tensors="pt")
        inputs = self._processor(
            images=images, text=[prompt] * len(images), return_tensors="pt", padding=True
        )
        if self._model.config.model_type == "git":  # its tokenizer ends the sentence there
            inputs["input_ids"] = inputs["input_ids"][:, :-1]
            inputs["attention_mask"] = inputs["attention_mask"][:, :-1]
        return inputs

    def _generation(self, keys: Sequence[str]) -> dict[str, Any]:
        """The arguments of `generate`."""
        s = self.settings
        common = {"max_new_tokens": s.max_new_tokens, "num_beams": s.num_beams}
        if s.temperature == 0:
            return {**common, "do_sample": False}
        seeds = [_seed(s.seed, key, number) for key in keys for number in range(s.num_captions)]
        return {
            **common,
            "do_sample": True,
            "num_return_sequences": s.num_captions,
            "temperature": 1.0,  # the temperature, and the draw, are SeededSampling's
            "top_k": 0,
            "top_p": 1.0,
            "logits_processor": [SeededSampling(seeds, s.temperature, self.device)],
        }

    def _decode(self, tokens: Tensor, prompt_ids: Tensor | None) -> list[str]:
        """The sentences without the prompt, whether the model repeats it or not."""
        prompts = [""] * len(tokens)
        if prompt_ids is not None:
            prompt_ids = prompt_ids.repeat_interleave(len(tokens) // len(prompt_ids), dim=0)
            length = prompt_ids.shape[1]
            if torch.equal(tokens[:, :length], prompt_ids):
                tokens = tokens[:, length:]
            else:
                prompts = self._to_text(prompt_ids)
        texts = self._to_text(tokens)
        return [t.removeprefix(p).strip() for t, p in zip(texts, prompts, strict=True)]

    def _to_text(self, tokens: Tensor) -> list[str]:
        texts = self._processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]


class SeededSampling(transformers.LogitsProcessor):
    """Draws every row's next word from the row's own generator.

    Adding Gumbel noise and taking the largest value draws from the softmax. What `generate` then
    samples from has one word left.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, device: torch.device) -> None:
        self.temperature = temperature
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores: [R, V] logits, one row for each generator."""
        exponential = torch.stack(
            [
                torch.empty(scores.shape[1], device=scores.device).exponential_(generator=g)
                for g in self._generators
            ]
        )  # [R, V]
        word = (scores.float() / self.temperature - exponential.log()).argmax(1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, word, 0.0)


class _TwoProcessors:
    """For models that publish an image processor and a tokenizer, and nothing that joins them."""

    def __init__(self, name: str, revision: str | None) -> None:
        self._images = transformers.AutoImageProcessor.from_pretrained(name, revision=revision)
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(name, revision=revision)
        self.batch_decode = self._tokenizer.batch_decode

    def __call__(
        self, images: list[Image.Image], text: list[str] | None = None, **options: Any
    ) -> transformers.BatchFeature:
        if text is not None:
            raise UserError("this model takes no --prompt")
        return self._images(images, return_tensors="pt")


def _load_processor(settings: CaptionSettings) -> Any:
    processor = transformers.AutoProcessor.from_pretrained(
        settings.model, revision=settings.revision
    )
    if not hasattr(processor, "image_processor"):
        return _TwoProcessors(settings.model, settings.revision)
    processor.tokenizer.padding_side = "left"  # what is generated follows the prompt
    return processor


def _question(prompt: str) -> list[dict[str, Any]]:
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    return [{"role": "user", "content": content}]


def _seed(seed: int, key: str, number: int) -> int:
    digest = hashlib.sha256(to_bytes(f"{seed} {number} {key}")).digest()
    return int.from_bytes(digest[:7], "big")
