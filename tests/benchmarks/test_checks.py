"""A wrong answer stops a benchmark, however fast it was; and work apart is timed, watched and reported when it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import polars as pl
import pytest

from benchmarks import filters, minhash
from benchmarks.apart import run_apart

TRUTH = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e", "f"],
        "kind": ["new", "exact", "near", "new", "exact", "junk"],
        "cluster": ["a", "a", "a", "d", "d", "f"],
        "edits": [0, 0, 3, 0, 0, 0],
    }
)


@pytest.mark.parametrize(
    ("kept", "found"),
    [
        ("adf", (1.0, 1.0, 1.0)),
        ("bef", (1.0, 1.0, 1.0)),  # which copy stays does not matter
        ("acdf", (1.0, 0.0, 1.0)),
        ("abdf", (0.5, 0.0, 1.0)),
        ("ad", (1.0, 1.0, 0.75)),
        ("abcdef", (0.0, -2.0, 1.0)),
    ],
)
def test_recalls_and_precision_of_planted_copies(kept: str, found: tuple[float, float, float]) -> None:
    measured = minhash.quality(TRUTH, list(kept))
    assert tuple(measured.values()) == found


def test_minhash_stops_where_it_finds_less_than_the_peer() -> None:
    good = {"exact_recall": 1.0, "near_recall": 0.999, "precision": 0.999}
    minhash.check(good, good, "peer")
    for worse in ({"exact_recall": 0.999}, {"near_recall": 0.99}, {"precision": 0.99}):
        with pytest.raises(SystemExit, match="minhash"):
            minhash.check(good | worse, good, "peer")


def test_filters_stop_at_another_verdict_and_name_it() -> None:
    texts = pl.Series(["first text", "second text"])
    filters._equal({"gopher": [True, False]}, {"gopher": [True, False]}, texts)
    with pytest.raises(
        SystemExit, match=r"gopher differs on 1 of 2 .* we drop and datatrove would keep: 'second text'"
    ):
        filters._equal({"gopher": [True, False]}, {"gopher": [True, True]}, texts)


def _prepare_sum(numbers: list[int]) -> Callable[[], int]:
    return lambda: sum(numbers)


def _prepare_nothing() -> Callable[[], int]:
    raise ValueError("no such thing")


def test_work_apart() -> None:
    measured = run_apart(_prepare_sum, {"numbers": [1, 2]}, times=2)
    assert measured.value == 3 and 0 < measured.seconds < 1 and measured.peak_mb > 5
    with pytest.raises(SystemExit, match="no such thing"):
        run_apart(_prepare_nothing, {})


def test_help_has_an_example_and_a_wrong_size_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "python -m benchmarks minhash --size 200MB" in shown
    refused = subprocess.run([*command, "minhash", "--size", "big"], capture_output=True, text=True)
    assert refused.returncode == 2 and "expected for example 200MB" in refused.stderr
