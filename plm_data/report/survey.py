"""One pass over everything that is measured: histograms, categories, languages, and who is nearest to a threshold.

It goes partition by partition, so that it holds one partition's numbers at a time, and adds up whole numbers only, so
that nothing depends on the order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl

from plm_data.build import Build
from plm_data.inspect.explain import RULES
from plm_data.recipe import thresholds
from plm_data.report.bins import Bins, Extent, make_bins
from plm_data.report.columns import Column, columns, extents, frames
from plm_data.rules import Rule, rule_names

Json = dict[str, Any]

# Samples on each side of a threshold.
_NEAREST = 3
# Columns that have a section of the report to themselves.
_SHOWN_ELSEWHERE = ("token_count", "language")
_SUMMED = ("documents", "tokens", "words", "bytes")


@dataclass
class Histogram:
    """Documents by bin and group of sources: all of them, and the kept ones; and how many have no value."""

    bins: Bins
    documents: dict[str, np.ndarray] = field(default_factory=dict)
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    missing: int = 0

    def add(self, group: str, values: np.ndarray, kept: np.ndarray) -> None:
        """Count float64 values, NaN where there is none, of which those in the mask ``kept`` are kept."""
        there = ~np.isnan(values)
        self.missing += int((~there).sum())
        for counts, mask in ((self.documents, there), (self.kept, there & kept)):
            counts[group] = counts.get(group, 0) + self.bins.counts(values[mask])

    def facts(self) -> Json:
        return {
            "scale": self.bins.scale,
            "edges": list(self.bins.edges),
            "closed": self.bins.closed,
            "missing": self.missing,
            "by_source": {
                group: {"documents": counts.tolist(), "kept": self.kept[group].tolist()}
                for group, counts in self.documents.items()
            },
        }


@dataclass(frozen=True, order=True)
class Near:
    """A document near a threshold: how far, as a share of the threshold, and who."""

    distance: float
    id: str
    source: str
    value: float
    threshold: float


@dataclass
class RuleSurvey:
    """A rule where it has a threshold: ``limits`` by source, the histogram of its column, the documents nearest.

    ``dropped`` and ``kept``: source → its nearest documents that the rule drops, or that every rule keeps.
    """

    rule: Rule
    limits: dict[str, float]
    column: Column
    histogram: Histogram
    dropped: dict[str, list[Near]] = field(default_factory=dict)
    kept: dict[str, list[Near]] = field(default_factory=dict)

    def add(self, source: str, group: str, frame: pl.DataFrame) -> None:
        name, limit = f"{self.column.step}/{self.column.name}", self.limits[source]
        self.histogram.add(group, _numbers(frame, name), frame["kept"].to_numpy())
        near = frame.filter(pl.col(name).is_not_null()).select(
            "id", "kept", value=pl.col(name), distance=(pl.col(name) - limit).abs() / (abs(limit) or 1.0)
        )
        fails = pl.col("value") < limit if self.rule.bound == "min" else pl.col("value") > limit
        for side, found in ((self.dropped, near.filter(fails)), (self.kept, near.filter("kept"))):
            first = found.bottom_k(_NEAREST, by=["distance", "id"]).select("distance", "id", "value")
            more = [Near(d, identity, source, value, limit) for d, identity, value in first.iter_rows()]
            side[source] = sorted([*side.get(source, []), *more])[:_NEAREST]

    def nearest(self, side: Literal["dropped", "kept"]) -> list[Near]:
        """The nearest of one side: of every source its first before any source's second, as far as there is room."""
        by_source = (self.dropped if side == "dropped" else self.kept).values()
        ranked = [(rank, near) for found in by_source for rank, near in enumerate(found)]
        return [near for _, near in sorted(ranked)[:_NEAREST]]


@dataclass
class Survey:
    """What the pass has found. ``languages``: (source group, domain, declared, detected) → sums by name, all and
    kept."""

    rules: dict[str, RuleSurvey]
    numbers: dict[Column, Histogram]
    ends: dict[Column, Extent]
    categories: dict[Column, dict[tuple[str, str | None], Counter[str]]]
    lengths: Histogram
    languages: dict[tuple[str, str, str, str], Counter[str]]


def survey(build: Build, groups: dict[str, str], largest: int) -> Survey:
    """Look at every measure of every document once. ``groups``: as in ``report.groups``; ``largest``: in tokens."""
    wanted = columns(build)
    ends = extents(build, wanted)
    by_name = {column.name: column for column in wanted}
    rules = _rules(build, by_name, ends)
    read = {found.column for found in rules.values()}
    others = [c for c in wanted if c not in read and c.name not in _SHOWN_ELSEWHERE]
    found = Survey(
        rules=rules,
        numbers={c: Histogram(make_bins(ends.get(c))) for c in others if c.kind == "number"},
        ends=ends,
        categories={c: defaultdict(Counter) for c in others if c.kind == "category"},
        lengths=Histogram(make_bins(Extent(1, max(largest, 100), 1, True))),
        languages=defaultdict(Counter),
    )
    words = by_name.get("words")
    for source in build.recipe.sources:
        for frame in frames(build, source, wanted):
            _add(found, build, source, groups[source], frame, words)
    return found


def _rules(build: Build, by_name: dict[str, Column], ends: dict[Column, Extent]) -> dict[str, RuleSurvey]:
    limits = {source: thresholds(build.recipe, source) for source in build.recipe.sources}
    rules = {}
    for name in rule_names():
        mine = {source: limit for source, own in limits.items() if (limit := own.get(name)) is not None}
        if mine:
            rule = RULES[name]
            column = by_name[rule.column]
            bins = make_bins(ends.get(column), mine.values(), "left" if rule.bound == "min" else "right")
            rules[name] = RuleSurvey(rule, mine, column, Histogram(bins))
    return rules


def _add(found: Survey, build: Build, source: str, group: str, frame: pl.DataFrame, words: Column | None) -> None:
    kept = frame["kept"].to_numpy()
    for rule in found.rules.values():
        if source in rule.limits:
            rule.add(source, group, frame)
    for column, histogram in found.numbers.items():
        if (name := f"{column.step}/{column.name}") in frame.columns:
            histogram.add(group, _numbers(frame, name), kept)
    for column, values in found.categories.items():
        if (name := f"{column.step}/{column.name}") in frame.columns:
            counted = frame.group_by(name).agg(documents=pl.len(), kept=pl.col("kept").sum())
            for value, documents, stayed in counted.iter_rows():
                values[group, value].update({"documents": documents, "kept": stayed})
    found.lengths.add(group, frame["token_count"].cast(pl.Float64).to_numpy(), kept)
    spec = build.recipe.sources[source]
    for detected, *sums in _language_sums(frame, words):
        found.languages[group, spec.domain, spec.language, detected].update(
            dict(zip([*_SUMMED, *(f"kept_{name}" for name in _SUMMED)], sums, strict=True))
        )


def _language_sums(frame: pl.DataFrame, words: Column | None) -> list[tuple[Any, ...]]:
    counted = pl.col(f"{words.step}/{words.name}") if words else pl.lit(0)
    sized = frame.select(
        "detected_language", "kept", documents=pl.lit(1, pl.Int64), tokens="token_count",
        words=counted.cast(pl.Int64), bytes="bytes",
    )  # fmt: skip
    return (
        sized.group_by("detected_language")
        .agg(
            *(pl.col(name).sum() for name in _SUMMED),
            *(pl.col(name).filter("kept").sum().alias(f"kept_{name}") for name in _SUMMED),
        )
        .rows()
    )


def _numbers(frame: pl.DataFrame, name: str) -> np.ndarray:
    return frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
