"""The command line: each command a thin line over the library; what it needs is imported when it runs."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines import (
    cli_align,
    cli_evaluate,
    cli_inspect,
    cli_lock,
    cli_mix,
    cli_plan,
    cli_recipe,
    cli_report,
    cli_train,
)
from pipelines.cli_inspect import home_option
from pipelines.cli_report import print_facts

if TYPE_CHECKING:
    from plm_data.build import Build

_workers = click.option(
    "--workers", type=click.IntRange(min=1), default=None, help="Processes at a time.  [default: one a core]"
)
_recipe = click.argument("recipe", metavar="RECIPE")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="plm", prog_name="plm")
def cli() -> None:
    """From a recipe to a multi-phase training corpus, and from that to a model.

    RECIPE is a YAML file, or the name of one in recipes/.

    Example: plm reproduce recipes/nano.yaml
    """


def _open(recipe: str, home: Path | None, workers: int | None, training: bool = False) -> Build:
    from pipelines.stages import open_build

    start = time.monotonic()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - start:7.1f} s  {line}")

    return open_build(recipe, home, workers, progress=sys.stderr.isatty(), say=say, training=training)


@cli.command(epilog="Example: plm build recipes/nano.yaml --phase phase2")
@_recipe
@click.option(
    "--phase",
    "phases",
    multiple=True,
    help="Phase to build: of the pre-training, of sft, preferences or tasks; repeatable.  [default: all]",
)
@click.option("--locked", is_flag=True, help="Refuse whatever differs from the recipe's lock, before and after.")
@home_option
@_workers
def build(recipe: str, phases: tuple[str, ...], locked: bool, home: Path | None, workers: int | None) -> None:
    """Build phases: their shards, and the mixture report.

    What is there already, made from the same inputs, takes no work. An interrupted build goes on where it was.
    """
    from pipelines.stages import build_locked, build_phases, relative

    made = _open(recipe, home, workers)
    path, facts = build_locked(made, recipe, phases) if locked else build_phases(made, phases)
    print_facts(facts)
    for phase in phases or made.all_phases:
        click.echo(f"shards: {relative(made.folder / phase)}")
    click.echo(f"report: {relative(path)}")


@cli.command("what-if", epilog="Example: plm what-if recipes/nano.yaml --set curate.gopher.max_symbol_ratio=0.2")
@_recipe
@click.option(
    "--set",
    "settings",
    multiple=True,
    required=True,
    metavar="KEY=VALUE",
    help="A threshold, a source's priority or curate.dedup.quality; null turns a rule or a set off. Repeatable.",
)
@home_option
@_workers
def what_if(recipe: str, settings: tuple[str, ...], home: Path | None, workers: int | None) -> None:  # fmt: skip
    """Documents and tokens that another threshold would gain and lose, by source.

    Decides anew from the measured columns alone, and changes nothing. What is not measured yet is built first.
    """
    from rich.console import Console

    from plm_data.report.terminal import what_if_table
    from plm_data.whatif import changed_recipe, what_if

    made = _open(recipe, home, workers)
    changed_recipe(made.recipe, settings)  # a wrong key is told before any work
    found = what_if(made, settings)
    Console(width=None if sys.stdout.isatty() else 120).print(what_if_table(found))


@cli.command(epilog="Example: plm train recipes/nano.yaml")
@_recipe
@home_option
@_workers
def train(recipe: str, home: Path | None, workers: int | None) -> None:
    """Train the recipe's model through its phases, building those that are missing.

    An interrupted run goes on from its newest checkpoint; a finished one is only looked up. On several GPUs or
    machines, with the phases built: torchrun --nproc-per-node 8 -m pipelines.cli train RECIPE
    """
    from pipelines.ranks import first

    made = _open(recipe, home, workers, training=True)
    summary = _train(made)
    if first():
        _print_training(made, summary)


def _train(made: Build) -> dict[str, Any]:
    """Train with a progress line on a terminal, and a line a checkpoint elsewhere."""
    from pipelines.training import train as train_model

    live = sys.stderr.isatty()
    return train_model(made, progress=live, say=(lambda _: None) if live else made.say)


def _print_training(made: Build, summary: dict[str, Any]) -> None:
    from pipelines.stages import relative

    state = "reused" if summary.get("reused") else f"trained in {summary['seconds']:.0f} s"
    click.echo(
        f"model: {summary['parameters']:,} parameters, {summary['tokens']:,} tokens at "
        f"{summary['tokens_per_second']:,.0f} a second, {state}"
    )
    for phase in summary["phases"]:
        click.echo(
            f"  {phase['name']} ({phase['segment']}): {phase['tokens']:,} tokens, "
            f"loss {phase['loss_start']:.3f} -> {phase['loss_end']:.3f}"
            + (f", held out {phase['held_out_loss']:.3f}" if phase["held_out_loss"] is not None else "")
        )
    click.echo(f"  last loss is {summary['phases'][-1]['ratio']:.3f} of ln(vocabulary)")
    click.echo(f"model folder: {relative(made.folder / 'model' / 'final')}")
    click.echo(f"training report: {relative(made.folder / 'model' / 'report.html')}")


@cli.command(epilog="Example: plm sample recipes/nano.yaml --prompt 'def ' --max-tokens 60")
@_recipe
@click.option("--prompt", "prompts", multiple=True, help="Text to continue; repeatable.  [default: the recipe's]")
@click.option("--max-tokens", type=click.IntRange(min=1), default=80, show_default=True)
@click.option("--temperature", type=click.FloatRange(min=0), default=0.7, show_default=True, help="0 is greedy.")
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), default=0.95, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@home_option
def sample(
    recipe: str, prompts: tuple[str, ...], max_tokens: int, temperature: float, top_p: float, seed: int,
    home: Path | None,
) -> None:  # fmt: skip
    """Print text of the trained model, as it is decoded."""
    from pipelines.stages import samples
    from plm_data.curation import default_home
    from plm_data.recipe_file import load_recipe

    loaded = load_recipe(recipe)
    asked = prompts or (loaded.train.sample_prompts if loaded.train else ()) or ("",)
    folder = (home or default_home()) / loaded.name
    for pieces in samples(folder, asked, max_tokens, temperature, top_p, seed):
        for piece in pieces:
            click.echo(piece, nl=False)
        click.echo("\n" + "─" * 40)


@cli.command(epilog="Example: plm reproduce recipes/nano.yaml")
@_recipe
@home_option
@_workers
def reproduce(recipe: str, home: Path | None, workers: int | None) -> None:
    """All of a recipe: every phase, the report, the model, its fine-tuning, alignment and evaluation.

    At the end a summary and a sample. Run again, it goes on where it was, and says what it reused.
    """
    from pipelines.after import after_steps, run_after
    from pipelines.stages import build_phases, relative, sample_texts

    made = _open(recipe, home, workers, training=True)
    path, facts = build_phases(made)
    summary = _train(made)
    live = sys.stderr.isatty()
    after = run_after(made, progress=live, say=made.say) if after_steps(made) else []
    texts = sample_texts(made)
    click.echo()
    print_facts(facts, most_rules=8)
    click.echo()
    _print_training(made, summary)
    if after:
        _print_after(made, after)
    for text in texts:
        click.echo("\na sample of its text:\n" + "\n".join("    " + line for line in text.splitlines()))
    click.echo(f"\nreport: {relative(path)}")


def _print_after(made: Build, rows: list[dict[str, Any]]) -> None:
    from pipelines.after import after_table
    from pipelines.stages import relative

    click.echo("\nafter pre-training      bits a byte   tasks right   refined")
    for line in after_table(rows):
        bits, shares = line["bits per byte"], [line["exact match"], line["refined"]]
        told = ["" if share is None else f"{share:.1%}" for share in shares]
        click.echo(f"  {line['model']:20} {'' if bits is None else f'{bits:12.4f}'} {told[0]:>13} {told[1]:>9}")
    click.echo(f"evaluation: {relative(made.folder / rows[-1]['name'] / 'final' / 'evaluation.html')}")


@cli.command(epilog="Example: plm serve   (then, elsewhere: prefect deployment run build-phase2)")
def serve() -> None:
    """Start the Prefect server on loopback and serve every deployment, until Ctrl-C.

    Run it in the project's folder, whose pyproject.toml tells Prefect's own commands where the server is.
    """
    # The flows' processes and Prefect's client talk to loopback alone, which no proxy can reach.
    os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"]))
    from pipelines.deployments import deployments
    from pipelines.serve import serve as serve_deployments

    sys.exit(serve_deployments(*deployments()))


cli.add_command(cli_align.align)
cli.add_command(cli_align.chat)
cli.add_command(cli_align.compare_alignment)
cli.add_command(cli_evaluate.evaluate)
cli.add_command(cli_inspect.explain)
cli.add_command(cli_inspect.samples)
cli.add_command(cli_inspect.near)
cli.add_command(cli_inspect.dedup)
cli.add_command(cli_report.report)
cli.add_command(cli_lock.lock)
cli.add_command(cli_lock.verify)
cli.add_command(cli_lock.diff)
cli.add_command(cli_mix.mix)
cli.add_command(cli_mix.trace)
cli.add_command(cli_plan.plan)
cli.add_command(cli_recipe.new)
cli.add_command(cli_recipe.check)
cli.add_command(cli_recipe.schema)
cli.add_command(cli_train.compare_schedules)
cli.add_command(cli_train.sft)
cli.add_command(cli_train.training_report)


def main() -> None:
    """Run the command line; an error that the user can mend is one message, never a traceback."""
    from pipelines.ranks import first_here
    from plm_data.errors import PlmError

    def tell(error: Exception) -> None:
        if first_here():  # what one of several processes cannot do, none of them can
            click.echo(f"plm: {error}", err=True)

    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("\nstopped; the same command goes on from here", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except PlmError as error:
        if os.environ.get("PLM_DEBUG"):
            raise
        tell(error)
        sys.exit(error.exit_code)
    except ValueError as error:
        from trainer.errors import TrainerError

        if not isinstance(error, TrainerError) or os.environ.get("PLM_DEBUG"):
            raise
        tell(error)
        sys.exit(getattr(error, "exit_code", 1))


if __name__ == "__main__":
    main()
