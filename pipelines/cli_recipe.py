"""The commands of a recipe's file: start one, check one, and the schema by which editors complete its keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from plm_data.recipe import Recipe


@click.command(epilog="Example: plm new mine --reader files")
@click.argument("name", default="mine")
@click.option(
    "--reader",
    type=click.Choice(["python", "files", "hub"]),
    default="python",
    show_default=True,
    help="What its source reads: this Python environment, your own files, or a dataset of the hub.",
)
def new(name: str, reader: str) -> None:  # fmt: skip
    """Write NAME.yaml, a commented recipe to start from. It is never written over a file."""
    from pipelines.new_recipe import write_recipe

    path = write_recipe(Path(f"{name}.yaml"), name, reader)
    click.echo(f"{path}: written. Next: plm check {path}; plm build {path}")


@click.command(epilog="Example: plm check recipes/nano.yaml")
@click.argument("recipe", metavar="RECIPE")
def check(recipe: str) -> None:
    """Check a recipe to the last key. No work is done; of everything wrong the file, the line and what to do are said.

    Exit code 2 if something is.
    """
    from pipelines.checking import check_recipe

    loaded, known = check_recipe(recipe)
    for line in _facts(recipe, loaded, known):
        click.echo(line)


def _facts(given: str, recipe: Recipe, known: str) -> list[str]:
    from pipelines.training_cost import sizes
    from plm_data.planning.terminal import closing_lines
    from plm_data.recipe_hub import unpinned
    from trainer.compute import parameters

    sources = [f"{name} ({spec.reader}, {spec.domain}, {spec.language})" for name, spec in recipe.sources.items()]
    total = sum(phase.tokens for phase in recipe.phases.values())
    lines = [f"ok: {given}: recipe {recipe.name}, seed {recipe.seed}", f"sources: {', '.join(sources)}"]
    lines += [f"{name}: {phase.segment}, {phase.tokens:,} tokens" for name, phase in recipe.phases.items()]
    lines.append(f"plan: {total:,} tokens, {known}")
    if (config := sizes(recipe)) is not None:
        trained = "" if recipe.train else "; no train section, so nothing is trained"
        lines.append(f"model: {parameters(config):,} parameters{trained}")
    return lines + closing_lines({"unpinned": unpinned(recipe)})


@click.command(epilog="Example: plm schema > recipe.schema.json")
def schema() -> None:
    """Print the JSON Schema of a recipe.

    An editor with YAML support completes the keys if the recipe's first line is
    `# yaml-language-server: $schema=recipe.schema.json`, with the path of this output.
    """
    from plm_data.recipe_schema import schema_text

    click.echo(schema_text(), nl=False)
