"""Cross-modal reprogramming: image tokens are rewritten in the words of the language model.

word embeddings [V, D] -> a learned linear mix -> P text prototypes [P, D]; image tokens [B, T, C]
ask the prototypes by multi-head attention -> [B, T, D] -> residual bottleneck MLP (D/4).

Prototypes and attention are Time-LLM's reprogramming (Jin et al., ICLR 2024); LLM-MDE applies it to
image tokens and adds the bottleneck. Ours: the LayerNorm on the prototypes, a key and a value
projection (the released code attends with one for both, by a slip), and the ablation `linear`.
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from common.config import require_at_least
from common.errors import UserError


@dataclass(frozen=True)
class ReprogrammingConfig:
    """How image tokens become words."""

    # `linear`, the ablation: tokens are only projected to the language model's width.
    kind: Literal["cross_attention", "linear"] = "cross_attention"
    num_prototypes: int = 1000  # of `cross_attention`: mixtures of the word embeddings
    num_heads: int = 24  # of `cross_attention`; they must divide the width of the image tokens

    def __post_init__(self) -> None:
        require_at_least(1, self, "num_prototypes", "num_heads")

    def check_width(self, width: int) -> None:
        """Raise `UserError` unless the heads divide the width of the image tokens."""
        if self.kind == "cross_attention" and width % self.num_heads:
            nearest = next(n for n in range(self.num_heads, 0, -1) if width % n == 0)
            raise UserError(
                f"model.reprogramming.num_heads: {self.num_heads} does not divide the vision "
                f"encoder's width {width}; {nearest} does"
            )


class Reprogramming(nn.Module):
    """Multi-head attention from image tokens to text prototypes; queries as wide as the tokens."""

    def __init__(self, config: ReprogrammingConfig, token_dim: int, vocabulary: int, llm_dim: int):
        super().__init__()
        self.num_heads = config.num_heads
        self.mix = nn.Linear(vocabulary, config.num_prototypes)
        self.norm = nn.LayerNorm(llm_dim)  # embedding tables differ tenfold in scale
        self.query = nn.Linear(token_dim, token_dim)
        self.key = nn.Linear(llm_dim, token_dim)
        self.value = nn.Linear(llm_dim, token_dim)
        self.out = nn.Linear(token_dim, llm_dim)
        self.bottleneck = nn.Sequential(
            nn.Linear(llm_dim, llm_dim // 4), nn.GELU(), nn.Linear(llm_dim // 4, llm_dim)
        )

    def prototypes(self, embeddings: Tensor) -> Tensor:
        """embeddings: [V, D] -> [P, D], the same for every image."""
        return self.norm(self.mix(embeddings.T).T)

    def forward(self, tokens: Tensor, embeddings: Tensor) -> Tensor:
        """tokens: [B, T, C]; embeddings: [V, D], the language model's table -> [B, T, D]."""
        prototypes = self.prototypes(embeddings)
        # Tokens do not see each other here, so the whole batch is one row of queries.
        query = self._heads(self.query(tokens).flatten(0, 1))  # [1, h, B*T, C/h]
        attended = F.scaled_dot_product_attention(
            query, self._heads(self.key(prototypes)), self._heads(self.value(prototypes))
        )
        merged = attended[0].transpose(0, 1).reshape(tokens.shape)  # [B, T, C]
        x = self.out(merged)  # [B, T, D]
        return x + self.bottleneck(x)

    def _heads(self, x: Tensor) -> Tensor:
        """[N, C] -> [1, h, N, C/h]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(0, 1)[None]


class LinearProjection(nn.Module):
    """The ablation without reprogramming: [B, T, C] -> [B, T, D]; the words are not looked at."""

    def __init__(self, token_dim: int, llm_dim: int):
        super().__init__()
        self.project = nn.Linear(token_dim, llm_dim)

    def forward(self, tokens: Tensor, embeddings: Tensor) -> Tensor:
        return self.project(tokens)


def build_reprogramming(
    config: ReprogrammingConfig, token_dim: int, vocabulary: int, llm_dim: int
) -> nn.Module:
    """What the config names."""
    if config.kind == "linear":
        return LinearProjection(token_dim, llm_dim)
    return Reprogramming(config, token_dim, vocabulary, llm_dim)
