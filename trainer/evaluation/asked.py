"""What is asked of an evaluation, and the commands that ask for its parts."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@dataclass(frozen=True)
class Asked:
    """What is asked of an evaluation. A folder that is None is not measured on, and the page says so."""

    checkpoint: Path
    out: Path
    held_out: Path | None = None  # documents
    tasks: Path | None = None  # prompts
    suite: tuple[str, ...] = ()  # tasks of lm_eval, or local ones
    published: tuple[tuple[str, float | None], ...] = ()  # of the recipe: task, and the paper's figure in per cent
    task_data: Path | None = None
    refine: int = 0
    limit: int | None = None
    max_tokens: int | None = None  # of an answer to a task; None: see `answer_tokens`
    window: int | None = None  # tokens seen at once; None: those of training, or all that the model can
    chat: bool = False
    run_code: bool = False
    progress: bool = True
    say: Callable[[str], None] = field(default=lambda _: None, compare=False)


def command(asked: Asked, *further: str) -> str:
    """Return the command that makes a part of this evaluation, ready for a shell."""
    shared: list[str] = []
    for option, value in (("--window", asked.window), ("--limit", asked.limit)):
        shared += [option, str(value)] if value is not None else []
    return shlex.join(["plm", "evaluate", str(asked.checkpoint), *further, *shared])


@contextmanager
def progress_line(asked: Asked, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress line on the terminal, if asked for; yields the function that advances it."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not asked.progress) as line:
        task = line.add_task("", total=total)
        yield lambda count: line.advance(task, count)
