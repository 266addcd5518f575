"""Few points: real ones, in order, with every extreme of their stretch; means that neither lag nor cross phases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from trainer.report.series import columns, extremes, smoothed, spaced, spikes

finite = st.floats(-1e6, 1e6)
values = st.integers(0, 400).flatmap(lambda count: arrays(np.float64, count, elements=finite | st.just(math.nan)))


@given(values, st.integers(4, 60))
def test_extremes_are_few_in_order_and_hold_the_greatest_and_the_least(found: np.ndarray, most: int) -> None:
    kept = extremes(found, most)
    good = np.flatnonzero(np.isfinite(found))
    assert len(kept) <= most and set(kept) <= set(good) and (np.diff(kept) > 0).all()
    if len(good):
        assert kept[0] == good[0] and kept[-1] == good[-1]
        assert found[kept].max() == np.nanmax(found) and found[kept].min() == np.nanmin(found)
    if len(good) <= most:
        assert len(kept) == len(good)


def test_a_single_spike_of_a_long_run_is_kept() -> None:
    loss = np.full(600_000, 3.0)
    loss[123_457] = 9.0
    kept = extremes(loss)
    assert len(kept) <= 2000 and 123_457 in kept


@given(st.integers(0, 500), st.integers(2, 50))
def test_spaced_has_both_ends_and_no_more_than_asked(count: int, most: int) -> None:
    kept = spaced(count, most).tolist()
    assert len(kept) == min(count, most) and kept == sorted(set(kept))
    if count:
        assert kept[0] == 0 and kept[-1] == count - 1


@given(arrays(np.float64, st.integers(1, 60), elements=finite), st.integers(1, 20))
def test_smoothed_is_the_plain_mean_of_the_window(found: np.ndarray, width: int) -> None:
    groups = ["a"] * (len(found) // 3) + ["b"] * (len(found) - len(found) // 3)
    smooth = smoothed(found, groups, width)
    for at in range(len(found)):
        own = [i for i, group in enumerate(groups) if group == groups[at]]
        reach = min(width // 2, at - own[0])
        assert smooth[at] == pytest.approx(np.mean(found[at - reach : min(at + reach, own[-1]) + 1]), abs=1e-3)


def test_a_line_stays_a_line_and_a_step_between_phases_stays_sharp() -> None:
    line = np.arange(100.0)
    assert smoothed(line, ["a"] * 100, 9)[:96] == pytest.approx(line[:96])  # a mean over the steps before would lag
    assert smoothed(line, ["a"] * 100, 9)[-1] == pytest.approx(97)  # of the last five
    step = np.array([4.0] * 50 + [2.0] * 50)
    assert smoothed(step, ["a"] * 50 + ["b"] * 50, 9).tolist() == step.tolist()


def test_what_is_not_finite_is_left_out_of_the_mean() -> None:
    assert smoothed(np.array([1.0, math.nan, 3.0]), ["a"] * 3, 3)[1] == 2.0
    assert math.isnan(smoothed(np.array([1.0, math.inf, 3.0]), ["a"] * 3, 1)[1])


def noisy(count: int, deviation: float = 0.1) -> np.ndarray:
    return 3 + deviation * np.random.default_rng(0).normal(size=count)


def test_a_spike_is_found_and_the_nearest_that_is_none_is_not() -> None:
    loss = noisy(300)
    loss[200] = 3.55  # below eight deviations
    assert spikes(loss, ["a"] * 300) == []
    loss[200] = 4.1
    assert [at for at, _ in spikes(loss, ["a"] * 300)] == [200]
    quiet = np.full(300, 3.0)
    quiet[200] = 3.49  # far in deviations, but not half a nat
    assert spikes(quiet, ["a"] * 300) == []
    quiet[200] = 3.51
    assert spikes(quiet, ["a"] * 300) == [(200, 3.0)]


def test_a_phase_that_begins_higher_is_no_spike() -> None:
    loss = np.concatenate([noisy(100), noisy(100) + 2])
    assert spikes(loss, ["a"] * 100 + ["b"] * 100) == []
    assert spikes(loss, ["a"] * 200)[0][0] == 100


def test_a_falling_loss_and_a_few_steps_are_no_spikes() -> None:
    assert spikes(9 * np.arange(1, 500.0) ** -0.3, ["a"] * 499) == []
    assert spikes(np.array([3.0] * 15 + [30.0]), ["a"] * 16) == []  # too few before it to judge by


def test_a_spike_while_the_loss_still_falls_fast_is_found() -> None:
    loss = 9 * np.arange(1, 100.0) ** -0.3 + 0.05 * np.random.default_rng(0).normal(size=99)
    assert spikes(loss, ["a"] * 99) == []
    loss[40] = 6.0
    assert [at for at, _ in spikes(loss, ["a"] * 99)] == [40]


def test_spikes_do_not_depend_on_how_the_run_is_cut_up() -> None:
    loss = noisy(25_000)
    loss[[5_000, 10_016, 20_016, 24_999]] = 9.0
    assert [at for at, _ in spikes(loss, ["a"] * 25_000)] == [5_000, 10_016, 20_016, 24_999]


@given(st.integers(0, 300), st.integers(1, 40))
def test_columns_are_the_means_of_all_rows(count: int, most: int) -> None:
    rows = np.random.default_rng(count).random((count, 3))
    found = columns(rows.tolist(), most)
    assert len(found) == min(count, most)
    for first, last, means in found:
        assert means == pytest.approx(rows[first : last + 1].mean(axis=0).tolist())
    assert [at for first, last, _ in found for at in range(first, last + 1)] == list(range(count))
