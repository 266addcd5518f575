"""The commands of what a build rests on: its lock, its checksums, and two recipes or builds beside each other."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pipelines.cli_inspect import home_option


@click.command(epilog="Example: plm lock recipes/nano.yaml   (then: plm build recipes/nano.yaml --locked)")
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help="Where to write it.  [default: beside the recipe, with the suffix .lock]",
)  # fmt: skip
@home_option
def lock(recipe: str, output: Path | None, home: Path | None) -> None:
    """Write down what a recipe depends on. That is: sources, packages, code, models, settings.

    Where the recipe is built as it stands, the digests of its shards and tokenizer too, so that a locked build
    elsewhere is held against them.
    """
    from pipelines.stages import open_build, relative
    from plm_data.locking.lock import inputs, lock_file, results, write_lock
    from plm_data.recipe_file import find_recipe

    build = open_build(recipe, home)
    found = inputs(build)
    built = results(build)
    path = output or lock_file(find_recipe(recipe))
    write_lock(path, build.recipe, found | built)
    items = sum(len(source["contents"]) for source in found["sources"].values())
    click.echo(f"locked {len(found['sources'])} sources ({items:,} items), {len(found['packages'])} packages,")
    shards = sum(len(phase["shards"]) for phase in built.get("phases", {}).values())
    click.echo(
        f"and {shards} shards of {len(built['phases'])} phases" if built else "and no shards: it is not built yet"
    )
    click.echo(f"lock: {relative(path)}")


@click.command(epilog="Example: plm verify build/nano   or: plm verify build/nano elsewhere/nano")
@click.argument("build", metavar="BUILD")
@click.argument("other", metavar="[OTHER]", required=False)
@home_option
def verify(build: str, other: str | None, home: Path | None) -> None:
    """Compute a build's checksums anew. All of them, from its shards up; or compare two builds to the byte.

    BUILD is a build's folder, or a recipe. Of two builds the first difference is named: shard, row, column, and the
    step where they part.
    """
    from pipelines.stages import relative
    from plm_data.errors import LockError
    from plm_data.locking.builds import first_difference
    from plm_data.locking.verify import verify_build

    folder = _folder(build, home)
    if other is not None:
        if found := first_difference(folder, _folder(other, home)):
            raise LockError("the builds are not the same\n  " + "\n  ".join(found))
        click.echo("the shards of both builds are the same to the byte")
        return
    verified = verify_build(folder, progress=sys.stderr.isatty())
    for phase, (shards, rows, tokens) in verified.phases.items():
        click.echo(f"{phase}: {shards} shards, {rows:,} rows, {tokens:,} tokens as recorded")
    click.echo(
        f"{verified.steps} steps, {verified.files:,} files, {verified.megabytes:,.0f} MB: every checksum is as recorded"
    )
    click.echo(f"verified: {relative(folder)}")


@click.command(epilog="Example: plm diff recipes/nano.yaml mine.yaml")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@home_option
def diff(a: str, b: str, home: Path | None) -> None:
    """Compare two recipes. Shown are sources, thresholds, budgets, and the tokens that move, as built or as planned."""
    from rich.console import Console

    from plm_data.curation import default_home
    from plm_data.locking.recipes import diff_recipes
    from plm_data.locking.terminal import print_diff
    from plm_data.recipe_file import load_recipe

    one, two = load_recipe(a), load_recipe(b)
    names = (one.name, two.name) if one.name != two.name else ("first", "second")
    # A table that is cut to the width of a pipe would lose its figures.
    console = Console(width=None if sys.stdout.isatty() else 160)
    print_diff(diff_recipes(one, two, home or default_home()), names, console)


def _folder(given: str, home: Path | None) -> Path:
    """The folder of a build that is named by itself or by its recipe."""
    from plm_data.curation import default_home
    from plm_data.errors import PlmError
    from plm_data.recipe_file import load_recipe

    path = Path(given)
    if path.is_dir():
        return path
    if len(path.parts) > 1 and path.suffix not in (".yaml", ".yml"):
        raise PlmError(f"{path}: no such folder; expected the folder of a build, such as build/nano, or a recipe.")
    return (home or default_home()) / load_recipe(given).name
