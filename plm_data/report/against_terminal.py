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
    table = _table("tokens by phase and source", ["phase", "source"], comparison, changes=True, more=["share"])
    for phase in comparison["phases"]:
        for row in filter(_moved, phase["sources"]):
            # Of a phase that is not built its plan is all that there is.
            built = row["tokens"]["change"] is not None
            pair = row["tokens"] if built else row["planned"]
            where = phase["name"] if built else f"{phase['name']} (planned)"
            table.add_row(_text(where), _named(row), *_cells(pair), _text(points(row["share"])))
    _print(table, console)
    for title, key, measure in (
        ("kept tokens by source", "sources", "kept_tokens"),
        ("tokens removed by rule", "rules", "tokens"),
        ("tokens kept by class of licence", "licences", "tokens"),
        ("duplicates", "duplicates", "count"),
        ("documents refused at the door", "refused", "documents"),
    ):
        documents = {"sources": "kept_documents", "rules": "documents", "licences": "documents"}.get(key)
        table = _table(title, [key], comparison, changes=True, more=["documents"] if documents else ())
        for row in filter(_moved, comparison[key]):
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


def _moved(row: dict[str, Any]) -> bool:
    return bool(row["moved"])


def _cells(pair: dict[str, Any]) -> list[Text]:
    values = ["not built" if pair[side] is None else f"{pair[side]:,}" for side in ("b", "a")]
    return [_text(value) for value in (*values, signed(pair["change"]), relative(pair))]


def _named(row: dict[str, Any]) -> Text:
    return _text(row["name"] if row["status"] == BOTH else f"{row['name']} ({row['status']})")


def _text(value: Any, chars: int = _NAME_CHARS) -> Text:
    return Text(clip(str(value), chars))
