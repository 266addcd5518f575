"""ChatML: ``<|im_start|>ROLE\\nTEXT<|im_end|>\\n`` a turn, as text and as token ids.

The special tokens are added by their ids and never parsed out of a text, so that a text which spells one stays text.
A role's head and its text are encoded apart, as they are when a model goes on from the head.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from plm_data.attributes.tokens import TURN_END, TURN_START, load_tokenizer
from plm_data.chat.conversation import ASSISTANT
from plm_data.errors import StoreError

Turns = Sequence[tuple[str, str]]


def rendered(turns: Turns, prompt: bool = False) -> str:
    """The turns as text; ``prompt``: with the head of the assistant's answer after them."""
    head = f"{TURN_START}{ASSISTANT}\n" if prompt else ""
    return "".join(f"{TURN_START}{role}\n{text}{TURN_END}\n" for role, text in turns) + head


class ChatML:
    """The ids of turns, by a tokenizer's folder; raises ``StoreError`` if it lacks the tokens of ChatML."""

    def __init__(self, folder: Path):
        self._tokenizer = load_tokenizer(folder)
        start, end = self._tokenizer.token_to_id(TURN_START), self._tokenizer.token_to_id(TURN_END)
        if start is None or end is None:
            raise StoreError(
                f"{folder}: the tokenizer has no {TURN_START} and {TURN_END}, which conversations are marked with; "
                f"take one that has, such as Qwen2's, or train one."
            )
        self._start, self._end = start, end

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts, none of them special."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]

    @cached_property
    def _heads(self) -> dict[str, list[int]]:
        return {}

    def _head(self, role: str) -> list[int]:
        if role not in self._heads:
            self._heads[role] = [self._start, *self.encode([f"{role}\n"])[0]]
        return self._heads[role]

    @cached_property
    def _tail(self) -> list[int]:
        return [self._end, *self.encode(["\n"])[0]]

    def join(self, roles: Sequence[str], texts: Sequence[list[int]], prompt: bool) -> tuple[list[int], list[int]]:
        """The ids of a conversation from those of its texts, and its targets: flattened ``[start, end)`` of what the
        assistant says and the ``<|im_end|>`` after it; none of a prompt."""
        ids: list[int] = []
        targets: list[int] = []
        for role, text in zip(roles, texts, strict=True):
            ids += self._head(role)
            start = len(ids)
            ids += text
            if role == ASSISTANT and not prompt:
                targets += [start, len(ids) + 1]
            ids += self._tail
        return (ids + self._head(ASSISTANT) if prompt else ids), targets
