"""The run's logs, a JSON line a step, each step once: metrics.jsonl and held_out.jsonl; and what the summary takes."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from trainer.files import write_text
from trainer.shards import Phase

METRICS = "metrics.jsonl"
HELD_OUT_METRICS = "held_out.jsonl"


@dataclass(frozen=True)
class StepMetrics:
    """One optimiser step: its number from 1, the run's tokens after it, and what was measured."""

    step: int
    tokens: int
    phase: str
    loss: float  # nats a token, before the update
    learning_rate: float
    gradient_norm: float  # before clipping
    tokens_per_second: float
    mfu: float | None = None  # model FLOPs utilisation, of 1; none where the device's peak is not known
    zeros: list[float] | None = None  # by layer, share of exact zeros of the squared ReLU; none where not measured


@dataclass(frozen=True)
class HeldOut:
    """The loss on held-out text after a step, in nats a token: of all of it, and by source."""

    step: int
    tokens: int  # the run's, after the step
    phase: str
    loss: float
    by_source: dict[str, float] = field(default_factory=dict)


_Row = TypeVar("_Row", StepMetrics, HeldOut)


def append_metrics(path: Path, row: StepMetrics | HeldOut) -> None:
    """Add a line to a log."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def read_metrics(path: Path) -> list[StepMetrics]:
    """Return the log's steps up to the first line that is not whole: a killed run may have left half of one."""
    return _read(path, StepMetrics)


def read_held_out(path: Path) -> list[HeldOut]:
    """Return the log's measurements, as `read_metrics` does."""
    return _read(path, HeldOut)


def cut_metrics(path: Path, last_step: int) -> None:
    """Drop the steps after `last_step`, which a resumed run does again."""
    _cut(path, read_metrics(path), last_step)


def cut_held_out(path: Path, last_step: int) -> None:
    """Drop the measurements after `last_step`."""
    _cut(path, read_held_out(path), last_step)


def _read(path: Path, kind: type[_Row]) -> list[_Row]:
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(kind(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            break
    return rows


def _cut(path: Path, rows: Sequence[StepMetrics] | Sequence[HeldOut], last_step: int) -> None:
    write_text(path, "".join(json.dumps(asdict(row)) + "\n" for row in rows if row.step <= last_step))


def phase_summaries(steps: Sequence[StepMetrics], phases: Sequence[Phase], vocab_size: int) -> list[dict[str, Any]]:
    """Return each phase's tokens, steps and losses.

    `loss_start` is the loss of the phase's first step, `loss_end` the token-weighted mean over its last tenth of
    steps, at least 5; `ratio` is `loss_end` over ln(vocabulary), the loss of a uniform guess.
    """
    before = 0
    weights: dict[str, list[tuple[float, int]]] = {phase.data.name: [] for phase in phases}
    for step in steps:
        weights[step.phase].append((step.loss, step.tokens - before))
        before = step.tokens
    summaries = []
    for phase in phases:
        losses = weights[phase.data.name]
        tail = losses[-max(5, math.ceil(len(losses) / 10)) :]
        loss_end = sum(loss * tokens for loss, tokens in tail) / sum(tokens for _, tokens in tail)
        summaries.append(
            {
                "name": phase.data.name,
                "segment": phase.data.segment,
                "tokens": phase.tokens,
                "steps": len(losses),
                "loss_start": losses[0][0],
                "loss_end": loss_end,
                "ln_vocab": math.log(vocab_size),
                "ratio": loss_end / math.log(vocab_size),
            }
        )
    return summaries
