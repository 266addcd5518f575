"""The comparison of schedules as one HTML file: losses by seed, differences with their intervals, curves, rates."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from page_assets import json_block, scripts
from trainer.compare import Run, comparison
from trainer.files import write_json, write_text
from trainer.report.facts import Facts, middles, phase_spans, planned_rates, read_run
from trainer.report.page import PALETTE, page_environment, visible
from trainer.report.series import smoothed, spaced

COMPARISON = "compare-schedules"
_POINTS = 400  # of a curve; there are as many curves as runs
_SCRIPTS = ("timeline.js", "compare.js")


def write_comparison(runs: Sequence[Run], folder: Path, title: str) -> tuple[Path, dict[str, Any]]:
    """Write `compare-schedules.json` and `compare-schedules.html` into a folder; returns the page and the comparison.

    Raises:
        TrainerError: a run's logs are missing, or the runs do not have the same seeds for each schedule.
    """
    found = comparison(runs)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{COMPARISON}.json", found)
    page = folder / f"{COMPARISON}.html"
    write_text(page, render_comparison(found, runs, title))
    return page, found


def render_comparison(found: dict[str, Any], runs: Sequence[Run], title: str) -> str:
    """Return the page."""
    names = [row["name"] for row in found["schedules"]]
    colours = dict(zip(names, PALETTE, strict=False))
    phases, curves = _curves(runs)
    shown = visible(
        {**found, "title": title, "colours": colours, "sources": sorted(found["schedules"][0]["by_source"])}
    )
    data = {"phases": phases, "curves": curves, "colours": colours}
    data |= {name: shown[name] for name in ("schedules", "pairs", "seeds")}
    return str(
        page_environment()
        .get_template("compare.html")
        .render(**shown, scripts=scripts("trainer.report", _SCRIPTS), data=json_block(visible(data)))
    )


def _curves(runs: Sequence[Run]) -> tuple[list[Facts], list[Facts]]:
    """The phases, and of each run its smoothed loss, its held-out losses and its plan, as [tokens, step, value]."""
    curves: list[Facts] = []
    phases: list[Facts] = []
    for run in runs:
        files = read_run(run.folder)
        phases = phase_spans(files.run, files.steps, files.summary)
        losses = np.array([step.loss for step in files.steps], np.float64)
        smooth = smoothed(losses, [step.phase for step in files.steps], len(losses) // 50 * 2 + 1)
        kept = [int(at) for at in spaced(len(files.steps), _POINTS)]
        middle = middles(files.steps)
        plan = planned_rates(files.run, phases, middle) or []
        steps = files.steps
        curves.append(
            {
                "schedule": run.schedule,
                "seed": run.seed,
                "loss": [[steps[at].tokens, steps[at].step, round(float(smooth[at]), 5)] for at in kept],
                "rate": [[middle[at], steps[at].step, plan[at]] for at in kept] if plan else [],
                "held_out": [[row.tokens, row.step, round(row.loss, 5)] for row in files.held_out],
            }
        )
    return phases, curves
