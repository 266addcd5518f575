"""Turns of a conversation as token ids (ChatML), and the turn that asks for a refinement.

A turn is `<|im_start|>{role}\\n{text}<|im_end|>\\n`. The special tokens are put in as ids and never parsed out of a
text: one that holds `<|im_end|>` stays text, so that nothing in a corpus or an answer can end its turn. A turn's head
and its text are encoded apart, as in the shards: so a prompt's tokens begin those of the conversation that it grows to.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from tokenizers import Tokenizer

from trainer.errors import TrainerError
from trainer.pretrained import END_OF_TEXT

START, END = "<|im_start|>", "<|im_end|>"
Role = Literal["system", "user", "assistant"]

# z of ARIES. The paper's wording is not published as far as could be found: this one is ours. It ends with the
# question: a small model that has it right before its answer refines far better than one that has to look back for it.
QUESTION = "{question}"
REFINE = f"Look at your answer again. Find what is wrong or could be better in it, and answer anew, whole: {QUESTION}"


class Turn(NamedTuple):
    """One message of a conversation."""

    role: Role
    text: str


class ChatML:
    """Encodes and decodes turns by one tokenizer.

    Raises:
        TrainerError: the tokenizer lacks one of the special tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.start, self.end = self._special(START), self._special(END)
        self._specials = frozenset((self.start, self.end, self._special(END_OF_TEXT)))
        self._plain = Tokenizer.from_str(tokenizer.to_str())
        self._plain.encode_special_tokens = True  # despite its name: special tokens in a text are encoded as text
        self._close = [self.end, *self.encode("\n")]

    def _special(self, token: str) -> int:
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise TrainerError(
                f"tokenizer: found no {token}, expected it as a special token; train the tokenizer again"
            )
        return found

    def encode(self, text: str) -> list[int]:
        """Return a text's tokens, none of them special."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def answer(self, tokens: Sequence[int]) -> list[int]:
        """Return a generated answer's tokens without special ones, which are no part of what it says."""
        return [token for token in tokens if token not in self._specials]

    def turns(self, turns: Sequence[Turn]) -> list[int]:
        """Return the tokens of whole turns."""
        return [token for role, text in turns for token in (*self._head(role), *self.encode(text), *self._close)]

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Return the tokens of whole turns and of the assistant's start, to be completed."""
        return [*self.turns(turns), *self._head("assistant")]

    def refine(self, prompt: Sequence[int], answer: Sequence[int], request: str = REFINE) -> list[int]:
        """Return a prompt, the assistant's answer to it, the user's request to refine that, and the assistant's start.

        `{question}` in the request stands for what the user said last in the prompt.
        """
        before, placed, after = request.partition(QUESTION)
        asked = [*self.encode(before), *(self._last_said(prompt) if placed else ()), *self.encode(after)]
        return [*self.closed(prompt, answer), *self._head("user"), *asked, *self._close, *self._head("assistant")]

    def _last_said(self, prompt: Sequence[int]) -> list[int]:
        """Return the tokens of the turn before the assistant's start, without its head and its end."""
        starts = [place for place, token in enumerate(prompt) if token == self.start]
        first = starts[-2] + len(self._head("user"))
        return list(prompt[first : starts[-1] - len(self._close)])

    def closed(self, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
        """Return a prompt with the assistant's answer to it, its turn ended."""
        return [*prompt, *answer, *self._close]

    def _head(self, role: Role) -> list[int]:
        return [self.start, *self.encode(f"{role}\n")]
