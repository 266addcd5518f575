"""The plan as a step: made from the counted tokens of every source, before any text is moved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from plm_data.engine import Step
from plm_data.mix.plan import Plan, Take, make_plan
from plm_data.mix.ranked import Ranked
from plm_data.mix.weights import sources_of
from plm_data.recipe import PhaseSpec
from plm_data.store import Counts, Output, write_json

# Documents of a source that a curriculum's bands are measured on: for 10,000 bands enough for each to be within a few
# per cent of its share.
_SAMPLED = 50_000

Mixed = tuple[Plan, dict[str, list[float]]]


@dataclass(frozen=True)
class PlanMix(Step):
    """``plan.json``: phase → source → ``Take``, and the bands of the phases that are ordered by a measure."""

    name: ClassVar[str] = "plan"
    ranked: dict[str, Output]
    buckets: dict[str, int]
    measures: tuple[str, ...]
    phases: dict[str, PhaseSpec]
    most_epochs: dict[str, float]

    @property
    def partitions(self) -> int:
        return 1

    def run(self, partition: int, out: Path) -> Counts:
        axes = {name: Ranked(each, self.buckets[name], self.measures) for name, each in self.ranked.items()}
        plan = make_plan(self.phases, axes, self.most_epochs, lambda _: "has")
        bands = {
            name: _bounds(
                {source: axes[source] for source in plan[name]}, plan[name], phase.order.by, phase.order.bands
            )
            for name, phase in self.phases.items()
            if phase.order
        }
        takes = {name: {source: take.to_json() for source, take in phase.items()} for name, phase in plan.items()}
        write_json(out / "plan.json", {"plan": takes, "bounds": bands})
        documents = sum(axis.documents for axis in axes.values())
        return Counts(read=documents, kept=documents)


def read_plan(output: Output, phases: Mapping[str, PhaseSpec], known: Mapping[str, object]) -> Mixed:
    """The plan in the recipe's order, and phase → the bounds of its bands."""
    found: dict[str, Any] = json.loads((output.path / "plan.json").read_text(encoding="utf-8"))
    plan = {
        name: {source: Take.from_json(found["plan"][name][source]) for source in sources_of(phase.mix, known)}
        for name, phase in phases.items()
    }
    return plan, found["bounds"]


def planned_sources(phases: Mapping[str, PhaseSpec], known: Mapping[str, object]) -> list[str]:
    """The sources that some phase takes of, in the recipe's order."""
    named = {source for phase in phases.values() for source in sources_of(phase.mix, known)}
    return [source for source in known if source in named]


def _bounds(axes: Mapping[str, Ranked], takes: Mapping[str, Take], measure: str, bands: int) -> list[float]:
    """The values that cut a phase into bands of equal tokens, measured on the first documents of each source's order,
    which are a sample drawn by their hashes."""
    frames = []
    for source, axis in axes.items():
        rows = [pl.DataFrame(schema={measure: pl.Float64, "tokens": pl.Int64})]
        for bucket in axis.sums["bucket"].to_list():
            if sum(frame.height for frame in rows) >= _SAMPLED:
                break
            rows.append(axis.rows(bucket).select(measure, "tokens"))
        sample = pl.concat(rows).with_columns(pl.col(measure).fill_null(-np.inf))
        weight = takes[source].tokens / max(int(sample["tokens"].sum()), 1)
        frames.append(sample.select(measure, weight=pl.col("tokens") * weight))
    ordered = pl.concat(frames).sort(measure, "weight")  # sums of floats depend on their order
    reached = ordered["weight"].cum_sum().to_numpy()
    if not len(reached):
        return []
    at = np.searchsorted(reached, reached[-1] * np.arange(1, bands) / bands, side="left")
    values = ordered[measure].to_numpy()[np.minimum(at, len(reached) - 1)]
    # Values that many documents share make fewer bands; JSON knows no infinity.
    return sorted({float(value) for value in values if np.isfinite(value)})
