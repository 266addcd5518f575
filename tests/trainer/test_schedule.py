"""WSDC: ends, continuity and shapes; how phases make the ends; and the two schedules to compare with."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import DECAY_SHAPES, SCHEDULES, DecayShape, Schedule
from trainer.errors import TrainerError
from trainer.schedule import ScheduleEnds, rate, schedule_ends, wsdc

ENDS: dict[str, Any] = {"warmup_end": 100, "stable_end": 600, "decay_end": 900, "total": 1000}
RATES: dict[str, Any] = {"peak": 1.0, "floor": 0.1}


@st.composite
def schedules(draw: st.DrawFn) -> dict[str, Any]:
    lengths = [draw(st.integers(1, 10_000)) for _ in range(4)]
    ends = [sum(lengths[: number + 1]) for number in range(4)]
    peak = draw(st.floats(1e-6, 1.0))
    floor = peak * draw(st.floats(0.0, 1.0))
    shape = draw(st.sampled_from(DECAY_SHAPES))
    return {**dict(zip(ENDS, ends, strict=True)), "peak": peak, "floor": floor, "shape": shape}


@given(schedules())
def test_ends(schedule: dict[str, Any]) -> None:
    peak, floor = schedule["peak"], schedule["floor"]
    assert wsdc(0, **schedule) == 0
    assert wsdc(schedule["warmup_end"], **schedule) == peak
    assert wsdc(schedule["stable_end"], **schedule) == pytest.approx(peak)
    assert wsdc(schedule["decay_end"], **schedule) == floor
    assert wsdc(schedule["total"], **schedule) == floor


@given(schedules())
def test_continuous_at_every_end(schedule: dict[str, Any]) -> None:
    for name in ("warmup_end", "stable_end", "decay_end"):
        before, after = (wsdc(schedule[name] + step, **schedule) for step in (-1e-7, 1e-7))
        assert before == pytest.approx(after, abs=1e-3 * schedule["peak"])


@given(schedules(), st.floats(0, 1), st.floats(0, 1))
def test_rises_in_the_warmup_and_never_after(schedule: dict[str, Any], x: float, y: float) -> None:
    early, late = sorted((x * schedule["total"], y * schedule["total"]))
    rates = wsdc(early, **schedule), wsdc(late, **schedule)
    assert all(0 <= rate <= schedule["peak"] * (1 + 1e-12) for rate in rates)
    slack = 1e-12 * schedule["peak"]
    if late <= schedule["warmup_end"]:
        assert rates[0] <= rates[1] + slack
    if early >= schedule["warmup_end"]:
        assert rates[0] + slack >= rates[1] >= schedule["floor"] - slack


@pytest.mark.parametrize(
    ("shape", "quarter"), [("cosine", (1 + math.cos(math.pi / 4)) / 2), ("linear", 0.75), ("sqrt", 0.5)]
)
def test_shapes_at_a_quarter_of_the_decay(shape: DecayShape, quarter: float) -> None:
    assert wsdc(675, **ENDS, **RATES, shape=shape) == pytest.approx(0.1 + 0.9 * quarter)


def test_segments() -> None:
    rates = [wsdc(tokens, **ENDS, **RATES, shape="linear") for tokens in (50, 300, 750, 950)]
    assert rates == pytest.approx([0.5, 1.0, 0.55, 0.1])


def test_no_warmup_starts_at_the_peak() -> None:
    assert wsdc(0, **{**ENDS, "warmup_end": 0}, **RATES, shape="cosine") == 1.0


@pytest.mark.parametrize("tokens", [-1, 1001])
def test_outside_the_run_is_an_error(tokens: int) -> None:
    with pytest.raises(TrainerError, match=f"found {tokens} tokens, expected 0 to 1000"):
        wsdc(tokens, **ENDS, **RATES, shape="cosine")


def test_ends_out_of_order_are_an_error() -> None:
    with pytest.raises(TrainerError, match="ascending order"):
        wsdc(0, **{**ENDS, "stable_end": 50}, **RATES, shape="cosine")


def test_unknown_shape_is_an_error() -> None:
    with pytest.raises(TrainerError, match="found 'step', expected cosine, linear or sqrt"):
        wsdc(700, **ENDS, **RATES, shape="step")  # type: ignore[arg-type]


def test_phases_make_the_ends() -> None:
    phases = [("stable", 50), ("stable", 10), ("decay", 20), ("decay", 5), ("constant", 7)]
    assert schedule_ends(phases, 12) == ScheduleEnds(12, 60, 85, 92)  # type: ignore[arg-type]
    assert schedule_ends([("stable", 50)], 0) == ScheduleEnds(0, 50, 50, 50)
    assert schedule_ends([("stable", 50), ("constant", 5)], 0) == ScheduleEnds(0, 50, 50, 55)


@pytest.mark.parametrize(
    ("phases", "warmup", "message"),
    [
        ([], 0, "found no phase first, expected a stable phase"),
        ([("decay", 5)], 0, "found decay first, expected a stable phase"),
        ([("stable", 5), ("constant", 5), ("decay", 5)], 0, "phase 3: found segment decay after constant"),
        ([("stable", 5), ("decay", 5), ("stable", 5)], 0, "phase 3: found segment stable after decay"),
        ([("stable", 5), ("decay", 0)], 0, "phase 2: found 0 tokens"),
        ([("stable", 5), ("decay", 5)], 6, "warmup_tokens: found 6, expected at most the stable phases' 5"),
    ],
)
def test_wrong_phases_are_named(phases: list[Any], warmup: int, message: str) -> None:
    with pytest.raises(TrainerError, match=message):
        schedule_ends(phases, warmup)


@st.composite
def rates(draw: st.DrawFn) -> tuple[ScheduleEnds, float, float, DecayShape]:
    found = draw(schedules())
    return ScheduleEnds(*(found[name] for name in ENDS)), found["peak"], found["floor"], found["shape"]


@pytest.mark.parametrize("kind", SCHEDULES)
@given(given_rates=rates(), x=st.floats(0, 1))
def test_every_schedule_rises_from_zero_to_the_peak_and_ends_at_the_floor(
    kind: Schedule, given_rates: tuple[ScheduleEnds, float, float, DecayShape], x: float
) -> None:
    ends, peak, floor, shape = given_rates
    assert rate(kind, 0, ends, peak, floor, shape) == 0
    assert rate(kind, ends.warmup_end, ends, peak, floor, shape) == pytest.approx(peak)
    assert rate(kind, ends.total, ends, peak, floor, shape) == floor
    after = rate(kind, ends.warmup_end + x * (ends.total - ends.warmup_end), ends, peak, floor, shape)
    assert floor * (1 - 1e-12) <= after <= peak * (1 + 1e-12)


@pytest.mark.parametrize("kind", SCHEDULES)
@given(given_rates=rates())
def test_every_schedule_is_continuous_at_every_end(
    kind: Schedule, given_rates: tuple[ScheduleEnds, float, float, DecayShape]
) -> None:
    ends, peak, floor, shape = given_rates
    for end in (ends.warmup_end, ends.stable_end, ends.decay_end):
        before, after = (rate(kind, end + step, ends, peak, floor, shape) for step in (-1e-7, 1e-7))
        assert before == pytest.approx(after, abs=1e-3 * peak)


@given(rates(), st.floats(0, 1))
def test_schedules_are_equal_where_their_segments_are(
    given_rates: tuple[ScheduleEnds, float, float, DecayShape], x: float
) -> None:
    ends, peak, floor, shape = given_rates
    values = {kind: rate(kind, x * ends.stable_end, ends, peak, floor, shape) for kind in SCHEDULES}
    assert values["wsdc"] == values["wsd"]  # until the decay begins
    if x * ends.stable_end <= ends.warmup_end:
        assert values["cosine"] == pytest.approx(values["wsdc"])
    tokens = x * ends.total
    no_tail = replace(ends, decay_end=ends.total)
    assert rate("wsd", tokens, no_tail, peak, floor, shape) == rate("wsdc", tokens, no_tail, peak, floor, shape)
    at_once = replace(ends, stable_end=ends.warmup_end)
    assert rate("cosine", tokens, at_once, peak, floor) == rate("wsd", tokens, at_once, peak, floor, "cosine")


def test_schedules_part_where_they_should() -> None:
    ends = ScheduleEnds(**ENDS)
    halfway = [rate(kind, 800, ends, 1.0, 0.1, "linear") for kind in SCHEDULES]
    assert halfway == pytest.approx([0.1 + 0.9 / 3, 0.1 + 0.9 / 2, 0.1 + 0.45 * (1 + math.cos(math.pi * 7 / 9))])
    assert [rate(kind, 950, ends, 1.0, 0.1, "linear") for kind in SCHEDULES[:2]] == pytest.approx([0.1, 0.1 + 0.9 / 8])


def test_an_unknown_schedule_is_an_error() -> None:
    with pytest.raises(TrainerError, match="train.schedule: found 'step', expected one of"):
        rate("step", 0, ScheduleEnds(**ENDS), 1.0, 0.1)  # type: ignore[arg-type]
