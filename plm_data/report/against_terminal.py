"""The comparison of two builds for a terminal: what was set otherwise, and the rows that moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plm_data.report.against import BOTH, names, points, relative, signed, verdict
from plm_data.text.printable import clip

_NAME_CHARS = 60
_MOST_ROWS = 40


def print_comparison(comparison: dict[str, Any], console: Console) -> None:
    """Print what differs between two builds, most moved first. Whatever a name holds, it is printed as text."""
    a, b = comparison["a"], comparison["b"]
    for side, about in zip(names(comparison), (a, b), strict=True):
        console.print(
            _text(f"{side}: {about['recipe']}, seed {about['seed']}, decisions {about['fingerprint'][:16]}", 200)
        )
    if comparison["settings"]:
        table = _table("what was set otherwise", ["setting"], comparison)
        for row in comparison["settings"]:
            table.add_row(*map(_text, (row["name"], row["b"], row["a"])))
        console.print(table)
    if not comparison["moved"]:
        console.print(Text(verdict(comparison)))
        return
    table = _table("in all", ["figure"], comparison, changes=True)
    for name, pair in comparison["totals"].items():
        table.add_row(_text(name), *_cells(pair))
    console.print(table)
    table = _table(
        "tokens by phase and source", ["phase", "source"], comparison, changes=True, more=["planned", "share"]
    )
    for phase in comparison["phases"]:
        for row in _shown(phase["sources"], table):
            # Of a phase that is not built its plan is all that there is.
            built = row["tokens"]["change"] is not None
            pair = row["tokens"] if built else row["planned"]
            where = phase["name"] if built else f"{phase['name']} (planned)"
            planned, share = signed(row["planned"]["change"]), points(row["share"])
            table.add_row(_text(where), _named(row), *_cells(pair), _text(planned), _text(share))
    _print(table, console)
    for title, key, row_name, measure, documents in (
        ("kept tokens by source", "sources", "source", "kept_tokens", "kept_documents"),
        ("tokens removed by rule", "rules", "rule", "tokens", "documents"),
        ("kept tokens by class of licence", "licences", "class", "tokens", "documents"),
        ("duplicates", "duplicates", "figure", "count", None),
        ("documents refused at the door", "refused", "source and reason", "documents", None),
    ):
        table = _table(title, [row_name], comparison, changes=True, more=["documents"] if documents else ())
        for row in _shown(comparison[key], table):
            more = [_text(signed(row[documents]["change"]))] if documents else []
            table.add_row(_named(row), *_cells(row[measure]), *more)
        _print(table, console)


def _table(
    title: str, keys: Sequence[str], comparison: dict[str, Any], changes: bool = False, more: Sequence[str] = ()
) -> Table:
    a, b = names(comparison)
    table = Table(title=Text(title), title_justify="left")
    for key in keys:
        table.add_column(Text(key))
    for key in (b, a, *(("change", "%", *more) if changes else ())):
        table.add_column(_text(key), justify="right")
    return table


def _print(table: Table, console: Console) -> None:
    if table.row_count:
        console.print(table)


def _shown(rows: Sequence[dict[str, Any]], table: Table) -> list[dict[str, Any]]:
    """The rows that moved, at most so many; the table's caption says how many more there are."""
    moved = [row for row in rows if row["moved"]]
    if len(moved) > _MOST_ROWS:
        table.caption = Text(f"and {len(moved) - _MOST_ROWS:,} more that moved less")
    return moved[:_MOST_ROWS]


def _cells(pair: dict[str, Any]) -> list[Text]:
    values = ["not built" if pair[side] is None else f"{pair[side]:,}" for side in ("b", "a")]
    return [_text(value) for value in (*values, signed(pair["change"]), relative(pair))]


def _named(row: dict[str, Any]) -> Text:
    return _text(row["name"] if row["status"] == BOTH else f"{row['name']} ({row['status']})")


def _text(value: Any, chars: int = _NAME_CHARS) -> Text:
    return Text(clip(str(value), chars))
