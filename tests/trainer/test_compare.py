"""Schedules compared: every run made once, differences paired by seed, and no winner within the noise."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.test_pretrain import TRAIN
from trainer.compare import (
    NO_DIFFERENCE,
    Run,
    comparison,
    differences,
    finished_run,
    lowest,
    run_schedules,
    t_interval,
)
from trainer.config import SCHEDULES, Schedule, TrainConfig
from trainer.errors import TrainerError
from trainer.metrics import HELD_OUT_METRICS, HeldOut, append_metrics

# of seeds that differ far more from each other than the schedules do
SEEDS = {0: 3.10, 1: 2.60, 2: 3.55, 3: 2.95}


def runs(effects: dict[Schedule, float], noise: float, seeds: dict[int, float] = SEEDS) -> list[Run]:
    """Return runs whose loss is the seed's, plus the schedule's effect, plus a little noise."""
    rng = np.random.default_rng(0)
    return [
        Run(name, seed, Path(f"{name}-{seed}"), 1000, base + effect + noise * float(rng.normal()), {})
        for seed, base in seeds.items()
        for name, effect in effects.items()
    ]


@pytest.fixture
def trained() -> tuple[Callable[[TrainConfig, Path], dict[str, Any]], list[tuple[str, int]]]:
    """A stand-in for training, that leaves a summary and says what it was asked for."""
    asked: list[tuple[str, int]] = []

    def train_run(train: TrainConfig, out: Path) -> dict[str, Any]:
        asked.append((train.schedule, train.seed))
        return {"tokens": 1000, "phases": [{"held_out_loss": 9.0}, {"held_out_loss": 3.0 + train.seed}]}

    return train_run, asked


def test_each_seed_is_run_under_each_schedule_with_all_else_the_same(tmp_path: Path, trained: Any) -> None:
    train_run, asked = trained
    settings: list[TrainConfig] = []

    def folder_of(train: TrainConfig) -> Path:
        settings.append(train)
        return tmp_path / f"{train.schedule}-{train.seed}"

    said: list[str] = []
    found = run_schedules(TRAIN, SCHEDULES, [4, 5], folder_of, train_run, said.append)
    assert asked == [(name, seed) for seed in (4, 5) for name in SCHEDULES]
    assert {run.loss for run in found} == {7.0, 8.0} and found[0].folder == tmp_path / "wsdc-4"
    assert len({(each.learning_rate, each.sequence_length, each.warmup_tokens) for each in settings}) == 1
    assert said[0] == "run 1 of 6: wsdc, seed 4" and said[-1] == "run 6 of 6: cosine, seed 5: held-out loss 8.0000"


def test_the_last_measurement_of_the_log_is_the_runs_loss(tmp_path: Path) -> None:
    summary = {"tokens": 200, "phases": [{"held_out_loss": 9.0}]}
    for row in (HeldOut(1, 100, "p", 4.0, {"code": 4.5}), HeldOut(2, 200, "p", 3.0, {"code": 3.5})):
        append_metrics(tmp_path / HELD_OUT_METRICS, row)
    found = finished_run(TRAIN, tmp_path, summary)
    assert (found.loss, found.by_source) == (3.0, {"code": 3.5})
    assert finished_run(TRAIN, tmp_path / "other", summary).loss == 9.0
    # measured before the end only: not the run's loss
    assert finished_run(TRAIN, tmp_path, {**summary, "tokens": 300}).loss == 9.0


@pytest.mark.parametrize("loss", [None, math.nan, math.inf])
def test_a_run_without_a_held_out_loss_is_an_error(tmp_path: Path, loss: float | None) -> None:
    with pytest.raises(TrainerError, match="set held_out in the recipe"):
        finished_run(TRAIN, tmp_path, {"tokens": 1, "phases": [{"held_out_loss": loss}]})


@pytest.mark.parametrize(
    ("schedules", "seeds", "message"),
    [
        (["wsdc"], [0, 1], r"schedules: found \['wsdc'\], expected two or more"),
        (["wsdc", "wsdc"], [0, 1], "each once"),
        (["wsdc", "step"], [0, 1], "found 'step', expected some of wsdc, wsd, cosine"),
        (["wsdc", "wsd"], [3], r"seeds: found \[3\], expected two or more"),
        (["wsdc", "wsd"], [3, 3], "each once"),
    ],
)
def test_what_cannot_be_compared_is_told_before_any_run(
    tmp_path: Path, trained: Any, schedules: list[Any], seeds: list[int], message: str
) -> None:
    train_run, asked = trained
    with pytest.raises(TrainerError, match=message):
        run_schedules(TRAIN, schedules, seeds, lambda _: tmp_path, train_run)
    assert asked == []


def test_the_interval_is_students() -> None:
    # t tables: two-sided 95% with 2 degrees of freedom 4.3027, with 9 2.2622; three intervals at once with 2: 7.6488
    values = [1.0, 2.0, 3.0]
    error = 1 / math.sqrt(3)
    assert t_interval(values) == pytest.approx((2 - 4.3027 * error, 2 + 4.3027 * error), rel=1e-4)
    assert t_interval(values, 3) == pytest.approx((2 - 7.6488 * error, 2 + 7.6488 * error), rel=1e-4)
    low, high = t_interval(list(range(10)))
    assert high - low == pytest.approx(2 * 2.2622 * np.std(range(10), ddof=1) / math.sqrt(10), rel=1e-4)


def test_together_the_intervals_err_in_no_more_than_one_comparison_of_twenty() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(1000):
        found = [
            Run(name, seed, Path(), 1, float(rng.normal()), {}) for seed in range(3) for name in SCHEDULES
        ]  # no schedule is any better
        wrong += any(pair.verdict != NO_DIFFERENCE for pair in differences(found))
    assert 10 < wrong < 65  # 5% expected at most; three standard errors above


def test_a_difference_that_every_seed_shows_is_seen_though_seeds_differ_more() -> None:
    found = differences(runs({"wsdc": -0.05, "wsd": 0.0, "cosine": 0.05}, noise=0.002))
    assert [pair.verdict for pair in found] == ["wsdc is lower", "wsdc is lower", "wsd is lower"]
    assert lowest(found) == "wsdc"
    assert found[0].mean == pytest.approx(-0.05, abs=0.01) and found[0].low < found[0].mean < found[0].high < 0


def test_the_nearest_that_is_no_difference() -> None:
    # as large a difference, with noise of its size in each run
    found = differences(runs({"wsdc": -0.05, "wsd": 0.0, "cosine": 0.05}, noise=0.05))
    assert {pair.verdict for pair in found} == {NO_DIFFERENCE} and lowest(found) is None


def test_two_that_beat_the_third_are_no_winner() -> None:
    found = differences(runs({"wsdc": 0.0, "wsd": 0.0, "cosine": 0.2}, noise=0.002))
    assert [pair.verdict for pair in found] == [NO_DIFFERENCE, "wsdc is lower", "wsd is lower"]
    assert lowest(found) is None
    said = comparison(runs({"wsdc": 0.0, "wsd": 0.0, "cosine": 0.2}, noise=0.002))["verdict"]
    assert said.endswith("Seen: wsdc is lower than cosine, wsd is lower than cosine.")


def test_the_winner_may_be_the_second_of_its_pairs() -> None:
    assert lowest(differences(runs({"wsdc": 0.1, "wsd": 0.2, "cosine": 0.0}, noise=0.001))) == "cosine"


def test_runs_that_are_the_same_show_no_difference() -> None:
    found = differences(runs({"wsdc": 0.0, "wsd": 0.0}, noise=0.0))
    assert (found[0].mean, found[0].low, found[0].high, found[0].verdict) == (0, 0, 0, NO_DIFFERENCE)


def test_a_missing_run_is_named() -> None:
    with pytest.raises(TrainerError, match="schedule wsd: found no run of seed 2"):
        differences([run for run in runs({"wsdc": 0.0, "wsd": 0.0}, 0.0) if (run.schedule, run.seed) != ("wsd", 2)])


def test_the_comparison_in_words_and_figures() -> None:
    found = comparison(runs({"wsdc": 0.0, "wsd": 0.0}, noise=0.01))
    assert found["verdict"].startswith("No winner after 1,000 tokens: over 4 seeds") and found["lowest"] is None
    assert found["verdict"].endswith("No difference was seen between any two.")
    assert "95% for all 1 pairs" in found["judged_by"]
    first = found["schedules"][0]
    assert first["mean"] == pytest.approx(np.mean(first["losses"]))
    assert first["spread"] == pytest.approx(np.std(first["losses"], ddof=1))
    assert found["seeds"] == [0, 1, 2, 3] and len(found["runs"]) == 8
    clear = comparison(runs({"wsdc": 0.0, "wsd": 0.5}, noise=0.001))
    assert clear["lowest"] == "wsdc" and clear["verdict"].startswith("After 1,000 tokens wsdc is lower")
