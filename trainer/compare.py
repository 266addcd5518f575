"""The same run under several learning-rate schedules and seeds: which ends lower, and whether that is more than noise.

For a seed every schedule starts from the same weights and sees the same sequences in the same order, so the schedules
are compared by their differences seed by seed: what a seed does to all of them alike drops out. The mean difference of
a pair has a t interval over the seeds, wide enough that with 95% confidence all pairs' intervals hold at once
(Bonferroni). A pair whose interval holds zero shows no difference, and a schedule is called the lowest only if it is
below each other one by such an interval.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scipy.special import stdtrit

from trainer.config import SCHEDULES, Schedule, TrainConfig
from trainer.errors import TrainerError
from trainer.metrics import HELD_OUT_METRICS, read_held_out

CONFIDENCE = 0.95
NO_DIFFERENCE = "no difference seen"


@dataclass(frozen=True)
class Run:
    """A finished run and the losses on held-out text, in nats a token, that it ended with."""

    schedule: Schedule
    seed: int
    folder: Path
    tokens: int
    loss: float
    by_source: dict[str, float]  # empty where the run did not measure it


@dataclass(frozen=True)
class Difference:
    """A pair of schedules: `a`'s held-out loss less `b`'s, seed by seed, with an interval for its mean."""

    a: Schedule
    b: Schedule
    differences: tuple[float, ...]
    mean: float
    low: float
    high: float
    verdict: str  # which is lower, or that no difference is seen


def run_schedules(
    train: TrainConfig,
    schedules: Sequence[Schedule],
    seeds: Sequence[int],
    folder_of: Callable[[TrainConfig], Path],
    train_run: Callable[[TrainConfig, Path], dict[str, Any]],
    say: Callable[[str], None] = lambda _: None,
) -> list[Run]:
    """Train under each schedule and seed, a seed after the other, and return the runs.

    Args:
        train: settings; each run has its own schedule and seed instead of these.
        schedules: two or more of them, each once.
        seeds: two or more, each once: of the initialisation and of the sequences' order.
        folder_of: the folder of a run with such settings.
        train_run: trains a run in its folder and returns its summary; a finished run is only looked up.
        say: told of each run in one line.

    Raises:
        TrainerError: too few schedules or seeds, one given twice, or a run that measured no held-out loss.
    """
    check_compared(schedules, seeds)
    runs = []
    planned = list(itertools.product(seeds, schedules))
    for number, (seed, schedule) in enumerate(planned, start=1):
        settings = replace(train, schedule=schedule, seed=seed)
        folder = folder_of(settings)
        say(f"run {number} of {len(planned)}: {schedule}, seed {seed}")
        run = finished_run(settings, folder, train_run(settings, folder))
        say(f"run {number} of {len(planned)}: {schedule}, seed {seed}: held-out loss {run.loss:.4f}")
        runs.append(run)
    return runs


def check_compared(schedules: Sequence[Schedule], seeds: Sequence[int]) -> None:
    """Raise `TrainerError` unless there are two or more schedules and seeds, each known and given once."""
    _check("schedules", schedules)
    _check("seeds", seeds)
    for schedule in schedules:
        if schedule not in SCHEDULES:
            raise TrainerError(f"schedules: found {schedule!r}, expected some of {', '.join(SCHEDULES)}; correct it")


def finished_run(train: TrainConfig, folder: Path, summary: dict[str, Any]) -> Run:
    """Return what a run ended with, from its summary and its log of held-out losses.

    Raises:
        TrainerError: the run measured no loss on held-out text at its end.
    """
    measured = [row for row in read_held_out(folder / HELD_OUT_METRICS) if row.tokens == summary["tokens"]]
    loss = measured[-1].loss if measured else summary["phases"][-1].get("held_out_loss")
    if loss is None or not math.isfinite(loss):
        raise TrainerError(
            f"{folder}: found the held-out loss {loss} at the run's end, expected a finite number; schedules are "
            "compared on text that no phase has: set held_out in the recipe"
        )
    by_source = measured[-1].by_source if measured else {}
    return Run(train.schedule, train.seed, folder, summary["tokens"], loss, by_source)


def differences(runs: Sequence[Run]) -> list[Difference]:
    """Return every pair of schedules, in the order of the runs, with its paired differences over the seeds.

    Raises:
        TrainerError: a schedule lacks a seed that another has, or there are fewer than two seeds.
    """
    schedules, seeds = schedules_of(runs), seeds_of(runs)
    losses = {(run.schedule, run.seed): run.loss for run in runs}
    for key in itertools.product(schedules, seeds):
        if key not in losses:
            raise TrainerError(
                f"schedule {key[0]}: found no run of seed {key[1]}, expected the same seeds for all; train it"
            )
    _check("seeds", seeds)
    pairs = list(itertools.combinations(schedules, 2))
    return [_difference(a, b, [losses[a, seed] - losses[b, seed] for seed in seeds], len(pairs)) for a, b in pairs]


def t_interval(values: Sequence[float], pairs: int = 1) -> tuple[float, float]:
    """Return Student's t interval for the mean of normal values, at 95% for `pairs` such intervals together."""
    error = statistics.stdev(values) / math.sqrt(len(values))
    half = float(stdtrit(len(values) - 1, 1 - (1 - CONFIDENCE) / 2 / pairs)) * error
    mean = statistics.fmean(values)
    return mean - half, mean + half


def lowest(found: Sequence[Difference]) -> Schedule | None:
    """Return the schedule that is lower than every other by more than the noise, or none."""
    names = list(dict.fromkeys(name for pair in found for name in (pair.a, pair.b)))
    for name in names:
        own = [pair for pair in found if name in (pair.a, pair.b)]
        if all(pair.verdict == _lower(name) for pair in own):
            return name
    return None


def comparison(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the whole comparison as it is written to compare-schedules.json: by schedule, by pair, and in words."""
    pairs = differences(runs)
    winner, seeds = lowest(pairs), seeds_of(runs)
    return {
        "verdict": _in_words(winner, pairs, len(seeds), runs[0].tokens),
        "lowest": winner,
        "judged_by": f"paired differences of the held-out loss over {len(seeds)} seeds; Student's t intervals, "
        f"{CONFIDENCE:.0%} for all {len(pairs)} pairs together (Bonferroni)",
        "tokens": runs[0].tokens,
        "seeds": list(seeds),
        "schedules": [_by_schedule(name, [run for run in runs if run.schedule == name]) for name in schedules_of(runs)],
        "pairs": [asdict(pair) for pair in pairs],
        "runs": [{**asdict(run), "folder": str(run.folder)} for run in runs],
    }


def _in_words(winner: Schedule | None, pairs: Sequence[Difference], seeds: int, tokens: int) -> str:
    if winner:
        return f"After {tokens:,} tokens {winner} is lower than every other by more than the noise between seeds."
    said = (
        f"No winner after {tokens:,} tokens: over {seeds} seeds none is lower than every other by more than the noise."
    )
    seen = [
        f"{pair.a if pair.high < 0 else pair.b} is lower than {pair.b if pair.high < 0 else pair.a}"
        for pair in pairs
        if pair.verdict != NO_DIFFERENCE
    ]
    return said + (f" Seen: {', '.join(seen)}." if seen else " No difference was seen between any two.")


def schedules_of(runs: Sequence[Run]) -> tuple[Schedule, ...]:
    """Return the runs' schedules, each once, in their order."""
    return tuple(dict.fromkeys(run.schedule for run in runs))


def seeds_of(runs: Sequence[Run]) -> tuple[int, ...]:
    """Return the runs' seeds, each once, in their order."""
    return tuple(dict.fromkeys(run.seed for run in runs))


def _by_schedule(name: Schedule, runs: Sequence[Run]) -> dict[str, Any]:
    losses = [run.loss for run in runs]
    sources = sorted(set.intersection(*(set(run.by_source) for run in runs)))
    return {
        "name": name,
        "losses": losses,
        "mean": statistics.fmean(losses),
        "spread": statistics.stdev(losses),  # between seeds, which the paired differences are free of
        "by_source": {source: statistics.fmean(run.by_source[source] for run in runs) for source in sources},
    }


def _difference(a: Schedule, b: Schedule, values: Sequence[float], pairs: int) -> Difference:
    low, high = t_interval(values, pairs)
    verdict = _lower(a) if high < 0 else _lower(b) if low > 0 else NO_DIFFERENCE
    return Difference(a, b, tuple(values), statistics.fmean(values), low, high, verdict)


def _lower(name: Schedule) -> str:
    return f"{name} is lower"


def _check(name: str, given: Sequence[object]) -> None:
    if len(set(given)) < max(2, len(given)):
        raise TrainerError(f"{name}: found {list(given)}, expected two or more, each once; correct what is compared")
