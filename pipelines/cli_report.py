"""The report of a build: its page, its tables, and what differs from another build."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipelines.cli_inspect import home_option


def print_facts(facts: dict[str, Any], most_rules: int | None = None) -> None:
    """Print the tables of a report's facts, as wide as the terminal is."""
    from rich.console import Console

    from plm_data.report.terminal import print_report

    print_report(facts, Console(width=None if sys.stdout.isatty() else 120), most_rules)


@click.command(epilog="Example: plm report recipes/nano.yaml --open")
@click.argument("recipe", metavar="RECIPE")
@click.option("--terminal", is_flag=True, help="Print all its tables here.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--against", default=None, metavar="B",
    help="Compare with another build: a recipe, a build's folder, or its report.json.",
)  # fmt: skip
@home_option
def report(recipe: str, terminal: bool, open_page: bool, against: str | None, home: Path | None) -> None:
    """Show the mixture report of a build: where its page lies, its tables, or what differs from another build."""
    from pipelines.stages import relative
    from plm_data.curation import default_home
    from plm_data.report.facts import recipe_digest

    home = home or default_home()
    data, loaded = _report_of(recipe, home)
    facts = _facts(data)
    page = data.parent / "report.html"
    if against is not None:
        page = _compare(facts, _facts(_report_of(against, home)[0]), data.parent)
    else:
        _print(facts, data, terminal)
    if loaded is not None and facts.get("recipe_digest") != recipe_digest(loaded):
        click.secho(f"! the recipe has changed since this report; run `plm build {recipe}` again", fg="red")
    click.echo(f"{'comparison' if against else 'report'}: {relative(page)}")
    if open_page:
        click.launch(page.resolve().as_uri())


def _print(facts: dict[str, Any], data: Path, terminal: bool) -> None:
    """The tables, or a line a phase and what is wrong."""
    from plm_data.errors import PlmError

    try:
        if terminal:
            print_facts(facts)
            return
        for phase in facts["phases"]:
            realised = (
                f"{phase['tokens']:,} tokens in {phase['documents']:,} documents" if phase["built"] else "not built"
            )
            click.echo(f"{phase['name']} ({phase['segment']}): {phase['planned_tokens']:,} tokens planned, {realised}")
        for problem in facts["problems"]:
            click.secho(f"! {problem}", fg="red")
    except (KeyError, TypeError) as error:
        raise PlmError(f"{data}: not a report of this version ({error!r}); run `plm build` again.") from error


def _compare(facts: dict[str, Any], other: dict[str, Any], folder: Path) -> Path:
    from rich.console import Console

    from plm_data.report.against import compare
    from plm_data.report.against_page import write_comparison
    from plm_data.report.against_terminal import print_comparison

    comparison = compare(facts, other)
    print_comparison(comparison, Console(width=None if sys.stdout.isatty() else 140))
    return write_comparison(comparison, folder)


def _report_of(given: str, home: Path) -> tuple[Path, Any]:
    """The ``report.json`` that is meant, and the recipe where one was given; raises ``PlmError`` if there is none."""
    from plm_data.errors import PlmError
    from plm_data.recipe_file import load_recipe

    path, loaded = Path(given), None
    if path.suffix == ".json":
        data = path
    elif path.is_dir():
        data = path / "report.json"
    else:
        loaded = load_recipe(given)
        data = home / loaded.name / "report.json"
    if not data.is_file():
        hint = f"run `plm build {given}` first" if loaded is not None else "expected the report.json of a build"
        raise PlmError(f"{data}: there is no report; {hint}.")
    return data, loaded


def _facts(data: Path) -> dict[str, Any]:
    import json

    from plm_data.errors import PlmError

    try:
        found = json.loads(data.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PlmError(f"{data}: not the JSON of a report ({error}); run `plm build` again.") from error
    if not isinstance(found, dict):
        raise PlmError(f"{data}: not a report, which is a mapping; run `plm build` again.")
    return found
