"""Bins: every value in one, none on both sides of a threshold, edges that people can read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.report.bins import MOST_BINS, Extent, make_bins

NUMBERS = st.floats(-1e9, 1e9) | st.floats(0, 1) | st.integers(0, 1_000_000).map(float)


def extent_of(values: list[float]) -> Extent:
    positive = [value for value in values if value > 0]
    whole = all(value.is_integer() for value in values)
    return Extent(min(values), max(values), min(positive, default=None), whole)


@given(st.lists(NUMBERS, min_size=1, max_size=60), st.lists(NUMBERS, max_size=4), st.booleans())
def test_the_bins_beyond_a_threshold_hold_what_fails_it(values: list[float], marks: list[float], least: bool) -> None:
    bins = make_bins(extent_of(values), marks, "left" if least else "right")
    counts = bins.counts(np.array(values))
    assert counts.sum() == len(values) and (counts >= 0).all()
    assert list(bins.edges) == sorted(set(bins.edges)) and len(bins.edges) <= MOST_BINS + len(marks) + 4
    for mark in marks:
        at = bins.edges.index(mark)
        beyond = counts[:at].sum() if least else counts[at:].sum()
        assert beyond == sum(value < mark if least else value > mark for value in values)


@given(st.lists(NUMBERS, min_size=1, max_size=60), st.booleans())
def test_a_value_is_between_the_edges_of_its_bin(values: list[float], left: bool) -> None:
    bins = make_bins(extent_of(values), (), "left" if left else "right")
    for value in values:
        at = int(bins.counts(np.array([value])).argmax())
        # Edges have twelve figures, and the outer bins hold what rounding leaves outside.
        slack = 1e-11 * max(map(abs, bins.edges))
        assert bins.edges[at] - slack <= value <= bins.edges[at + 1] + slack
        assert at > 0 or value <= bins.edges[1]
        assert at < len(bins.edges) - 2 or value >= bins.edges[-2]


@pytest.mark.parametrize("values", [[0.0, 5e-324], [48.0, -5e-324], [1e9, 1e9 + 1e-7], [-1e-300, 1e-300]])
def test_values_that_are_hardly_apart_have_bins_still(values: list[float]) -> None:
    assert make_bins(extent_of(values)).counts(np.array(values)).sum() == len(values)


def test_values_without_end_are_in_the_outer_bins() -> None:
    bins = make_bins(Extent(0.0, 1.0, 0.1, False))
    assert bins.counts(np.array([-np.inf, np.inf])).nonzero()[0].tolist() == [0, len(bins.edges) - 2]


def test_shares_are_linear_and_sizes_logarithmic() -> None:
    share = make_bins(Extent(0.0, 1.0, 0.001, False), [0.3], "right")
    assert share.scale == "linear" and share.edges[:3] == (0.0, 0.025, 0.05) and 0.3 in share.edges
    size = make_bins(Extent(1, 60_000, 1, True), [50], "left")
    assert size.scale == "log" and size.edges[:4] == (1, 2, 3, 4) and 50 in size.edges
    # Just under two decades is not yet logarithmic.
    assert make_bins(Extent(1, 99, 1, True)).scale == "linear"


def test_zero_has_a_bin_of_its_own_on_a_logarithmic_scale() -> None:
    bins = make_bins(Extent(0, 900, 1, True), [0], "right")
    assert bins.edges[:3] == (-1, 0, 1)
    assert bins.counts(np.array([0.0, 0.0, 1.0, 2.0]))[:3].tolist() == [2, 1, 1]


def test_few_whole_values_have_a_bin_each() -> None:
    bins = make_bins(Extent(0, 8, 1, True), [2], "left")
    assert bins.edges == tuple(range(10))
    assert bins.counts(np.arange(9.0)).tolist() == [1] * 9
    assert make_bins(Extent(0, 3, 1, True), (), "right").edges == (-1, 0, 1, 2, 3)


@pytest.mark.parametrize("marks", [(), (0.5,)])
def test_a_column_without_values_has_bins_still(marks: tuple[float, ...]) -> None:
    bins = make_bins(None, marks)
    assert bins.counts(np.array([])).sum() == 0 and all(mark in bins.edges for mark in marks)
