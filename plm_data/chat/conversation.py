"""A conversation as the steps pass it on, and what makes one that cannot be trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import orjson

from plm_data.sources.file_formats import Reason

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
# Names of the roles in the usual forms; no other is known.
_ROLES = {
    "system": SYSTEM, "developer": SYSTEM, "user": USER, "human": USER, "assistant": ASSISTANT, "gpt": ASSISTANT,
}  # fmt: skip


@dataclass(frozen=True)
class Conversation:
    """``turns``: (role, text), from the first to the last.

    ``reference``: a good answer to the last user's turn, where the turns end with it. ``answer``: what is checked of
    an answer, the number or test code, by ``check`` (``number`` or ``python``). ``chosen`` and ``rejected``: a given
    preference pair. ``origins``: names of the documents of the local generators that it was made of.
    """

    turns: tuple[tuple[str, str], ...]
    reference: str | None = None
    answer: str | None = None
    check: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    origins: tuple[str, ...] = ()

    def to_json(self) -> str:
        given = {name: value for name, value in vars(self).items() if value not in (None, ())}
        return orjson.dumps(given).decode()

    @classmethod
    def from_json(cls, text: str) -> Conversation:
        found = orjson.loads(text)
        lists = {"turns": tuple(map(tuple, found["turns"])), "origins": tuple(found.get("origins", ()))}
        return cls(**{**found, **lists})

    def as_answered(self) -> Conversation | None:
        """Up to the assistant's last turn, for nobody answers what comes after it; None if it has no turn."""
        last = max((i for i, (role, _) in enumerate(self.turns) if role == ASSISTANT), default=-1)
        return replace(self, turns=self.turns[: last + 1]) if last >= 0 else None

    def as_prompt(self) -> Conversation:
        """Up to the last user's turn; what the assistant says to it is the reference."""
        if self.turns[-1][0] != ASSISTANT:
            return self
        return replace(self, turns=self.turns[:-1], reference=self.turns[-1][1])


def conversation(turns: Iterable[tuple[Any, Any]], **known: Any) -> Conversation | Reason:
    """A conversation of (role, text) as a set has them, or why it is none.

    A system turn that is empty is left out.
    """
    found: list[tuple[str, str]] = []
    for number, (name, text) in enumerate(turns, 1):
        role = _ROLES.get(name) if isinstance(name, str) else None
        if role is None:
            return "unknown-role", f"turn {number} is of {_shown(name)}; expected {', '.join(_ROLES)}"
        if not isinstance(text, str):
            return "not-text", f"turn {number}, of the {role}, is {_kind(text)}; expected a string"
        if not text.strip():
            if role == SYSTEM:
                continue
            return "empty-turn", f"turn {number}, of the {role}, says nothing"
        expected = USER if not found or found[-1][0] != USER else ASSISTANT
        if role != expected and not (role == SYSTEM and not found):
            return "roles-out-of-order", f"turn {number} is of the {role}, expected the {expected}"
        found.append((role, text))
    if not any(role == USER for role, _ in found):
        return "no-user-turn", f"{len(found)} turns, none of a user"
    return Conversation(tuple(found), **known)


def _shown(value: Any) -> str:
    return repr(value[:40]) if isinstance(value, str) else _kind(value)


def _kind(value: Any) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "missing" if value is None else type(value).__name__)
