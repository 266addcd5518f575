"""Event files, read back by TensorBoard's own reader."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.trainer.test_metrics import held_out, step
from trainer.events import EVENTS, Events


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the points of every tag as (step, value)."""
    found = EventAccumulator(str(folder / EVENTS), size_guidance={"scalars": 0})
    found.Reload()
    return {
        tag: [(event.step, pytest.approx(event.value)) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def test_every_measure_is_there_by_step(tmp_path: Path) -> None:
    with Events(tmp_path) as events:
        events.step(step(1))
        events.step(step(2, mfu=0.41, zeros=[0.5, 0.9]))
        events.held_out(held_out(2))
    points = read(tmp_path)
    assert points["train/loss"] == [(1, 4.9), (2, 4.8)]
    assert points["train/learning_rate"] == [(1, 1e-3), (2, 1e-3)]
    assert points["train/gradient_norm"] == [(1, 0.5), (2, 0.5)]
    assert points["train/tokens_per_second"] == [(1, 1e4), (2, 1e4)]
    assert points["train/mfu"] == [(2, 0.41)]
    assert points["zeros/layer_00"] == [(2, 0.5)] and points["zeros/layer_01"] == [(2, 0.9)]
    assert points["held_out/all"] == [(2, 4.0)] and points["held_out/by_source/code"] == [(2, 3.5)]
    assert len(points) == 10  # a tag of each measure, and no other


@pytest.mark.parametrize("closed", [True, False], ids=["stopped", "killed"])
def test_a_resumed_run_has_no_point_twice(tmp_path: Path, closed: bool) -> None:
    first = Events(tmp_path)
    for number in range(1, 8):
        first.step(step(number))
    first.held_out(held_out(6))
    first._writer.flush()  # what a killed run had on disk
    if closed:
        first.__exit__(None, None, None)
    with Events(tmp_path, first_step=5) as events:  # the newest checkpoint is of step 4
        for number in range(5, 11):
            events.step(step(number, loss=1.0))
        events.held_out(held_out(6))
    points = read(tmp_path)
    assert [number for number, _ in points["train/loss"]] == list(range(1, 11))
    assert [loss for number, loss in points["train/loss"] if number >= 5] == [1.0] * 6
    assert points["held_out/all"] == [(6, 4.0)]


def test_without_a_purge_the_reader_would_show_points_twice(tmp_path: Path) -> None:
    for _ in range(2):
        with Events(tmp_path, first_step=100) as events:
            events.step(step(1))
    assert [number for number, _ in read(tmp_path)["train/loss"]] == [1, 1]
