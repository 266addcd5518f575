"""The plan of a whole recipe: what it takes, in seconds and without network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from pipelines.cli_inspect import home_option


@click.command(epilog="Example: plm plan recipes/plm-1.8b.yaml --mfu 0.45")
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--gpu-tflops",
    type=click.FloatRange(min=0, min_open=True),
    default=989.0,
    show_default=True,
    help="Peak of one GPU in TFLOP/s; an H100 SXM has 989, dense, in bfloat16.",
)
@click.option(
    "--mfu",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.4,
    show_default=True,
    help="Share of that peak which the training reaches.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    metavar="MB",
    help="MB of text that a core curates in a second.  [default: measured here, in about two seconds]",
)
@click.option(
    "--bytes-per-token",
    type=click.FloatRange(min=0, min_open=True),
    default=4.5,
    show_default=True,
    help="For sources that declare tokens and no bytes.",
)
@click.option("--json", "as_json", is_flag=True, help="The facts as JSON, whole.")
@home_option
def plan(
    recipe: str, gpu_tflops: float, mfu: float, rate: float | None, bytes_per_token: float, as_json: bool,
    home: Path | None,
) -> None:  # fmt: skip
    """Print what a recipe takes. That is tokens and epochs, disk, core and GPU hours, and what it would fetch.

    Nothing is read but the recipe and the local files that it names, and no network is used. A plan that cannot be is
    refused, with the source that limits it, the largest budget that can be, and the epochs it would take.

    After a build it also lists the steps that the recipe as it stands now would run again, and what has changed.
    """
    from pipelines.stages import open_build
    from pipelines.training_cost import training_facts
    from plm_data.pending import pending_steps
    from plm_data.planning.facts import plan_facts
    from plm_data.planning.rate import given_rate, measured_rate
    from plm_data.report.pending import pending_lines

    made = open_build(recipe, home)
    planned = made.estimate()
    facts = plan_facts(made, planned, given_rate(rate) if rate else measured_rate(), bytes_per_token)
    facts["training"] = training_facts(made.recipe, gpu_tflops, mfu)
    # Before any build all of it would run; and to find that out a hub's files would have to be listed.
    pending = pending_steps(made.recipe, made.home) if made.last_steps() else None
    facts["pending"] = None if pending is None else [vars(step) for step in pending]
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        _print(made, planned, facts)
        for line in pending_lines(pending) if pending is not None else ():
            click.echo(line)


def _print(made: Any, planned: Any, facts: dict[str, Any]) -> None:
    from rich.console import Console

    from plm_data.planning.terminal import print_plan

    # A table that is cut to the width of a pipe would lose its figures.
    print_plan(made, planned, facts, Console(width=None if sys.stdout.isatty() else 200))
