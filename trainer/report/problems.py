"""What is wrong with a run, and what is only worth knowing: each a sentence for the page's first screen."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from trainer.metrics import HeldOut, StepMetrics
from trainer.report.facts import RUN, Facts, RunFiles, middles, planned_rates
from trainer.report.series import spikes

_NAMED = 5  # of many alike
_RATE_SLACK = 0.005  # of the peak, between the rate that was applied and the plan's
_RISE = 0.01  # of the lowest held-out loss, above which the last is called higher


def problems(files: RunFiles, phases: Sequence[Facts]) -> list[str]:
    """Return what is wrong, the gravest first."""
    steps = files.steps
    found = [
        *_stopped(files),
        *_not_finite(steps),
        *_spikes(steps),
        *_log(files),
        *_rate(files, phases),
    ]
    if files.summary and steps and files.summary["steps"] != steps[-1].step:
        found.append(
            f"The summary counts {files.summary['steps']:,} steps, but the log ends with step {steps[-1].step:,}."
        )
    return found


def loss_spikes(steps: Sequence[StepMetrics]) -> list[tuple[int, float]]:
    """Return (index, median of the steps before) of each spike: of steps in a row far above those before, the first."""
    found = spikes(np.array([step.loss for step in steps], np.float64), [step.phase for step in steps])
    high = {at for at, _ in found}
    return [(at, median) for at, median in found if at - 1 not in high]


def marks(steps: Sequence[StepMetrics]) -> list[list[int]]:
    """Return (tokens, step) of the spikes, at most 50, for the chart."""
    return [[steps[at].tokens, steps[at].step] for at, _ in loss_spikes(steps)[:50]]


def notes(files: RunFiles, facts: Facts) -> list[str]:
    """Return what a reader should know: how far the run is, and what this page cannot show."""
    found = []
    if not files.summary:
        planned = facts["planned_tokens"]
        of = f" of {planned:,} ({facts['tokens'] / planned:.1%})" if planned else ""
        found.append(f"The run is not finished: step {facts['steps']:,}, {facts['tokens']:,} tokens{of} so far.")
    if not files.held_out:
        found.append("No loss on held-out text has been measured yet.")
    elif facts["sources"] == []:
        found.append("Held-out losses are not told by source: the run measured them over all of the text only.")
    if not any(step.mfu is not None for step in files.steps):
        found.append("No MFU: the device's peak throughput is not known.")
    if facts["series"]["plan"] is None:
        found.append("The schedule's plan is not drawn: the phases' lengths are not known before the run is finished.")
    found += _rises(files.held_out)
    return found


def _stopped(files: RunFiles) -> list[str]:
    if not (stopped := files.stopped):
        return []
    last = files.steps[-1].step if files.steps else 0
    step, good = stopped.get("step"), stopped.get("checkpoint")
    at = f"{step:,}" if isinstance(step, int) else step
    said = f"The run stopped itself at step {at}: {stopped.get('reason')} (loss {_number(stopped.get('loss'))}). " + (
        f"The last good checkpoint is {good}." if good else "There is no good checkpoint."
    )
    later = isinstance(step, int) and last > step
    return [said + (f" It has gone on since, to step {last:,}." if later else "")]


def _not_finite(steps: Sequence[StepMetrics]) -> list[str]:
    bad = [step for step in steps if not (math.isfinite(step.loss) and math.isfinite(step.gradient_norm))]
    if not bad:
        return []
    first = bad[0]
    return [
        f"{len(bad):,} step{'s' * (len(bad) > 1)} with a loss or gradient norm that is not finite, the first of them "
        f"step {first.step:,} in {first.phase}: loss {_number(first.loss)}, norm {_number(first.gradient_norm)}."
    ]


def _spikes(steps: Sequence[StepMetrics]) -> list[str]:
    found = loss_spikes(steps)
    named = [
        f"Loss spike at step {steps[at].step:,} in {steps[at].phase}: {steps[at].loss:.3f}, where the median of the "
        f"steps before it is {median:.3f}."
        for at, median in found[:_NAMED]
    ]
    return named + ([f"And {len(found) - _NAMED:,} more loss spikes."] if len(found) > _NAMED else [])


def _log(files: RunFiles) -> list[str]:
    found = []
    if files.broken_line:
        found.append(f"metrics.jsonl: line {files.broken_line:,} is not whole; what follows it is not shown.")
    steps = files.steps
    gaps = [(a.step, b.step) for a, b in pairwise(steps) if b.step != a.step + 1 or b.tokens <= a.tokens]
    if steps and steps[0].step != 1:
        gaps.insert(0, (0, steps[0].step))
    if gaps:
        before, after = gaps[0]
        more = f", and {len(gaps) - 1:,} more such" if len(gaps) > 1 else ""
        found.append(f"metrics.jsonl: step {after:,} comes after step {before:,}{more}: steps are missing or doubled.")
    return found


def _rate(files: RunFiles, phases: Sequence[Facts]) -> list[str]:
    steps = files.steps
    planned = planned_rates(files.run, phases, middles(steps)) if steps else None
    if planned is None:
        return []
    applied = np.array([step.learning_rate for step in steps])
    apart = np.abs(applied - np.array(planned)) > _RATE_SLACK * files.run["train"]["learning_rate"]
    if not apart.any():
        return []
    first = int(np.flatnonzero(apart)[0])
    return [
        f"The learning rate is not the schedule's at {int(apart.sum()):,} of {len(steps):,} steps, the first of them "
        f"step {steps[first].step:,}: applied {applied[first]:.4g}, planned {planned[first]:.4g} ({RUN})."
    ]


def _rises(held_out: Sequence[HeldOut]) -> list[str]:
    losses = [row.loss for row in held_out if math.isfinite(row.loss)]
    if not losses or losses[-1] <= min(losses) * (1 + _RISE):
        return []
    best = min(held_out, key=lambda row: row.loss if math.isfinite(row.loss) else math.inf)
    return [f"The last held-out loss, {losses[-1]:.3f}, is above the lowest, {best.loss:.3f} at step {best.step:,}."]


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "unknown"
