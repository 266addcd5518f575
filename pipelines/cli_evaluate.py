"""The command that measures a trained model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click


def _folder(name: str, help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option(name, type=click.Path(path_type=Path, exists=True, file_okay=False), default=None, help=help)


@click.command(epilog="Example: plm evaluate build/nano/model/final --refine 1 --suite gsm8k-local --task-data DIR")
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--recipe", "-r", default=None, help="The recipe whose suite stands on the page.  [default: the paper's]")
@_folder("--tasks", "Folder of tasks whose answers are checked.  [default: tasks/ of the model's build]")
@_folder("--held-out", "Folder of held-out documents.  [default: held-out/ of the model's build]")
@click.option(
    "--suite",
    multiple=True,
    metavar="NAME",
    help="Task of lm-evaluation-harness, or gsm8k-local, humaneval-local, mbpp-local; `paper` is all of the recipe's. "
    "Repeatable.",
)
@_folder("--task-data", "Folder of the local tasks' files: gsm8k_test.jsonl, humaneval.jsonl.gz, …")
@click.option(
    "--refine", type=click.IntRange(min=0), default=0, show_default=True, help="Refine each answer N times too."
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=None, help="At most N documents, tasks and questions of each."
)
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=None,
    help="Longest answer to a task.  [default: that of --recipe; else 256, or a quarter of the model's positions]",
)
@click.option("--window", type=click.IntRange(min=2), default=None, help="Tokens seen at once.  [default: as trained]")
@click.option("--chat", is_flag=True, help="Put the suite's questions as a conversation, for a model tuned to answer.")
@click.option(
    "--run-generated-code",
    is_flag=True,
    help="Run the code that the model writes, confined; without it, tasks that need it are not judged.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=None, help="[default: the model's folder]"
)
def evaluate(
    checkpoint: Path, recipe: str | None, tasks: Path | None, held_out: Path | None, suite: tuple[str, ...],
    task_data: Path | None, refine: int, limit: int | None, max_tokens: int | None, window: int | None, chat: bool,
    run_generated_code: bool, out: Path | None,
) -> None:  # fmt: skip
    """Measure a model: bits per byte, exact match on its tasks, and the paper's suite; written as one page.

    CHECKPOINT is a model's folder, or a training run's. What was measured before, of the same weights and in the same
    way, is reused, so an interrupted evaluation goes on where it was.
    """
    from pipelines.evaluation import published, suite_recipe
    from pipelines.stages import relative
    from trainer.evaluation.asked import Asked
    from trainer.evaluation.run import FACTS, PAGE, evaluate

    if not checkpoint.is_dir():
        from trainer.errors import TrainerError

        raise TrainerError(
            f"{checkpoint}: there is no such folder, expected a trained model or its run; train it first"
        )
    named = suite_recipe(recipe)
    asked = Asked(
        checkpoint=checkpoint,
        out=out or checkpoint,
        held_out=held_out or _beside(checkpoint, "held-out"),
        tasks=tasks or _beside(checkpoint, "tasks"),
        suite=suite,
        published=published(named),
        task_data=task_data,
        refine=refine,
        limit=limit,
        max_tokens=max_tokens or (named.evaluate.max_tokens if recipe and named and named.evaluate else None),
        window=window,
        chat=chat,
        run_code=run_generated_code,
        progress=sys.stderr.isatty(),
        say=click.echo,
    )
    facts = evaluate(asked)
    for part in ("bits", "tasks"):
        if facts[part]["reason"]:
            click.echo(f"{part}: not run: {facts[part]['reason']}")
    click.echo(f"facts: {relative(asked.out / FACTS)}")
    click.echo(f"page:  {relative(asked.out / PAGE)}")
    wanting = [row["task"] for row in facts["suite"] if row["reason"] not in (None, "not asked for")]
    if wanting:
        raise click.ClickException(f"could not run {', '.join(wanting)}; the reasons stand above and on the page")


def _beside(checkpoint: Path, name: str) -> Path | None:
    """The folder of the build that a model lies in, as BUILD/NAME/model/final does; its links are not followed."""
    from pipelines.stages import relative

    for folder in list(checkpoint.absolute().parents)[:3]:
        if (folder / name / "manifest.json").is_file():
            return Path(relative(folder / name))
    return None
