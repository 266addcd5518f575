"""The report for a terminal: the same figures, and no markup of anybody's."""

from __future__ import annotations

import copy
import io
from typing import Any

from rich.console import Console

from plm_data.report.terminal import print_report


def printed(facts: dict[str, Any], most_rules: int | None = None) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    print_report(facts, console, most_rules)
    return console.export_text()


def test_the_terminal_shows_the_same_figures_and_takes_no_markup(facts: dict[str, Any]) -> None:
    shown = copy.deepcopy(facts)
    shown["problems"] = ["[bold]not markup[/bold]"]
    text = printed(shown)
    assert "[bold]not markup[/bold]" in text
    for phase in facts["phases"]:
        assert f"{phase['tokens']:,}" in text
        for source in phase["sources"].values():
            assert f"{source['tokens']:,}" in text and f"{source['planned_tokens']:,}" in text
    for rule in facts["rules"]:
        assert (rule["rule"] in text) == (rule["documents"] > 0)


def test_the_terminal_can_show_the_costliest_rules_alone(facts: dict[str, Any]) -> None:
    text = printed(facts, most_rules=2)
    taking = [rule for rule in facts["rules"] if rule["documents"]]
    assert all(rule["rule"] in text for rule in taking[:2]) and taking[2]["rule"] not in text
    assert f"and {len(taking) - 2} more rules" in text


def test_a_phase_that_is_not_built_is_planned(facts: dict[str, Any]) -> None:
    shown = copy.deepcopy(facts)
    phase = shown["phases"][0]
    phase.update(built=False, tokens=None, documents=None)
    for source in phase["sources"].values():
        source.update(tokens=None, documents=None)
    text = printed(shown)
    assert "not built" in text and f"{phase['planned_tokens']:,}" in text
