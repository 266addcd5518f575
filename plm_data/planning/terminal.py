"""A plan for a terminal, by its facts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from plm_data.build import Build
from plm_data.mix.plan import Plan
from plm_data.report.plan import plan_table

_UNITS = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def size_text(size: float | None) -> str:
    """A number of bytes as people read it, in decimal units, to three or more figures."""
    if size is None:
        return "unknown"
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:,.2f} {name}"
    return f"{size:,.0f} B"


def print_plan(build: Build, plan: Plan, facts: dict[str, Any], console: Console) -> None:
    """Print the tables of the facts that there are, with the reasons for their figures."""
    console.print(plan_table(build.recipe, plan, build.known_supply))
    known = "by what is known before any work"
    console.print(f"{facts['tokens']:,} tokens in {len(plan)} phase{'s' * (len(plan) > 1)}: feasible {known}\n")
    console.print(_licences(facts))
    console.print(_storage(facts))
    console.print(_processor(facts["processor"]))
    console.print(Text(facts["processor"]["measured"] + "\n"), soft_wrap=True)
    if training := facts.get("training"):
        console.print(_training(training))
        console.print(Text(training["how"] + "\n"), soft_wrap=True)
    for table in (_fetch(facts), _sft(facts), _prompts(facts), _tasks(facts), _evaluate(facts)):
        if table is not None:
            console.print(table)
    for line in closing_lines(facts):
        console.print(Text(line), soft_wrap=True)


def closing_lines(facts: dict[str, Any]) -> list[str]:
    """What is still to do before the recipe could be run."""
    lines = []
    if unpinned := facts["unpinned"]:
        count = f"{len(unpinned)} source{'s' * (len(unpinned) > 1)}"
        lines.append(
            f"unpinned: {count}: no commit says which bytes are meant; write it into the recipe: {', '.join(unpinned)}"
        )
    return lines


def _table(title: str, left: Iterable[str], right: Iterable[str] = (), last: Iterable[str] = ()) -> Table:
    """Names to the left, figures to the right, and what may be broken into lines last."""
    table = Table(title=title, title_justify="left")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    for name in last:
        table.add_column(name, overflow="fold")
    return table


def _licences(facts: dict[str, Any]) -> Table:
    table = _table("licences, as the sources declare them", ("license",), ("planned tokens", "share"), ("sources",))
    licences = {row["source"]: row["license"] for row in facts["sources"]}
    planned: dict[str, int] = {}
    for phase in facts["phases"]:
        for each in phase["sources"]:
            planned[licences[each["source"]]] = planned.get(licences[each["source"]], 0) + each["tokens"]
    for licence, tokens in sorted(planned.items(), key=lambda item: (-item[1], item[0])):
        sources = ", ".join(name for name, each in licences.items() if each == licence)
        table.add_row(licence, f"{tokens:,}", f"{tokens / facts['tokens']:.2%}", sources)
    return table


def _storage(facts: dict[str, Any]) -> Table:
    table = _table("storage", ("what",), ("size",), ("how it is counted",))
    for row in facts["storage"]:
        table.add_row(row["what"], size_text(row["bytes"]), row["how"])
    table.add_section()
    table.add_row("all that is written", size_text(sum(row["bytes"] for row in facts["storage"] if row["written"])))
    return table


def _processor(processor: dict[str, Any]) -> Table:
    table = _table("curation: hours of one core", ("step",), ("MB/s and core", "core hours"))
    for row in processor["steps"]:
        table.add_row(row["step"], f"{row['bytes_per_second'] / 1e6:,.2f}", f"{row['hours']:,.2f}")
    table.add_section()
    table.add_row("all", "", f"{processor['hours']:,.2f}")
    return table


def _training(training: dict[str, Any]) -> Table:
    title = f"training: {training['parameters']:,} parameters"
    table = _table(title, ("phase",), ("tokens", "epochs", "GFLOP a token", "GPU hours"))
    for row in training["phases"]:
        tokens = "not declared" if row["tokens"] is None else f"{row['tokens']:,}"
        hours = "" if row["hours"] is None else f"{row['hours']:,.2f}"
        table.add_row(row["name"], tokens, f"{row['epochs']:g}", f"{row['flops_per_token'] / 1e9:,.2f}", hours)
    table.add_section()
    table.add_row("all", "", "", "", f"{training['hours']:,.2f}")
    return table


def _fetch(facts: dict[str, Any]) -> Table | None:
    if not facts["fetch"]:
        return None
    table = _table("what a locked run would fetch", ("key", "repository", "revision"), ("text",), ("files",))
    for row in facts["fetch"]:
        about = "" if row["bytes_known"] == "declared" else "~ "
        size = "" if row["bytes"] is None else about + size_text(row["bytes"])
        revision = row["revision"] or "UNPINNED"
        table.add_row(row["key"], row["repository"], revision, size, ", ".join(row["files"]) or "model")
    return table


def _sft(facts: dict[str, Any]) -> Table | None:
    if not facts["sft"]:
        return None
    table = _table(
        "supervised fine-tuning",
        ("phase", "set", "where", "form", "license"),
        ("examples", "at most", "epochs", "learning rate"),
    )
    for phase in facts["sft"]:
        for i, each in enumerate(phase["sources"]):
            table.add_row(
                phase["name"] if i == 0 else "", *_set(each), f"{phase['epochs']:g}", f"{phase['learning_rate']:g}",
            )  # fmt: skip
        table.add_section()
    return table


def _prompts(facts: dict[str, Any]) -> Table | None:
    found = facts["preferences"]
    if found is None:
        return None
    select = found["select"] if isinstance(found["select"], str) else found["select"]["hub"]
    table = _table("preferences", *_SET_COLUMNS)
    for each in found["prompts"]:
        table.add_row(*_set(each))
    table.add_section()
    table.add_row("selected by", select)
    for name in ("refinements", "rounds", "prompts_per_round", "beta", "lambda", "learning_rate", "epochs"):
        table.add_row(name, "all" if found[name] is None else f"{found[name]:g}")
    return table


_SET_COLUMNS = ("set", "where", "form", "license"), ("examples", "at most")


def _set(each: dict[str, Any]) -> tuple[str, ...]:
    """The cells of a set in a table with ``_SET_COLUMNS``."""
    most = "" if each["max_examples"] is None else f"{each['max_examples']:,}"
    form = each["form"] or "by its columns" if "form" in each else ""
    return each["name"], each["where"], form, each["license"], _count(each["examples"]), most


def _tasks(facts: dict[str, Any]) -> Table | None:
    if not facts["tasks"]:
        return None
    table = _table("tasks whose answers are checked", *_SET_COLUMNS)
    for each in facts["tasks"]:
        table.add_row(*_set(each))
    return table


def _evaluate(facts: dict[str, Any]) -> Table | None:
    if not facts["evaluate"]:
        return None
    table = _table("evaluation", ("task",), ("published, %",))
    published = [each["published"] for each in facts["evaluate"] if each["published"] is not None]
    for each in facts["evaluate"]:
        table.add_row(each["task"], "" if each["published"] is None else f"{each['published']:.2f}")
    if published:
        table.add_section()
        table.add_row("mean", f"{sum(published) / len(published):.2f}")
    return table


def _count(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"
