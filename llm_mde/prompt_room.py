"""Whether prompts fit: a language model reads so many tokens, and the image's are among them.

Ours: whose prompt is too long is found before the first step, with its image and its length.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from common.errors import UserError
from common.language.captions import Captions, Several
from llm_mde.prompt import PromptConfig, longest_prompts
from llm_mde.tokenizer import PromptTokenizer, require_known

SHORTER = "shorten the prompt (prompt.*)"
SMALLER = "lower model.vision.image_size"


@dataclass(frozen=True)
class PromptRoom:
    """Of one language model beside one size of images. context: the tokens that it reads."""

    name: str
    tokenizer: PromptTokenizer
    vocabulary: int
    context: int
    num_image_tokens: int

    def check(self, prompt: PromptConfig, captions: Mapping[str, Several]) -> None:
        """Raise a `UserError` that names the image and the length of a prompt that does not fit.

        captions: image key -> caption or captions; read where the prompt has them.
        """
        if not prompt.caption or not captions:
            self._refuse(self._length(prompt, ""), "", [SHORTER])
            return
        packed = Captions.of(captions)
        lengths = {caption: self._length(prompt, caption) for caption in packed.distinct[0]}
        long = [(key, lengths[c]) for key, c in packed.every() if lengths[c] > self._most]
        if not long:
            return
        images, length = list(dict.fromkeys(key for key, _ in long)), long[0][1]
        own = length - self._length(prompt, None)
        more = f" (and {len(images) - 1} more of {len(captions)} images)" if images[1:] else ""
        fitting = self._most - (length - own)
        advice = [SHORTER]
        if fitting > 0:
            shorter = f"its caption has {own}, and {fitting} fit: shorten it (text.captions)"
            advice = [shorter, "set prompt.caption=false"]
        self._refuse(length, f"{images[0]}{more}: ", advice)

    @property
    def _most(self) -> int:
        return self.context - self.num_image_tokens

    def _length(self, prompt: PromptConfig, caption: str | None) -> int:
        """Tokens of the longest prompt with this caption; None: with no sentence for it."""
        rows = longest_prompts(prompt, [caption or ""])
        if caption is None:
            rows = [row[:-1] for row in rows]  # it is the last one
        prompts = [self.tokenizer(row) for row in rows]
        for tokens in prompts:
            require_known(tokens, self.vocabulary, self.name)
        return max(map(len, prompts))

    def _refuse(self, length: int, where: str, advice: list[str]) -> None:
        if length <= self._most:
            return
        if self.num_image_tokens >= self.context:
            advice = [SMALLER]
        elif length < self.context:
            advice = [*advice, SMALLER]
        raise UserError(
            f"{where}a prompt of {length} tokens does not fit: {self.name} reads {self.context} "
            f"tokens, of which {self.num_image_tokens} are the image's; {', or '.join(advice)}"
        )
