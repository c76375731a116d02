"""Adaptive prompt: sentences about the task and about this image, for the language model to read.

Every part is a switch, every sentence a template of the config:

    dataset      what depth estimation is
    task         what to do
    statistics   where the image is darkest, brightest, and of median brightness
    depth_class  CLIP's zero-shot choice among DepthCLIP's seven words, image by image
    caption      the image's own caption

`depth_class` compares the image's CLIP feature with the class words' features, both of one CLIP
model (`text.encoder`). With the untrained stand-in the choice means nothing.

The first four parts are LLM-MDE's adaptive prompt. Its class words and the sentence for CLIP are
DepthCLIP's (Zhang et al., 2022), and so is the zero-shot choice, which replaces what the released
code does with raw pixel values. Ours: brightness as what the statistics are of, and the caption.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from common.errors import UserError
from common.images.transforms import IMAGENET_MEAN, IMAGENET_STD
from common.networks.fast import kept
from common.text_files import is_whole_text

# DepthCLIP's, from near to far.
DEPTH_CLASSES = (
    "giant",
    "extremely close",
    "close",
    "not in distance",
    "a little remote",
    "far",
    "unseen",
)
POSITION_NAMES = ("darkest_x", "darkest_y", "brightest_x", "brightest_y", "median_x", "median_y")


@dataclass(frozen=True)
class PromptTemplates:
    """The sentences."""

    # What depth estimation is.
    dataset: str = (
        "Monocular depth estimation is the process of inferring the distance of objects in a "
        "scene from a single 2D image."
    )
    task: str = "Task: estimate the photo's depth."  # what is to be done
    # May name {darkest_x} {darkest_y} {brightest_x} {brightest_y} {median_x} {median_y}, whole per
    # cent of the image's width from the left and of its height from the top.
    statistics: str = (
        "The darkest pixel is at x {darkest_x}%, y {darkest_y}%, the brightest at x "
        "{brightest_x}%, y {brightest_y}%, the median at x {median_x}%, y {median_y}%."
    )
    depth_class: str = "The photo's depth is {depth_class}."  # may name {depth_class}
    caption: str = "{caption}"  # may name {caption}
    clip: str = "This object is {depth_class}."  # what CLIP reads of a class word, not the LLM

    def __post_init__(self) -> None:
        words = {
            "statistics": dict.fromkeys(POSITION_NAMES, 0),
            "depth_class": {"depth_class": ""},
            "clip": {"depth_class": ""},
            "caption": {"caption": ""},
        }
        for name in ("dataset", "task", "statistics", "depth_class", "caption", "clip"):
            known = words.get(name, {})
            if not is_whole_text(getattr(self, name)):
                raise ValueError(f"{name}: has half a character; correct it")
            try:
                getattr(self, name).format(**known)
            except (KeyError, IndexError, ValueError):
                fields = ", ".join(f"{{{word}}}" for word in known) or "nothing in braces"
                raise ValueError(f"{name}: may name {fields}") from None


@dataclass(frozen=True)
class PromptConfig:
    """Which parts the prompt has, in this order; all off: no prompt."""

    dataset: bool = True  # what depth estimation is
    task: bool = True  # what is to be done
    statistics: bool = True  # where the darkest, the brightest and the median pixel are
    depth_class: bool = True  # the one of DepthCLIP's seven classes that CLIP finds nearest
    caption: bool = False  # the image's caption (text.captions)
    templates: PromptTemplates = field(default_factory=PromptTemplates)

    @property
    def is_empty(self) -> bool:
        return not any((self.dataset, self.task, self.statistics, self.depth_class, self.caption))


class AdaptivePrompt(nn.Module):
    """Images, captions and CLIP features -> one list of sentences per image."""

    class_features: Tensor

    def __init__(self, config: PromptConfig, image_dim: int):
        super().__init__()
        self.config = config
        num_rows = len(DEPTH_CLASSES) if config.depth_class else 0
        self.register_buffer("class_features", torch.zeros(num_rows, image_dim))

    def clip_sentences(self) -> list[str]:
        """What CLIP's text tower is given for the seven classes."""
        return [self.config.templates.clip.format(depth_class=word) for word in DEPTH_CLASSES]

    def set_class_features(self, features: Tensor) -> None:
        """features: [7, E], of `clip_sentences`, from the CLIP model the image features are of."""
        if features.shape != self.class_features.shape:
            raise UserError(
                f"text.encoder gives features of {features.shape[1]} numbers, the image features "
                f"have {self.class_features.shape[1]} (model.image_dim); use one CLIP for both"
            )
        self.class_features.copy_(features)

    @torch.compiler.disable
    def forward(
        self, image: Tensor, captions: Sequence[str] | None, image_feature: Tensor | None
    ) -> list[list[str]]:
        """image: [B, 3, H, W], ImageNet-normalized; image_feature: [B, E], for `depth_class`."""
        positions = words = None
        found: list[Tensor] = []  # all that words depend on: to read it is to wait for a GPU
        if self.config.statistics:
            found.append(brightness_positions(image).flatten(1))  # [B, 6]
        if self.config.depth_class:
            if image_feature is None:
                raise ValueError("prompt.depth_class is on, but no image_feature was given")
            found.append(depth_classes(image_feature, self.class_features)[:, None])
        rows = torch.cat(found, dim=1).tolist() if found else []
        if self.config.statistics:
            positions = [row[: len(POSITION_NAMES)] for row in rows]
        if self.config.depth_class:
            words = [DEPTH_CLASSES[row[-1]] for row in rows]
        return compose_prompts(self.config, len(image), positions, words, captions)


def compose_prompts(
    config: PromptConfig,
    count: int,
    positions: Sequence[Sequence[int]] | None,
    words: Sequence[str] | None,
    captions: Sequence[str] | None,
) -> list[list[str]]:
    """`count` prompts, each a list of sentences, from the values that the switched-on parts need.

    positions: the six numbers of `brightness_positions` for each image. words: its depth class.
    """
    templates = config.templates
    parts: list[list[str]] = []
    if config.dataset:
        parts.append([templates.dataset] * count)
    if config.task:
        parts.append([templates.task] * count)
    if config.statistics:
        values = [dict(zip(POSITION_NAMES, row, strict=True)) for row in _given(positions)]
        parts.append([templates.statistics.format(**value) for value in values])
    if config.depth_class:
        parts.append([templates.depth_class.format(depth_class=word) for word in _given(words)])
    if config.caption:
        parts.append([templates.caption.format(caption=caption) for caption in _given(captions)])
    if any(len(part) != count for part in parts):
        raise ValueError(f"{count} images, but {[len(part) for part in parts]} sentences per part")
    return [[part[index] for part in parts] for index in range(count)]


def longest_prompts(config: PromptConfig, captions: Iterable[str]) -> list[list[str]]:
    """The prompt of every distinct caption and class word, with numbers of the most digits."""
    distinct = sorted(set(captions)) if config.caption else [""]
    pairs = [
        (word, c) for word in DEPTH_CLASSES[: None if config.depth_class else 1] for c in distinct
    ]
    numbers = [[100] * len(POSITION_NAMES)] * len(pairs)
    words, texts = [word for word, _ in pairs], [text for _, text in pairs]
    return compose_prompts(config, len(pairs), numbers, words, texts)


def _given(values: Sequence | None) -> Sequence:
    if values is None:
        raise ValueError("the prompt has a part whose values (captions?) were not given")
    return values


def depth_classes(image_feature: Tensor, class_features: Tensor) -> Tensor:
    """Zero-shot: the number of each image's nearest class word, int64 [B].

    image_feature: [B, E]; class_features: [7, E]; both L2-normalized.
    """
    with torch.autocast(image_feature.device.type, enabled=False):
        return (image_feature.float() @ class_features.float().T).argmax(dim=1)


def brightness_positions(image: Tensor) -> Tensor:
    """Where the darkest, brightest and (lower) median pixels are: int64 [B, 3, 2], (x, y).

    In whole per cent of width and height, 0 = left or top, 100 = right or bottom; of equally bright
    pixels the first one in reading order. image: [B, 3, H, W], ImageNet-normalized.
    """
    mean, std = _imagenet_statistics(image.device, image.dtype)
    brightness = (image * std + mean).mean(1).flatten(1)  # [B, H*W]
    median = brightness.median(dim=1, keepdim=True).values
    found = torch.stack(
        [brightness.argmin(1), brightness.argmax(1), (brightness - median).abs().argmin(1)], dim=1
    )  # [B, 3]
    height, width = image.shape[-2:]
    x, y = found % width, found // width
    return torch.stack([_per_cent(x, width), _per_cent(y, height)], dim=-1)  # [B, 3, 2]


@kept(8)
def _imagenet_statistics(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Mean and standard deviation, [2, 3, 1, 1]."""
    both = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device=device, dtype=dtype)
    return both[:, :, None, None]


def _per_cent(index: Tensor, count: int) -> Tensor:
    return (100 * index.double() / max(count - 1, 1)).round().long()
