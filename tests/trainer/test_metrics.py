"""The run's logs: read back as written, whole up to a torn line, cut at a step, and old lines still read."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.metrics import (
    HeldOut,
    StepMetrics,
    append_metrics,
    cut_held_out,
    cut_metrics,
    read_held_out,
    read_metrics,
)


def step(number: int, **changes: object) -> StepMetrics:
    values = {"loss": 5.0 - number / 10, "learning_rate": 1e-3, "gradient_norm": 0.5, "tokens_per_second": 1e4}
    return StepMetrics(step=number, tokens=128 * number, phase="phase1", **{**values, **changes})  # type: ignore[arg-type]


def held_out(number: int) -> HeldOut:
    return HeldOut(
        step=number, tokens=128 * number, phase="phase1", loss=4.0, by_source={"code": 3.5, "web\u2028": 4.5}
    )


def test_steps_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    steps = [step(1), step(2, mfu=0.41, zeros=[0.5, 0.9])]
    for each in steps:
        append_metrics(path, each)
    assert read_metrics(path) == steps
    assert json.loads(path.read_text().splitlines()[0])["mfu"] is None


def test_a_line_of_an_older_run_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"step": 1, "tokens": 128, "phase": "phase1", "loss": 4.9, "learning_rate": 0.001, "gradient_norm": 0.5, "tokens_per_second": 10000.0}\n'
    )
    assert read_metrics(path) == [step(1)]


@given(cut=st.integers(0, 200))
def test_a_torn_line_ends_the_log(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("log") / "metrics.jsonl"
    append_metrics(path, step(1))
    whole = len(path.read_bytes())
    append_metrics(path, step(2))
    path.write_bytes(path.read_bytes()[: whole + cut])
    found = read_metrics(path)
    assert found == [step(1)] or (found == [step(1), step(2)] and whole + cut >= 2 * whole - 1)


def test_steps_after_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for number in range(1, 6):
        append_metrics(path, step(number))
    cut_metrics(path, 3)
    assert read_metrics(path) == [step(1), step(2), step(3)]


def test_held_out_losses_are_read_as_written_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "held_out.jsonl"
    cut_held_out(path, 0)
    assert read_held_out(path) == []
    for number in (10, 20, 30):
        append_metrics(path, held_out(number))
    assert read_held_out(path) == [held_out(10), held_out(20), held_out(30)]
    cut_held_out(path, 20)
    assert read_held_out(path) == [held_out(10), held_out(20)]
    with path.open("a") as file:
        file.write('{"step": 30, "tok')
    assert read_held_out(path) == [held_out(10), held_out(20)]
