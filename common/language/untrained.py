"""`untrained:<seed>`: small random towers that need no download.

They tell captions (and images) apart and know nothing about what they mean.
"""

from collections.abc import Callable
from functools import lru_cache

import open_clip
import torch
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

from common.errors import UserError
from common.language.caption_length import CaptionLimit
from common.language.clip import limit_of
from common.language.towers import TowerImageEncoder, TowerTextEncoder

UNTRAINED_DIM = 1024  # as CLIP RN50
MAX_SEED_DIGITS = 18  # what a 64-bit seed holds for certain


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


def load_untrained_text(seed: int, device: torch.device) -> TowerTextEncoder:
    """The random text encoder of `seed`."""
    tokenizer = _tokenizer()
    tower = _seeded(UntrainedTextTower, seed).to(device)
    return TowerTextEncoder(tokenizer, tower, limit_of(tokenizer), device)


def load_untrained_limit() -> CaptionLimit:
    """How much the random text encoders read of a caption."""
    return limit_of(_tokenizer())


def load_untrained_images(seed: int, device: torch.device) -> TowerImageEncoder:
    """The random image encoder of `seed`."""
    preprocess = open_clip.image_transform(224, is_train=False, resize_mode="squash")
    return TowerImageEncoder(preprocess, _seeded(_image_tower, seed).to(device), device)


def parse_seed(spec: str) -> int:
    """The seed of `untrained:<seed>`."""
    seed = spec.partition(":")[2]
    if not seed.isdecimal() or len(seed) > MAX_SEED_DIGITS:
        raise UserError(
            f"encoder '{spec[:60]}': expected untrained:<seed>, as untrained:0; a seed "
            f"is a whole number of at most {MAX_SEED_DIGITS} digits"
        )
    return int(seed)


@lru_cache
def _tokenizer() -> open_clip.SimpleTokenizer:
    return open_clip.SimpleTokenizer(context_length=UntrainedTextTower.CONTEXT_LENGTH)


def _image_tower() -> nn.Module:
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
