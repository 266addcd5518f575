"""The commands of the mix: the plan before and after any work, and a training row's way back to its document."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipelines.cli_inspect import built_recipe, home_option, recipe_option

_workers = click.option(
    "--workers", type=click.IntRange(min=1), default=None, help="Processes at a time.  [default: one a core]"
)


@click.command(epilog="Example: plm mix recipes/nano.yaml --check")
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--check", is_flag=True, help="Do no work: plan by what the sources declare, or at most can give by their size."
)
@home_option
@_workers
def mix(recipe: str, check: bool, home: Path | None, workers: int | None) -> None:
    """Print the plan: what each phase takes of each source, to the token.

    Without --check the recipe is curated as far as the plan needs, so that it rests on counted tokens. A plan that
    cannot be is refused, with the source that limits it, the largest budget that can be, and the epochs it would take.
    """
    from rich.console import Console

    from pipelines.stages import open_build
    from plm_data.report.plan import plan_table

    made = open_build(recipe, home, workers, progress=sys.stderr.isatty())
    plan = made.estimate() if check else made.plan
    supply = made.known_supply if check else {source: (tokens, "counted") for source, tokens in made.supply.items()}
    # A table that is cut to the width of a pipe would lose its figures.
    Console(width=None if sys.stdout.isatty() else 160).print(plan_table(made.recipe, plan, supply))
    total = sum(phase.tokens for phase in made.recipe.phases.values())
    known = "by what is known before any work" if check else "as counted"
    click.echo(f"{total:,} tokens in {len(plan)} phase{'s' * (len(plan) > 1)}: feasible {known}")


@click.command(epilog="Example: plm trace build/nano/phase1/shard-00000.parquet 17")
@click.argument("shard", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("row", type=int)
@recipe_option
@home_option
def trace(shard: Path, row: int, recipe: str | None, home: Path | None) -> None:
    """Tell where a training row comes from: its document, source, duplicates, licence, phase and epoch.

    SHARD is a shard's file in the folder of its phase; ROW counts from 0.
    """
    from plm_data.inspect.trace import manifest_of, trace

    for line in trace(built_recipe(recipe or manifest_of(shard)["recipe"], home), shard, row):
        click.echo(line)
