"""Two recipes' differences for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plm_data.locking.recipes import RecipeDiff
from plm_data.text.printable import clip

_VALUE = 60


def print_diff(diff: RecipeDiff, names: tuple[str, str], console: Console) -> None:
    """Print what two recipes say otherwise, and the tokens that move by it."""
    if not diff.settings:
        console.print("The recipes say the same.")
        return
    table = _table("what they say otherwise", ["key"], names)
    for each in diff.settings:
        table.add_row(*(Text(clip(str(value), _VALUE)) for value in (each.item, _said(each.locked), _said(each.found))))
    console.print(table)
    if not diff.tokens:
        console.print(Text(diff.basis))
    for title, keys, rows in (
        (f"tokens by phase and source, {diff.basis}", ["phase", "source"], diff.tokens),
        ("tokens that one epoch has, by source", ["source"], diff.kept),
    ):
        if not rows:
            continue
        table = _table(title, keys, names, "change")
        for key, (one, two) in rows.items():
            if one != two:
                parts = key if isinstance(key, tuple) else (key,)
                table.add_row(*map(Text, (*parts, f"{one:,}", f"{two:,}", f"{two - one:+,}")))
        console.print(table if table.rows else Text(f"{title}: the same"))


def _said(value: object) -> object:
    return "not there" if value is None else value


def _table(title: str, keys: Sequence[str], names: tuple[str, str], *more: str) -> Table:
    table = Table(title=title, title_justify="left")
    for key in keys:
        table.add_column(key)
    for name in (*names, *more):
        table.add_column(Text(name), justify="right" if more else "left")
    return table
