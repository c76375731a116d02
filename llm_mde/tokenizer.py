"""Sentences become token numbers, each distinct sentence once.

A named language model brings its own tokenizer. The built-in tiny ones use the CLIP byte-pair
encoding that comes with open_clip, so they need no download. A tokenizer of the model itself is
LLM-MDE's way; the built-in one is ours.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from common.errors import UserError
from common.runtime.hub import load_from_hub

CACHED_SENTENCES = 100_000
CLIP_VOCABULARY = 49_408


class PromptTokenizer:
    """A prompt's sentences -> token numbers, with what the model wants at both ends.

    prefix, suffix: BERT's [CLS] and [SEP], LLaMA's start of text; GPT-2 has none.
    serialized: the tokenizer as a string that `from_string` reads; None: the built-in one.
    """

    def __init__(
        self,
        encode: Callable[[str], list[int]],
        ends: Sequence[int] = (),
        serialized: str | None = None,
    ):
        self.prefix, self.suffix = list(ends[:1]), list(ends[1:])
        self.serialized = serialized
        # A word within a text follows a space, which GPT-2 counts as part of the word. LLaMA's
        # tokenizer adds that space to any text itself.
        self.space = "" if encode("a") * 2 == encode("a a") else " "
        self._encode = lru_cache(CACHED_SENTENCES)(encode)

    @classmethod
    def built_in(cls) -> "PromptTokenizer":
        """CLIP's byte-pair encoding."""
        # Imported here: a named language model brings its own tokenizer.
        from open_clip import SimpleTokenizer

        return cls(SimpleTokenizer().encode)

    @classmethod
    def from_string(cls, serialized: str) -> "PromptTokenizer":
        """From the content of a `tokenizer.json`."""
        backend = Tokenizer.from_str(serialized)
        backend.no_truncation()
        backend.no_padding()
        return cls(
            lambda text: backend.encode(text, add_special_tokens=False).ids,
            backend.encode("").ids,
            serialized,
        )

    def __call__(self, sentences: Sequence[str]) -> list[int]:
        """One prompt's token numbers; no sentences, no tokens."""
        if not sentences:
            return []
        spaced = [sentences[0], *(f"{self.space}{sentence}" for sentence in sentences[1:])]
        tokens = [token for sentence in spaced for token in self._encode(sentence)]
        return [*self.prefix, *tokens, *self.suffix]


def require_known(tokens: Sequence[int], vocabulary: int, name: str) -> None:
    """Raise a `UserError` for a token that the language model `name` does not know."""
    highest = max(tokens, default=0)
    if highest >= vocabulary:
        raise UserError(
            f"the tokenizer of {name} gives token {highest}, but the model knows {vocabulary}; "
            "they belong to different models"
        )


def load_tokenizer(source: str) -> PromptTokenizer:
    """The tokenizer of a folder or a model of the hub."""
    is_folder = Path(source).is_dir()

    def load() -> PromptTokenizer:
        tokenizer = PromptTokenizer.from_string(
            AutoTokenizer.from_pretrained(source).backend_tokenizer.to_str()
        )
        known = set(tokenizer(["a photo of a room"])) - {*tokenizer.prefix, *tokenizer.suffix}
        if len(known) < 2:  # transformers makes an empty tokenizer where it finds no file
            raise ValueError("it has no tokenizer (it knows no word)")
        return tokenizer

    return load_from_hub(
        f"the tokenizer of {source}",
        "put its tokenizer.json into a local folder with the model (model.language.name)",
        load,
        is_folder,
    )
