"""CLIP text and image towers by one word, `<open_clip model>:<weights>`, and an untrained stand-in.

`RN50:openai` and `ViT-B-32:laion2b_s34b_b79k` name open_clip's weights, downloaded once.
`RN50-quickgelu:/path/RN50.pt` names a file; OpenAI's weights need a `-quickgelu` model then.
`untrained:<seed>` is a small random tower that needs no download.
"""

import difflib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import open_clip
import torch
from open_clip.pretrained import get_pretrained_cfg
from open_clip.transformer import TextTransformer, VisionTransformer
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import UserError
from common.images.reading import read_image
from common.runtime.hub import one_line_failure

UNTRAINED_DIM = 1024  # as CLIP RN50
MAX_SEED_DIGITS = 18  # what a 64-bit seed holds for certain
READERS = 4  # threads that decode and resize images
Report = Callable[[int], object]
_ALTERNATIVES = (
    "on a machine without network, copy the weights and name the file (<model>:<file>), use ready "
    "feature files, or untrained:0"
)


class ClipTextEncoder:
    """Captions -> L2-normalized features."""

    def __init__(self, spec: str, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self._tokenize, self._features = _text_tower(*parse_spec(spec), self.device)

    @torch.no_grad()
    def encode(
        self, captions: Sequence[str], batch_size: int = 256, report: Report = lambda count: None
    ) -> Tensor:
        """float32 [N, D] on the CPU. report: called with the size of each finished batch."""
        features = []
        for batch in _batches(captions, batch_size):
            tokens = self._tokenize(list(batch)).to(self.device)  # [B, L]
            features.append(F.normalize(self._features(tokens).float(), dim=-1).cpu())
            report(len(batch))
        return torch.cat(features)  # [N, D]


class ClipImageEncoder:
    """Image files -> L2-normalized features, with the preprocessing the tower was trained with."""

    def __init__(self, spec: str, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self._preprocess, self._features = _image_tower(*parse_spec(spec), self.device)

    @torch.no_grad()
    def encode(
        self,
        files: Sequence[str | Path],
        batch_size: int = 32,
        report: Report = lambda count: None,
    ) -> Tensor:
        """float32 [N, E] on the CPU. report: called with the size of each finished batch."""
        features = []
        with ThreadPoolExecutor(READERS) as pool:
            for batch in _batches(files, batch_size):
                pixels = torch.stack(list(pool.map(self._read, batch)))  # [B, 3, S, S]
                encoded = self._features(pixels.to(self.device))  # [B, E]
                features.append(F.normalize(encoded.float(), dim=-1).cpu())
                report(len(batch))
        return torch.cat(features)  # [N, E]

    def _read(self, file: str | Path) -> Tensor:
        return self._preprocess(Image.fromarray(read_image(file)))


class UntrainedTextTower(nn.Module):
    """A small random CLIP text transformer: tokens int64 [B, 32] -> float32 [B, 1024].

    CLIP reads the end-of-text token; without training, the mean over the word tokens and unit-size
    word embeddings keep captions as far apart as the trained tower does.
    """

    CONTEXT_LENGTH = 32

    def __init__(self) -> None:
        super().__init__()
        self.transformer = TextTransformer(
            context_length=self.CONTEXT_LENGTH,
            width=256,
            heads=4,
            layers=2,
            output_dim=None,
            output_tokens=True,
        )
        nn.init.normal_(self.transformer.token_embedding.weight)
        self.project = nn.Linear(256, UNTRAINED_DIM, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        start_of_text = self.transformer.vocab_size - 2
        words = ((tokens > 0) & (tokens < start_of_text))[..., None]  # [B, L, 1]
        hidden = self.transformer(tokens)[1]  # [B, L, 256]
        mean = (hidden * words).sum(1) / words.sum(1).clamp(min=1)  # [B, 256]
        return self.project(mean)


def parse_spec(spec: str) -> tuple[str, str]:
    """`<model>:<weights>`, both checked to exist; or `untrained:<seed>`."""
    model, _, weights = spec.partition(":")
    if model == "untrained":
        if not weights.isdecimal() or len(weights) > MAX_SEED_DIGITS:
            raise UserError(
                f"encoder '{spec[:60]}': expected untrained:<seed>, as untrained:0; a seed "
                f"is a whole number of at most {MAX_SEED_DIGITS} digits"
            )
        return model, weights
    if model not in open_clip.list_models():
        near = difflib.get_close_matches(model, ["untrained", *open_clip.list_models()], 3, 0.4)
        raise UserError(
            f"encoder '{spec}': no open_clip model '{model}'; nearest: {', '.join(near) or 'none'}"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights not in tags and not Path(weights).is_file():
        raise UserError(
            f"encoder '{spec}': '{weights}' is neither a file nor weights of {model}; "
            f"it has {', '.join(tags) or 'none'}"
        )
    return model, weights


def _text_tower(
    model: str, weights: str, device: torch.device
) -> tuple[Callable[[list[str]], Tensor], Callable[[Tensor], Tensor]]:
    """Captions -> tokens [B, L], and tokens -> features [B, D]."""
    if model == "untrained":
        tokenizer = open_clip.SimpleTokenizer(context_length=UntrainedTextTower.CONTEXT_LENGTH)
        return tokenizer, _seeded(UntrainedTextTower, int(weights)).to(device)
    with one_line_failure(f"CLIP weights {model}:{weights}", _ALTERNATIVES):
        clip, _ = _load_clip(model, weights)
        return open_clip.get_tokenizer(model), clip.to(device).eval().encode_text


def _image_tower(
    model: str, weights: str, device: torch.device
) -> tuple[Callable[[Image.Image], Tensor], Callable[[Tensor], Tensor]]:
    """One picture -> pixels [3, S, S], and pixels [B, 3, S, S] -> features [B, E]."""
    if model == "untrained":
        preprocess = open_clip.image_transform(224, is_train=False, resize_mode="squash")
        return preprocess, _seeded(_untrained_image_tower, int(weights)).to(device)
    with one_line_failure(f"CLIP weights {model}:{weights}", _ALTERNATIVES):
        clip, preprocess = _load_clip(model, weights)
        return preprocess, clip.to(device).eval().encode_image


def _untrained_image_tower() -> nn.Module:
    """A small random vision transformer that averages its patch tokens."""
    return VisionTransformer(
        image_size=224,
        patch_size=32,
        width=256,
        layers=2,
        heads=4,
        mlp_ratio=4.0,
        output_dim=UNTRAINED_DIM,
        pool_type="avg",
    )


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a module from `seed`, leaving the global generator where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval()


def _load_clip(model: str, weights: str) -> tuple[open_clip.CLIP, Callable[[Image.Image], Tensor]]:
    # OpenAI's weights were trained with QuickGELU, which the plain model names do not imply.
    quick_gelu = get_pretrained_cfg(model, weights).get("quick_gelu", False)
    return open_clip.create_model_from_pretrained(
        model, pretrained=weights, force_quick_gelu=quick_gelu
    )


def _batches(values: Sequence, batch_size: int) -> Iterator[Sequence]:
    for first in range(0, len(values), batch_size):
        yield values[first : first + batch_size]
