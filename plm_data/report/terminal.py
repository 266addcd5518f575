"""The report for a terminal: the mix, planned beside realised, and what each rule removed."""

from __future__ import annotations

from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_report(facts: dict[str, Any], console: Console, most_rules: int | None = None) -> None:
    """Print the main tables of the facts, with at most ``most_rules`` rules, the costliest.

    Problems and notes are printed as plain text, never as markup; names in a recipe cannot hold any.
    """
    mix = Table(title=f"{facts['recipe']}: tokens by phase and source", title_justify="left")
    for name, justify in (("phase", "left"), ("source", "left"), ("domain", "left"), ("planned", "right"),
                          ("realised", "right"), ("share", "right"), ("documents", "right")):  # fmt: skip
        mix.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    for phase in facts["phases"]:
        for i, (name, source) in enumerate(phase["sources"].items()):
            built = phase["built"]
            mix.add_row(
                f"{phase['name']} ({phase['segment']})" if i == 0 else "",
                name,
                source["domain"],
                f"{source['planned_tokens']:,}",
                f"{source['tokens']:,}" if built else "not built",
                f"{source['tokens'] / phase['tokens']:.1%}" if built else "",
                f"{source['documents']:,}" if built else "",
            )
        mix.add_section()
    console.print(mix)

    kept = Table(title="from found to kept", title_justify="left")
    for name in ("source", "found", "quarantined", "documents", "kept", "kept tokens"):
        kept.add_column(name, justify="left" if name == "source" else "right", no_wrap=True)
    for source in facts["sources"]:
        kept.add_row(
            source["name"],
            *(f"{source[k]:,}" for k in ("found", "quarantined", "documents", "kept_documents", "kept_tokens")),
        )
    console.print(kept)

    removed = Table(title="what each rule removed", title_justify="left")
    for name in ("rule", "documents", "tokens", "alone", "by source"):
        removed.add_column(name, justify="left" if name in ("rule", "by source") else "right")
    shown = facts["rules"][:most_rules]
    for rule in shown:
        by_source = ", ".join(f"{name} {hit['documents']:,}" for name, hit in rule["by_source"].items())
        removed.add_row(
            rule["rule"], f"{rule['documents']:,}", f"{rule['tokens']:,}", f"{rule['alone_documents']:,}", by_source
        )
    console.print(removed)
    if more := len(facts["rules"]) - len(shown):
        console.print(Text(f"and {more} more rules, in the report"))
    for note in facts["notes"]:
        console.print(Text(note))
    for problem in facts["problems"]:
        console.print(Text(f"! {problem}", style="red"))


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
