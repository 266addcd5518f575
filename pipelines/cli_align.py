"""The commands after fine-tuning: align a model, compare ways of aligning it, and talk to it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from pipelines.cli_inspect import home_option

_recipe = click.argument("recipe", metavar="RECIPE")
_workers = click.option(
    "--workers", type=click.IntRange(min=1), default=None, help="Processes at a time.  [default: one a core]"
)


@click.command(epilog="Example: plm align recipes/nano.yaml")
@_recipe
@click.option(
    "--from", "start", type=click.Path(path_type=Path, file_okay=False, exists=True), default=None,
    help="Folder of the model to align.  [default: the recipe's, after its last SFT phase]",
)  # fmt: skip
@home_option
@_workers
def align(recipe: str, start: Path | None, home: Path | None, workers: int | None) -> None:
    """Align the recipe's model by ARIES: an activation, then rounds of collected answers and training on them.

    An interrupted run goes on where it was; a finished one is only looked up. Every chain of answers is kept, with its
    scores and the decision, in the run's folder.
    """
    from pipelines.alignment import ALIGNED, align_model
    from pipelines.stages import open_build, relative

    made = open_build(recipe, home, workers, progress=sys.stderr.isatty(), say=click.echo)
    live = sys.stderr.isatty()
    summary = align_model(made, progress=live, say=click.echo, start=start)
    state = "reused" if summary["reused"] else f"trained in {summary['seconds']:.0f} s"
    click.echo(f"aligned by {summary['method']}: {summary['steps']:,} steps, {summary['tokens']:,} tokens, {state}")
    for stage in summary["stages"]:
        _print_stage(stage)
    click.echo(f"model folder: {relative(made.folder / ALIGNED / 'final')}")


def _print_stage(stage: dict[str, Any]) -> None:
    counts, chains = stage["counts"], stage["chains"]
    click.echo(f"  {stage['name']}: {counts['pairs']:,} pairs of {counts['chains']:,} chains")
    right = " -> ".join(f"{share:.1%}" for share in chains["right"] if share is not None)
    if right:
        click.echo(f"    right by step of the chain: {right}")
    dropped = {reason: number for reason, number in counts["reasons"].items() if reason != "pair"}
    if dropped:
        click.echo("    no pair: " + ", ".join(f"{reason} {number:,}" for reason, number in dropped.items()))


@click.command("compare-alignment", epilog="Example: plm compare-alignment recipes/nano.yaml --seeds 3")
@_recipe
@click.option("--seeds", type=click.IntRange(min=2), default=3, show_default=True, help="Seeds of each contender.")
@home_option
@_workers
def compare_alignment(recipe: str, seeds: int, home: Path | None, workers: int | None) -> None:
    """Train and measure SFT, iterative DPO and ARIES on the held-out tasks, each with every seed.

    DPO and ARIES start from the same model, draw as many answers and take as many optimiser steps. No winner is
    declared within the noise, which is judged by the differences seed by seed. An interrupted comparison goes on where
    it was; finished runs are only looked up. Needs the recipe's trained model.
    """
    from rich.console import Console

    from pipelines.alignment import compare
    from pipelines.stages import open_build, relative

    start, live = time.monotonic(), sys.stderr.isatty()

    def say(line: str) -> None:
        click.echo(f"{time.monotonic() - start:7.1f} s  {line}")

    made = open_build(recipe, home, workers, progress=live, say=say, training=True)
    page, found = compare(made, range(made.recipe.seed, made.recipe.seed + seeds), live, say)
    console = Console(width=None if sys.stdout.isatty() else 140)
    for table in _tables(found):
        console.print(table)
    click.echo(found["verdict"])
    click.echo(f"judged by {found['judged_by']}")
    click.echo(f"comparison: {relative(page)}")


def _tables(found: dict[str, Any]) -> list[Any]:
    """The shares of right answers by contender and seed, the pairs' differences, and the budgets."""
    from rich.table import Table

    seeds = [f"seed {seed}" for seed in found["seeds"]]
    shares = Table(title=f"Right answers to {found['tasks']:,} held-out tasks", title_justify="left")
    pairs = Table(title="Differences seed by seed, in percentage points", title_justify="left")
    budget = Table(title="Budget, mean over seeds", title_justify="left")
    for table, columns in (
        (shares, ("contender", "mean", "spread", *seeds, "tokens an answer")),
        (pairs, ("pair", "mean", "from", "to", *seeds)),
        (budget, ("method", "answers", "pairs", "steps", "tokens trained")),
    ):
        table.add_column(columns[0])
        for name in columns[1:]:
            table.add_column(name, justify="right")
    pairs.add_column("verdict")
    for row in found["contenders"]:
        figures = [f"{100 * x:.1f}%" for x in (row["mean"], row["spread"], *row["shares"])]
        shares.add_row(row["name"], *figures, f"{row['answer_tokens']:.1f}")
    for row in found["pairs"]:
        figures = [f"{100 * x:+.1f}" for x in (row["mean"], row["low"], row["high"], *row["differences"])]
        pairs.add_row(f"{row['a']} - {row['b']}", *figures, row["verdict"])
    for method, spent in found["budget"].items():
        budget.add_row(method, *(f"{spent[name]:,.0f}" for name in ("answers", "pairs", "steps", "tokens")))
    return [shares, pairs, budget]


@click.command(epilog="Example: plm chat build/nano/model-aligned --refine 1 --prompt 'What is 27 + 15?'")
@click.argument("model", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--prompt", default=None, help="Ask this once, print the answer, and end.  [default: a conversation]")
@click.option("--refine", type=click.IntRange(min=0), default=0, show_default=True, help="Refinements of each answer.")
@click.option("--max-tokens", type=click.IntRange(min=1), default=256, show_default=True, help="Of an answer.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy.")
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def chat(
    model: Path, prompt: str | None, refine: int, max_tokens: int, temperature: float, top_p: float, seed: int
) -> None:
    """Talk to a trained model: a line is a message, an empty line or Ctrl-D ends.

    MODEL is the folder of a model or of a run. With --refine the model looks at its answer again before the last one
    stands; with --prompt only that last one is printed.
    """
    from trainer.conversation import Conversation
    from trainer.generate import load
    from trainer.inference import Sampling

    plm, tokenizer = load(model)
    limit = min(max_tokens, plm.config.max_position_embeddings // 2)
    talk = Conversation(plm, tokenizer, Sampling(limit, temperature, top_p), seed)
    if prompt is not None:
        click.echo(_printable("".join(piece for number, piece in talk.ask(prompt, refine) if number == refine)))
        return
    while True:
        try:
            question = click.prompt("you", default="", show_default=False)
        except click.Abort:  # Ctrl-D, Ctrl-C
            click.echo()
            return
        if not question.strip():
            return
        shown = None
        for number, piece in talk.ask(question, refine):
            if number != shown:
                label = f"refined {number}" if number else "model"
                click.echo(f"{'' if shown is None else chr(10)}{label}: ", nl=False)
                shown = number
            click.echo(_printable(piece), nl=False)
        click.echo()


def _printable(text: str) -> str:
    """Text without the control characters by which an answer could steer the terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
