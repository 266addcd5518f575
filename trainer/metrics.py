"""The run's log, metrics.jsonl: one JSON line a step, each step once; and what the summary takes from it."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer.files import write_text
from trainer.shards import Phase

METRICS = "metrics.jsonl"


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


def append_metrics(path: Path, metrics: StepMetrics) -> None:
    """Add a line to the log."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(metrics)) + "\n")


def read_metrics(path: Path) -> list[StepMetrics]:
    """Return the log's steps up to the first line that is not whole: a killed run may have left half of one."""
    steps = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            steps.append(StepMetrics(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            break
    return steps


def cut_metrics(path: Path, last_step: int) -> None:
    """Drop the steps after `last_step`, which a resumed run does again."""
    kept = [step for step in read_metrics(path) if step.step <= last_step]
    write_text(path, "".join(json.dumps(asdict(step)) + "\n" for step in kept))


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
