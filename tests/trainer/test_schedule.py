"""WSDC: ends, continuity and shapes; and how phases make the ends."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.config import DECAY_SHAPES, DecayShape
from trainer.errors import TrainerError
from trainer.schedule import ScheduleEnds, schedule_ends, wsdc

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
