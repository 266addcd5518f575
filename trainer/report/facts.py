"""The facts of a training run, from the files that it writes; a run that goes on yet has them too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from trainer.compute import parameters
from trainer.config import SEGMENTS, ModelConfig
from trainer.files import read_json
from trainer.metrics import HELD_OUT_METRICS, METRICS, HeldOut, StepMetrics, read_held_out, read_metrics
from trainer.report.series import MOST_POINTS, Numbers, columns, extremes, smoothed, spaced
from trainer.schedule import rate, schedule_ends

Facts = dict[str, Any]
RUN, SUMMARY, STOPPED = "run.json", "summary.json", "stopped.json"
_TABLE_ROWS = 40  # of the table behind a chart
_PLAN_POINTS = 600
_DIGITS = 6  # significant, of what is drawn


@dataclass(frozen=True)
class RunFiles:
    """What a run's folder holds."""

    run: dict[str, Any]
    steps: list[StepMetrics]
    held_out: list[HeldOut]
    summary: dict[str, Any] | None  # of a finished run
    stopped: dict[str, Any] | None  # why a run stopped itself
    broken_line: int | None  # of metrics.jsonl, from 1, with whole lines after it


def read_run(out: Path) -> RunFiles:
    """Read a run's folder; of the files all but run.json may be missing.

    Raises:
        TrainerError: run.json is missing, or one of the files is not JSON.
    """
    run = read_json(out / RUN, "the settings of a training run")
    summary = read_json(out / SUMMARY, "the summary of a finished run") if (out / SUMMARY).exists() else None
    stopped = read_json(out / STOPPED, "why a run stopped") if (out / STOPPED).exists() else None
    steps = read_metrics(out / METRICS)
    lines = (out / METRICS).read_text(encoding="utf-8").count("\n") if (out / METRICS).exists() else 0
    held_out = read_held_out(out / HELD_OUT_METRICS) or _of_phases(summary)
    return RunFiles(run, steps, held_out, summary, stopped, len(steps) + 1 if lines > len(steps) + 1 else None)


def gather(files: RunFiles) -> Facts:
    """Return everything that the page says and draws, as plain JSON values; depends on the files alone."""
    run, steps, summary = files.run, files.steps, files.summary
    phases = phase_spans(run, steps, summary)
    planned = sum(phase["tokens"] for phase in phases) if all(phase["tokens"] for phase in phases) else None
    last = files.held_out[-1] if files.held_out else None
    taken = [after - before for before, after in pairwise([0, *(step.tokens for step in steps)])]
    seconds = sum(tokens / step.tokens_per_second for tokens, step in zip(taken, steps, strict=True))
    return {
        "state": "finished" if summary else "stopped" if files.stopped else "running",
        "model": run["model"],
        "train": run["train"],
        "fingerprint": run["fingerprint"],
        "device": (summary or {}).get("device", run.get("device")),
        "parameters": (summary or {}).get("parameters") or _parameters(run["model"]),
        "tokens": steps[-1].tokens if steps else 0,
        "planned_tokens": planned,
        "steps": steps[-1].step if steps else 0,
        "hours": (summary["seconds"] if summary else seconds) / 3600,
        "loss": last_loss(steps),
        "held_out_loss": last.loss if last else None,
        "held_out_tokens": last.tokens if last else None,
        "uniform_loss": math.log(run["model"]["vocab_size"]),
        "phases": [_phase(phase, steps, files.held_out) for phase in phases],
        "sources": source_table(files.held_out),
        "series": series(run, steps, phases),
        "held_out": _held_out(files.held_out),
        "zeros": zeros(steps),
        "rows": _rows(steps),
        "clipped": _clipped(steps, run["train"]["gradient_clip"]),
    }


def phase_spans(run: dict[str, Any], steps: Sequence[StepMetrics], summary: dict[str, Any] | None) -> list[Facts]:
    """Return each phase's name, segment, tokens as planned (0 where unknown) and where it starts and ends, in tokens.

    A phase that nothing tells the length of ends with its last step.
    """
    told = {phase["name"]: phase["tokens"] for phase in (summary or {}).get("phases", ())}
    ends: dict[str, int] = {}
    for step in steps:
        ends[step.phase] = step.tokens
    spans, start = [], 0
    for phase in run["phases"]:
        tokens = int(phase.get("tokens") or told.get(phase["name"]) or 0)
        end = start + tokens if tokens else ends.get(phase["name"], start)
        spans.append({"name": phase["name"], "segment": phase["segment"], "tokens": tokens, "start": start, "end": end})
        start = end
    return spans


def planned_rates(run: dict[str, Any], phases: Sequence[Facts], tokens: Sequence[float]) -> list[float] | None:
    """Return the schedule's rate after so many tokens, each; none where the phases' lengths are not known.

    Fine-tuning has no schedule over phases.
    """
    if not all(phase["tokens"] and phase["segment"] in SEGMENTS for phase in phases):
        return None
    train = run["train"]
    ends = schedule_ends([(phase["segment"], phase["tokens"]) for phase in phases], train["warmup_tokens"])
    kind, peak, floor = train.get("schedule", "wsdc"), train["learning_rate"], train["final_learning_rate"]
    return [rate(kind, min(at, ends.total), ends, peak, floor, train["decay_shape"]) for at in tokens]


def middles(steps: Sequence[StepMetrics]) -> list[float]:
    """Return the tokens at the middle of each step, where its rate is taken."""
    seen = [0, *(step.tokens for step in steps)]
    return [(before + after) / 2 for before, after in pairwise(seen)]


def series(run: dict[str, Any], steps: Sequence[StepMetrics], phases: Sequence[Facts]) -> Facts:
    """Return what is drawn by step: points of [tokens, step, value], at most 2,000 a series, extremes kept."""
    loss = np.array([step.loss for step in steps], dtype=np.float64)
    width = len(steps) // 100 * 2 + 1
    names = [step.phase for step in steps]
    at = sorted({0.0, *np.linspace(0, max(1, phases[-1]["end"]), _PLAN_POINTS).tolist(), *_corners(run, phases)})
    plan = planned_rates(run, phases, at)
    columns = {
        name: np.array([math.nan if (value := getattr(step, name)) is None else value for step in steps], np.float64)
        for name in ("learning_rate", "gradient_norm", "tokens_per_second", "mfu")
    }
    return {
        "loss": _points(steps, loss),
        "smooth": _points(steps, smoothed(loss, names, width), spaced(len(steps), MOST_POINTS // 4)),
        "smooth_width": width,
        "whole": len(steps) <= MOST_POINTS,
        **{name: _points(steps, values) for name, values in columns.items()},
        "speed_smooth": _points(
            steps, smoothed(columns["tokens_per_second"], names, width), spaced(len(steps), MOST_POINTS // 4)
        ),
        "plan": None if plan is None else [[x, _rounded(y)] for x, y in zip(at, plan, strict=True)],
    }


def zeros(steps: Sequence[StepMetrics]) -> Facts | None:
    """Return the share of zeros by layer over the run: means of at most 120 stretches, the first, last and mean."""
    measured = [step for step in steps if step.zeros]
    if not measured:
        return None
    stretches = columns([step.zeros for step in measured if step.zeros])
    return {
        "layers": len(stretches[0][2]),
        "measured": len(measured),
        "columns": [
            {
                "from": measured[first].step,
                "to": measured[last].step,
                "tokens": measured[last].tokens,
                "mean": [_rounded(share) for share in shares],
            }
            for first, last, shares in stretches
        ],
        "first": measured[0].zeros,
        "last": measured[-1].zeros,
    }


def source_table(held_out: Sequence[HeldOut]) -> list[Facts]:
    """Return each source's first, last and lowest held-out loss, the highest last loss first."""
    losses: dict[str, list[float]] = {}
    for row in held_out:
        for name, loss in row.by_source.items():
            losses.setdefault(name, []).append(loss)
    rows = [{"name": name, "first": all_[0], "last": all_[-1], "lowest": min(all_)} for name, all_ in losses.items()]
    return sorted(rows, key=lambda row: (-row["last"], row["name"]))


def last_loss(steps: Sequence[StepMetrics]) -> float | None:
    """Return the token-weighted mean loss over the last tenth of the last phase's steps, at least 5 of them."""
    own = [step for step in steps if step.phase == steps[-1].phase]
    if not own:
        return None
    weights = np.diff([0 if own[0] is steps[0] else steps[len(steps) - len(own) - 1].tokens, *(s.tokens for s in own)])
    count = max(5, math.ceil(len(own) / 10))
    return _finite(float(np.average([step.loss for step in own[-count:]], weights=weights[-count:])))


def _phase(phase: Facts, steps: Sequence[StepMetrics], held_out: Sequence[HeldOut]) -> Facts:
    own = [step for step in steps if step.phase == phase["name"]]
    measured = [row.loss for row in held_out if row.phase == phase["name"]]
    mfu = [step.mfu for step in own if step.mfu is not None]
    return {
        **phase,
        "seen": own[-1].tokens - phase["start"] if own else 0,
        "steps": len(own),
        "first_loss": _finite(own[0].loss) if own else None,
        "last_loss": last_loss([step for step in steps if step.step <= own[-1].step]) if own else None,
        "held_out_loss": measured[-1] if measured else None,
        "rate": [own[0].learning_rate, own[-1].learning_rate] if own else None,
        "speed": float(np.median([step.tokens_per_second for step in own])) if own else None,
        "mfu": float(np.median(mfu)) if mfu else None,
    }


def _of_phases(summary: dict[str, Any] | None) -> list[HeldOut]:
    """The held-out losses at the phases' ends, of a run that keeps no log of them."""
    phases = (summary or {}).get("phases", ())
    tokens = accumulate(phase["tokens"] for phase in phases)
    steps = accumulate(phase["steps"] for phase in phases)
    return [
        HeldOut(step, seen, phase["name"], phase["held_out_loss"])
        for phase, seen, step in zip(phases, tokens, steps, strict=True)
        if phase.get("held_out_loss") is not None
    ]


def _corners(run: dict[str, Any], phases: Sequence[Facts]) -> list[float]:
    """Where the plan may bend: the warm-up's end and the phases' ends."""
    end = phases[-1]["end"]
    return [float(at) for at in (run["train"]["warmup_tokens"], *(phase["end"] for phase in phases)) if at <= end]


def _points(steps: Sequence[StepMetrics], values: Numbers, indices: Any = None) -> list[list[float]]:
    kept = extremes(values) if indices is None else [at for at in indices if math.isfinite(values[at])]
    return [[steps[at].tokens, steps[at].step, _rounded(float(values[at]))] for at in kept]


def _held_out(rows: Sequence[HeldOut]) -> list[Facts]:
    """At most 2,000 of the measurements, evenly spaced: each is over the whole text, so they do not leap."""
    return [
        {
            "tokens": row.tokens,
            "step": row.step,
            "phase": row.phase,
            "loss": _finite(row.loss),
            "by_source": {name: _finite(loss) for name, loss in sorted(row.by_source.items())},
        }
        for row in (rows[at] for at in spaced(len(rows), MOST_POINTS))
    ]


def _rows(steps: Sequence[StepMetrics]) -> list[Facts]:
    """The steps of the tables behind the charts; what is not finite is none there."""
    kept = [steps[at] for at in spaced(len(steps), _TABLE_ROWS)]
    names = [field.name for field in fields(StepMetrics) if field.name != "zeros"]
    return [
        {name: value if isinstance(value := getattr(step, name), str) else _finite(value) for name in names}
        for step in kept
    ]


def _clipped(steps: Sequence[StepMetrics], limit: float) -> float | None:
    return sum(step.gradient_norm > limit for step in steps) / len(steps) if steps else None


def _parameters(model: dict[str, Any]) -> int:
    return parameters(ModelConfig(**model))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
