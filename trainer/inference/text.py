"""From tokens to text as they come: whole characters, and an end at a stop string."""

from collections.abc import Sequence
from typing import Final

from tokenizers import Tokenizer

REPLACEMENT: Final = "\ufffd"  # what bytes that are no character, or not yet one, are decoded to
LONGEST: Final = 8  # tokens of unfinished characters, from which on those that nothing can change are let go


class TextStream:
    """The text of tokens that come one by one.

    The pieces that `add` and `end` return make up, until a stop, what the tokenizer makes of all tokens together. A
    piece holds no part of a character, and nothing that may still turn out to begin a stop string. The tokenizer is a
    byte-level one, so that what it makes of tokens is the join of what it makes of their parts, cut between characters.

    Attributes:
        stopped: a stop string was found; the text ended before it.
    """

    def __init__(self, tokenizer: Tokenizer, stops: Sequence[str]) -> None:
        self.stopped = False
        self._tokenizer = tokenizer
        self._stops = stops
        self._pending: list[int] = []  # tokens whose text may change with the next
        self._shown = 0  # characters of the pending tokens' text that are out already
        self._held = ""  # text that may begin a stop string

    def add(self, token: int) -> str:
        """Take a token; return the text, maybe none, that is certain by now."""
        self._pending.append(token)
        text = self._tokenizer.decode(self._pending)
        certain = len(text) - text.endswith(REPLACEMENT)
        piece, self._shown = text[self._shown : certain], certain
        if certain == len(text):
            self._pending, self._shown = [], 0
        elif len(self._pending) >= LONGEST:
            self._let_go(text)
        return self._release(piece)

    def end(self) -> str:
        """Return what is left when no token follows."""
        text = self._release(self._tokenizer.decode(self._pending)[self._shown :])
        held, self._held = self._held, ""
        return text + held

    def _let_go(self, text: str) -> None:
        """Forget tokens before a border between characters, lest a long run of stray bytes be decoded ever again.

        Were the border within a character, the parts would have more replacements than the whole.
        """
        for kept in range(1, len(self._pending)):
            head, tail = self._pending[:-kept], self._pending[-kept:]
            before = self._tokenizer.decode(head)
            if before + self._tokenizer.decode(tail) == text:
                self._pending, self._shown = tail, self._shown - len(before)
                return

    def _release(self, piece: str) -> str:
        if self.stopped:
            return ""
        text = self._held + piece
        found = [position for stop in self._stops if (position := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that `stop` begins with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
