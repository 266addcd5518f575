"""Sources as the report draws them: each by itself, or the small ones of a long list together."""

from __future__ import annotations

from collections.abc import Mapping

# What a chart and a table can hold apart; beyond that the rest is summed.
MOST_SHOWN = 20


def groups(tokens: Mapping[str, int]) -> dict[str, str]:
    """Source → the name it is drawn under: its own, or ``N more sources`` for all but the largest of many.

    ``tokens``: source → its size, in the recipe's order, which is kept. No source can have the name of the rest, since
    no source's name holds a space.
    """
    if len(tokens) <= MOST_SHOWN:
        return {source: source for source in tokens}
    largest = sorted(tokens, key=lambda source: (-tokens[source], source))[: MOST_SHOWN - 1]
    rest = f"{len(tokens) - len(largest)} more sources"
    return {source: source if source in largest else rest for source in tokens}
