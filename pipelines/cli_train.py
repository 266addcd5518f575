"""The commands about training runs: the report of one, and several under different schedules."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from pipelines.cli_inspect import home_option


class _Tokens(click.ParamType):
    """A number of tokens, as a recipe writes one: 300000, 300K, 1.5M."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from pydantic import TypeAdapter, ValidationError

        from plm_data.recipe_keys import Count

        try:
            return TypeAdapter(Count).validate_python(int(value) if str(value).isdecimal() else value)
        except ValidationError:
            self.fail(f"found {value!r}, expected a number of tokens such as 300000, 300K or 1.5M", param, ctx)


@click.command("compare-schedules", epilog="Example: plm compare-schedules recipes/nano.yaml --tokens 300K")
@click.argument("recipe", metavar="RECIPE")
@click.option("--seeds", type=click.IntRange(min=2), default=3, show_default=True, help="Seeds of each schedule.")
@click.option("--schedules", default="wsdc,wsd,cosine", show_default=True, help="Two or more, separated by commas.")
@click.option(
    "--tokens", type=_Tokens(), default=None, help="Budget of each run, in the phases' shares.  [default: the recipe's]"
)
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Processes at a time.  [default: one a core]")
@home_option
def compare_schedules(
    recipe: str, seeds: int, schedules: str, tokens: int | None, workers: int | None, home: Path | None
) -> None:  # fmt: skip
    """Train the recipe's model under each schedule and seed, and tell which ends lower on held-out text.

    For a seed all schedules see the same data in the same order, from the same weights. No schedule is called the
    lowest within the noise, which is judged by the differences seed by seed. An interrupted comparison goes on where it
    was; finished runs are only looked up. Needs held_out in the recipe.
    """
    from rich.console import Console

    from pipelines.stages import open_build, relative
    from pipelines.training import training
    from plm_data.errors import RecipeError
    from trainer.compare import check_compared, run_schedules

    start, live = time.monotonic(), sys.stderr.isatty()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - start:7.1f} s  {line}")

    names: list[Any] = [name.strip() for name in schedules.split(",") if name.strip()]
    check_compared(names, range(seeds))
    made = open_build(recipe, home, workers, progress=live, say=say, training=True, tokens=tokens)
    if not any(made.recipe.held_out_of(source) for source in made.recipe.sources):
        raise RecipeError(
            f"recipe {made.recipe.name} holds no documents out, and schedules are compared on text that no phase has; "
            "set held_out, for example to 0.01."
        )
    own = training(made)
    runs = run_schedules(
        own.settings, names, range(own.settings.seed, own.settings.seed + seeds), own.folder,
        lambda settings, out: own.run(settings, out, live), say,
    )  # fmt: skip
    from trainer.report.compare_page import write_comparison

    page, found = write_comparison(runs, made.folder, made.recipe.name)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for table in _tables(found):
        console.print(table)
    click.echo(found["verdict"])
    click.echo(f"judged by {found['judged_by']}")
    click.echo(f"comparison: {relative(page)}")


def _tables(found: dict[str, Any]) -> list[Any]:
    """The losses by schedule and seed, and the pairs' differences."""
    from rich.table import Table

    seeds = [f"seed {seed}" for seed in found["seeds"]]
    losses = Table(title=f"Held-out loss after {found['tokens']:,} tokens, nats a token", title_justify="left")
    pairs = Table(title="Differences seed by seed; below zero, the first is lower", title_justify="left")
    losses.add_column("schedule")
    pairs.add_column("pair")
    for name in ("mean", "spread", *seeds):
        losses.add_column(name, justify="right")
    for name in ("mean", "from", "to", *seeds):
        pairs.add_column(name, justify="right")
    pairs.add_column("verdict")
    for row in found["schedules"]:
        losses.add_row(row["name"], *(f"{x:.4f}" for x in (row["mean"], row["spread"], *row["losses"])))
    for row in found["pairs"]:
        figures = (row["mean"], row["low"], row["high"], *row["differences"])
        pairs.add_row(f"{row['a']} - {row['b']}", *(f"{x:+.4f}" for x in figures), row["verdict"])
    return [losses, pairs]


@click.command("training-report", epilog="Example: plm training-report build/nano/model --open")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path, file_okay=False))
@click.option("--open", "open_page", is_flag=True, help="Open the page in the browser.")
def training_report(run: Path, open_page: bool) -> None:
    """Write the report of a training run from its logs as they are now, whether it is finished or not.

    RUN is the run's folder, such as build/nano/model.
    """
    from pipelines.stages import relative
    from trainer.report.page import write_training_report

    page = write_training_report(run)
    click.echo(f"training report: {relative(page)}")
    if open_page:
        click.launch(page.resolve().as_uri())


@click.command(epilog="Example: plm sft recipes/nano.yaml")
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--from", "start", type=click.Path(path_type=Path, file_okay=False, exists=True), default=None,
    help="Folder of the model to fine-tune.  [default: the recipe's pre-trained one]",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), default=None, help="Processes at a time.  [default: one a core]")
@home_option
def sft(recipe: str, start: Path | None, workers: int | None, home: Path | None) -> None:
    """Fine-tune the recipe's model through its phases of conversations, each from where the one before ended.

    A loss is taken of the assistants' words alone. An interrupted run goes on from its newest checkpoint; a finished
    one is only looked up. The conversations are built if they are not there.
    """
    from pipelines.ranks import first
    from pipelines.stages import open_build, relative
    from pipelines.tuning import tune, tuned_folder

    live = sys.stderr.isatty()
    made = open_build(recipe, home, workers, progress=live, say=click.echo, training=True)
    done = tune(made, progress=live, say=(lambda _: None) if live else click.echo, start=start)
    for phase, summary in done.items() if first() else ():
        told = summary["phases"][0]
        state = "reused" if summary["reused"] else f"trained in {summary['seconds']:.0f} s"
        click.echo(
            f"{phase}: {summary['steps']:,} steps, {summary['tokens']:,} tokens, loss {told['loss_start']:.3f} -> "
            f"{told['loss_end']:.3f}, {state}"
        )
        click.echo(f"  model folder: {relative(made.folder / tuned_folder(phase) / 'final')}")
        click.echo(f"  report:       {relative(made.folder / tuned_folder(phase) / 'report.html')}")
