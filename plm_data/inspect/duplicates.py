"""Two documents of a cluster: how alike they are, where they differ, and why one of them stayed."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice, takewhile

from plm_data.curation import Curation
from plm_data.inspect import tables
from plm_data.text.printable import clip

# Words compared behind the first that differs: difflib's time grows with their square.
_COMPARED = 800
_CONTEXT, _SHOWN, _WORD = 5, 14, 40


@dataclass(frozen=True)
class Standing:
    """What decides which document of a cluster stays, in this order."""

    source: str
    priority: int
    quality: float | None
    chars: int
    id: str


def standing(build: Curation, source: str, identity: str) -> Standing:
    """Where a document stands among its duplicates; quality is None where none is measured."""
    found = tables.measures(build, source, [identity])[identity]
    column = build.recipe.curate.dedup.quality
    quality = None if column is None else float(found[column.removeprefix("-")])
    if quality is not None and column is not None and column.startswith("-"):
        quality = -quality
    return Standing(source, build.recipe.sources[source].priority, quality, found["chars"], identity)


def why_it_stayed(winner: Standing, loser: Standing) -> str:
    """The first of priority, quality, length and id in which the winner is ahead."""
    if winner.priority != loser.priority:
        return f"its source has the higher priority: {winner.source} {winner.priority}, {loser.source} {loser.priority}"
    if winner.quality is not None and loser.quality is not None and winner.quality != loser.quality:
        return f"equal priority, and its quality is higher: {winner.quality:.4g} against {loser.quality:.4g}"
    if winner.chars != loser.chars:
        return f"equal priority, and it is longer: {winner.chars:,} characters against {loser.chars:,}"
    return "equal priority and length, and its id comes first"


def differences(text: str, other: str, most: int = 2) -> list[tuple[str, str]]:
    """The first places where two texts differ, in both, with the words around; what differs stands in brackets.

    White space does not count, so there may be none.
    """
    mine, theirs = text.split(), other.split()
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(mine, theirs, strict=False)))
    start = max(0, same - _CONTEXT)
    mine, theirs = mine[start : same + _COMPARED], theirs[start : same + _COMPARED]
    changes = (code for code in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes() if code[0] != "equal")
    return [(_around(mine, a, b), _around(theirs, c, d)) for _, a, b, c, d in islice(changes, most)]


def _around(words: list[str], start: int, stop: int) -> str:
    before, after = words[max(0, start - _CONTEXT) : start], words[stop : stop + _CONTEXT]
    inside = words[start:stop] if stop - start <= _SHOWN else [*words[start : start + _SHOWN], "…"]
    # A word may be a whole line of base64.
    said = [" ".join(clip(word, _WORD) for word in part) for part in (before, inside, after)]
    return f"{said[0]} [{said[1]}] {said[2]}".strip()
