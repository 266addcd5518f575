"""Histograms whose edges are round numbers and whose thresholds are edges.

So no bin lies on both sides of a threshold, and the bins beyond it hold exactly the documents that fail the rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# Bins that a chart of some hundred pixels can show; thresholds may add a few.
MOST_BINS = 48
# Renard's preferred numbers (ISO 3): steps of a decade that are equal on a log scale, and round.
_RENARD = (
    (1.0, 1.12, 1.25, 1.4, 1.6, 1.8, 2.0, 2.24, 2.5, 2.8, 3.15, 3.55, 4.0, 4.5, 5.0, 5.6, 6.3, 7.1, 8.0, 9.0),
    (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0),
    (1.0, 1.6, 2.5, 4.0, 6.3),
    (1.0, 3.0),
    (1.0,),
)
_SPAN = 100


@dataclass(frozen=True)
class Extent:
    """What is known of a column before its histogram: its finite values' ends, the least positive, and its kind."""

    low: float
    high: float
    positive: float | None
    whole: bool


@dataclass(frozen=True)
class Bins:
    """``edges``: ascending; bin i lies between edges i and i + 1. ``closed``: the side whose edge belongs to it.

    The first and the last bin also hold what lies outside the edges.
    """

    scale: Literal["linear", "log"]
    edges: tuple[float, ...]
    closed: Literal["left", "right"]

    def counts(self, values: np.ndarray) -> np.ndarray:
        """int64 ``[bins]``: how many of the values (float64, without NaN) are in each."""
        side: Literal["left", "right"] = "right" if self.closed == "left" else "left"
        inner = np.asarray(self.edges[1:-1], dtype=np.float64)
        return np.bincount(np.searchsorted(inner, values, side=side), minlength=len(self.edges) - 1)


def make_bins(extent: Extent | None, marks: Iterable[float] = (), closed: Literal["left", "right"] = "left") -> Bins:
    """Bins for a column; ``marks``: thresholds, which become edges.

    Of a minimum the bins are closed on the left, of a maximum on the right, as the value itself passes the rule.
    Logarithmic where values are not negative and span two decades or more; a bin of its own for zero then.
    """
    thresholds = sorted(set(marks))
    if extent is None:
        extent = Extent(*((thresholds[0], thresholds[-1]) if thresholds else (0.0, 1.0)), None, False)
    low, high = min([extent.low, *thresholds]), max([extent.high, *thresholds])
    positive = min([x for x in (extent.positive, *thresholds) if x is not None and x > 0], default=None)
    log = low >= 0 and high > 1 and positive is not None and high >= _SPAN * positive
    # What is smaller than a millionth of the largest shares the first bin.
    if log:
        edges = _log_edges(low, high, max(positive or 1.0, high / 1e6), extent.whole)
    elif extent.whole and high - low < MOST_BINS:
        # A bin a value, which the edge that it is closed with names.
        first = math.floor(low) - (closed == "right")
        edges = [float(first + i) for i in range(math.floor(high) - math.floor(low) + 2)]
    else:
        edges = _linear_edges(low, high)
    return Bins("log" if log else "linear", tuple(_with_marks(edges, thresholds)), closed)


def _linear_edges(low: float, high: float) -> list[float]:
    # Values that no edge of twelve figures can tell apart, or that no division survives, are one value.
    if high - low <= max(1e-11 * max(abs(low), abs(high)), 1e-290):
        high = low + 1
    unit = 10.0 ** math.floor(math.log10((high - low) / MOST_BINS))
    step = next(
        unit * times
        for times in (1, 2, 2.5, 5, 10, 20)
        if math.ceil(high / (unit * times)) - math.floor(low / (unit * times)) <= MOST_BINS
    )
    return [_round(k * step) for k in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _log_edges(low: float, high: float, first: float, whole: bool) -> list[float]:
    bottom, top = math.floor(math.log10(first)), math.ceil(math.log10(high))
    for series in _RENARD:
        steps = [_round(base * 10.0**decade) for decade in range(bottom, top + 1) for base in series]
        if whole:
            steps = sorted({float(round(step)) for step in steps} - {0.0})
        start = max([i for i, step in enumerate(steps) if step <= first], default=0)
        stop = min([i for i, step in enumerate(steps) if step >= high], default=len(steps) - 1)
        if stop - start <= MOST_BINS:
            break
    return ([0.0] if low < first else []) + steps[start : stop + 1]


def _round(value: float) -> float:
    return float(f"{value:.12g}")


def _with_marks(edges: Sequence[float], marks: Sequence[float]) -> list[float]:
    """The edges, each threshold in the place of the nearest one that is not at an end or a threshold itself."""
    out = list(edges)
    taken: set[int] = set()
    for mark in marks:
        if mark in out:
            taken.add(out.index(mark))
            continue
        inner = [i for i in range(1, len(out) - 1) if i not in taken]
        nearest = min(inner, key=lambda i: abs(out[i] - mark), default=None)
        neighbours = nearest is not None and out[nearest - 1] < mark < out[nearest + 1]
        if nearest is not None and neighbours:
            out[nearest] = mark
        else:
            nearest = next((i for i, edge in enumerate(out) if edge > mark), len(out))
            out.insert(nearest, mark)
            taken = {i + (i >= nearest) for i in taken}
        taken.add(nearest)
    # A threshold has a bin on each side: that of the values which are equal to it, and that of what is beyond.
    if marks and marks[0] <= out[0]:
        out.insert(0, _round(marks[0] - (out[1] - out[0])))
    if marks and marks[-1] >= out[-1]:
        out.append(_round(marks[-1] + (out[-1] - out[-2])))
    return out
