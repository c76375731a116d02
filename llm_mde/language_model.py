"""Language model: the first layers of GPT-2, BERT or LLaMA read a prompt and then image tokens.

[prompt embeddings [B, L, D], image tokens [B, T, D]] -> N layers -> the image tokens' states
[B, T, D]. The prompt comes first, because GPT-2 and LLaMA look backwards only. Shorter prompts of a
batch are filled up at their end, and the filling is neither attended to nor counted as a position.

LLM-MDE's; the prompt as a prefix of the reprogrammed tokens is Time-LLM's (Jin et al., ICLR 2024).
Ours: how a filled prompt is masked and counted, and no dropout in frozen layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.config import require_at_least
from common.errors import UserError
from common.runtime.processes import send
from llm_mde.lora import add_lora
from llm_mde.tokenizer import PromptTokenizer, require_known

LORA_TARGETS = {
    "gpt2": ("c_attn",),
    "bert": ("query", "key", "value"),
    "llama": ("q_proj", "k_proj", "v_proj"),
}
TINY_NAMES = ("tiny-gpt2", "tiny-bert", "tiny-llama")


@dataclass(frozen=True)
class LanguageModelConfig:
    """Which language model, how much of it, and its adapters.

    The adapters on queries, keys and values are the only part that is trained.
    """

    # GPT-2, BERT or LLaMA: a local folder, a model of the hub, or tiny-gpt2, tiny-bert, tiny-llama
    # (random weights from the run's seed).
    name: str = "gpt2"
    num_layers: int = 4  # its first so many; 0: none, so no prompt, only word embeddings are used
    random_init: bool = False  # the named architecture and tokenizer, random weights from the seed
    hidden_size: int | None = None  # of the tiny ones; None: 128
    num_heads: int | None = None  # of the tiny ones; None: 4
    lora_rank: int = 32  # of the adapters; 0: none
    lora_alpha: int = 64  # their scale is lora_alpha / lora_rank

    def __post_init__(self) -> None:
        require_at_least(0, self, "num_layers", "lora_rank", "lora_alpha")
        require_at_least(1, self, "hidden_size", "num_heads")
        if (self.hidden_size or self.num_heads) and not self.is_tiny:
            raise ValueError(
                f"hidden_size: {self.name} has its own, and its own heads; make hidden_size and "
                f"num_heads null (they are for {', '.join(TINY_NAMES)})"
            )
        if self.is_tiny and self.tiny_size[0] % (2 * self.tiny_size[1]):
            raise ValueError(
                "num_heads: the hidden size {} does not divide into {} heads of even size".format(
                    *self.tiny_size
                )
            )

    @property
    def is_tiny(self) -> bool:
        return self.name in TINY_NAMES

    @property
    def tiny_size(self) -> tuple[int, int]:
        """Hidden size and heads."""
        return self.hidden_size or 128, self.num_heads or 4


@dataclass(frozen=True)
class PromptTokens:
    """ids: int64 [B, L]; mask: bool [B, L], False = filled up."""

    ids: Tensor
    mask: Tensor


class LanguageModel(nn.Module):
    """The frozen language model with its adapters and its tokenizer; see the module's docstring."""

    def __init__(
        self, config: LanguageModelConfig, body: PreTrainedModel, tokenizer: PromptTokenizer
    ):
        super().__init__()
        self.config, self.body, self.tokenizer = config, body, tokenizer
        self.dim, self.vocabulary = body.config.hidden_size, body.config.vocab_size
        self.context = body.config.max_position_embeddings
        rank = config.lora_rank if config.num_layers else 0
        add_lora(body, LORA_TARGETS[body.config.model_type], rank, config.lora_alpha)

    def train(self, mode: bool = True) -> "LanguageModel":
        """The frozen model has no dropout, also while its adapters train."""
        super().train(mode)
        self.body.eval()
        return self

    @property
    def embeddings(self) -> Tensor:
        """[V, D], the word embeddings."""
        return self.body.get_input_embeddings().weight

    @torch.compiler.disable
    def tokenize(self, prompts: Sequence[Sequence[str]], num_image_tokens: int) -> PromptTokens:
        """One list of sentences per image -> token numbers, which must fit the model's context."""
        rows = [self.tokenizer(sentences) for sentences in prompts]
        longest = max(len(row) for row in rows)
        if longest + num_image_tokens > self.context:
            raise UserError(
                f"a prompt of {longest} tokens does not fit: {self.config.name} reads "
                f"{self.context} tokens, of which {num_image_tokens} are the image's"
            )
        for row in rows:
            require_known(row, self.vocabulary, self.config.name)
        ids, mask = torch.zeros(2, len(rows), longest, dtype=torch.int64)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
            mask[index, : len(row)] = 1
        device = self.embeddings.device
        return PromptTokens(send(ids, device), send(mask.bool(), device))

    def forward(self, tokens: Tensor, prompt: PromptTokens | None) -> Tensor:
        """tokens: [B, T, D], in the space of word embeddings -> their last states [B, T, D]."""
        if self.config.num_layers == 0:
            return tokens
        x, mask = tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        if prompt is not None and prompt.ids.shape[1]:
            words = self.body.get_input_embeddings()(prompt.ids)  # [B, L, D]
            x = torch.cat((words, tokens), dim=1)  # [B, L + T, D]
            mask = torch.cat((prompt.mask, mask), dim=1)
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)
        states = self.body(
            inputs_embeds=x, attention_mask=mask.long(), position_ids=positions, use_cache=False
        ).last_hidden_state
        return states[:, -tokens.shape[1] :]
