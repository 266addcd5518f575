"""The report for a terminal: the mix, planned beside realised, and what each rule removed."""

from __future__ import annotations

from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from plm_data.report.view import view


def print_report(facts: dict[str, Any], console: Console, most_rules: int | None = None) -> None:
    """Print the main tables of the facts, with at most ``most_rules`` rules, the costliest.

    Problems and notes are printed as plain text, never as markup; names in a recipe cannot hold any.
    """
    shown = view(facts)
    console.print(_mix(shown))
    if any(phase["built"] for phase in shown["conversations"]):
        console.print(_conversations(shown["conversations"]))
    console.print(_kept(shown["groups"]))
    taking = [rule for rule in shown["rules"] if rule["documents"]]
    console.print(_removed(taking[:most_rules]))
    if most_rules is not None and len(taking) > most_rules:
        console.print(Text(f"and {len(taking) - most_rules} more rules, in the report"))
    for note in shown["notes"]:
        console.print(Text(note))
    for problem in shown["problems"]:
        console.print(Text(f"! {problem}", style="red"))


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _mix(shown: dict[str, Any]) -> Table:
    table = _table(
        f"{shown['recipe']}: tokens by phase and source",
        ("phase", "source", "domain"), ("planned", "realised", "difference", "share", "documents"),
    )  # fmt: skip
    domains = {group["name"]: group["domain"] for group in shown["groups"]}
    for phase in shown["phases"]:
        for i, row in enumerate(phase["groups"]):
            name = f"{phase['name']} ({phase['segment']})" if i == 0 else ""
            table.add_row(name, row["name"], domains[row["name"]], *_planned_and_realised(row, phase))
        table.add_row("", "all", "", *_planned_and_realised(phase, phase))
        table.add_section()
    return table


def _planned_and_realised(row: dict[str, Any], phase: dict[str, Any]) -> list[str]:
    if not phase["built"]:
        return [f"{row['planned_tokens']:,}", "not built"]
    apart = row["tokens"] - row["planned_tokens"]
    share = row["tokens"] / phase["tokens"] if phase["tokens"] else 0
    return [f"{row['planned_tokens']:,}", f"{row['tokens']:,}", f"{apart:+,}", f"{share:.1%}", f"{row['documents']:,}"]


def _conversations(phases: list[dict[str, Any]]) -> Table:
    table = _table(
        "conversations and prompts", ("phase", "set"),
        ("found", "quarantined", "copies", "rows", "tokens", "learned", "longest"),
    )  # fmt: skip
    for phase in phases:
        for i, row in enumerate(phase["sources"] if phase["built"] else ()):
            row = {**row, "copies": row["exact_duplicates"] + row["near_duplicates"]}
            counts = [f"{row[key]:,}" for key in ("found", "quarantined", "copies", "rows", "tokens")]
            learned = f"{row['learned_tokens']:,}" if phase["kind"] == "conversations" else ""
            table.add_row(phase["name"] if i == 0 else "", row["name"], *counts, learned, f"{row['longest']:,}")
        table.add_section()
    return table


def _kept(groups: list[dict[str, Any]]) -> Table:
    table = _table("from found to kept", ("source",), ("found", "quarantined", "documents", "kept", "kept tokens"))
    for group in groups:
        counts = (group[key] for key in ("found", "quarantined", "documents", "kept_documents", "kept_tokens"))
        table.add_row(group["name"], *(f"{count:,}" for count in counts))
    return table


def _removed(rules: list[dict[str, Any]]) -> Table:
    table = Table(title="what each rule removed", title_justify="left")
    for name in ("rule", "documents", "tokens", "alone", "by source"):
        table.add_column(name, justify="left" if name in ("rule", "by source") else "right")
    for rule in rules:
        by_source = ", ".join(f"{name} {hit['documents']:,}" for name, hit in rule["by_group"].items())
        counts = (rule[key] for key in ("documents", "tokens", "alone_documents"))
        table.add_row(rule["rule"], *(f"{count:,}" for count in counts), by_source)
    return table


def what_if_table(found: pl.DataFrame) -> Table:
    """The rows of ``whatif.what_if`` and their sum."""
    table = Table(title="kept now, and what the change gains and loses", title_justify="left")
    for name in ("source", "documents", "gained", "lost", "then", "tokens", "gained", "lost", "then", "change"):
        table.add_column(name, justify="left" if name == "source" else "right", no_wrap=True)
    total = found.select(pl.lit("all").alias("source"), pl.exclude("source").sum())
    for row in pl.concat([found, total]).iter_rows(named=True):
        if row["source"] == "all":
            table.add_section()
        change = f"{row['new_tokens'] / row['tokens'] - 1:+.1%}" if row["tokens"] else ""
        counts = [
            f"{row[f'{kind}{what}']:,}" for what in ("documents", "tokens") for kind in ("", "gained_", "lost_", "new_")
        ]
        table.add_row(row["source"], *counts, change)
    return table
