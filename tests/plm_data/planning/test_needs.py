"""Disk, processor hours and what is fetched, from declared sizes."""

from __future__ import annotations

from pathlib import Path

import pytest

from plm_data.build import Build
from plm_data.planning.facts import plan_facts
from plm_data.planning.rate import given_rate, measured_rate, synthetic_texts
from plm_data.planning.terminal import size_text
from plm_data.recipe_file import load_recipe
from tests.plm_data.test_recipe_after import AFTER, COMMIT
from tests.plm_data.test_recipe_hub import HUB, write


def facts(tmp_path: Path, text: str = HUB, rate: float = 2.0) -> dict:  # type: ignore[type-arg]
    build = Build(load_recipe(write(tmp_path, text)), tmp_path / "home")
    return plan_facts(build, build.estimate(), given_rate(rate), 4.0)


def test_text_is_declared_or_reckoned_from_tokens(tmp_path: Path) -> None:
    (row,) = facts(tmp_path)["sources"]
    assert (row["bytes"], row["bytes_known"], row["tokens"]) == (40_000, "tokens x 4", 10_000)
    (row,) = facts(tmp_path, HUB.replace("tokens: 10K", "tokens: 10K, bytes: 55KB"))["sources"]
    assert (row["bytes"], row["bytes_known"]) == (55_000, "declared")


def test_storage_and_hours_are_in_proportion_to_the_text(tmp_path: Path) -> None:
    found = facts(tmp_path)
    text, *written = found["storage"]
    assert text["bytes"] == 40_000 and not text["written"] and all(row["written"] for row in written)
    twice = facts(tmp_path, HUB.replace("tokens: 10K", "tokens: 20K"))
    assert [row["bytes"] for row in twice["storage"][:-1]] == pytest.approx(
        [2 * row["bytes"] for row in found["storage"][:-1]], abs=1
    )
    # The shards hold what is planned, whatever the sources have.
    assert twice["storage"][-1] == found["storage"][-1] and found["storage"][-1]["bytes"] == 5000 * 2.8
    assert found["processor"]["hours"] == pytest.approx(40_000 / 2e6 / 3600)
    assert facts(tmp_path, rate=4.0)["processor"]["hours"] == pytest.approx(found["processor"]["hours"] / 2)


def test_a_source_of_unknown_size_is_named_not_counted(tmp_path: Path) -> None:
    found = facts(
        tmp_path, HUB.replace(", tokens: 10K", "").replace("priority: 1,\n        tokens: 10K", "priority: 1")
    )
    (row,) = found["sources"]
    assert row["bytes"] is None and (row["tokens"], row["tokens_known"]) == (None, "unknown")
    assert "without web, whose size is unknown" in found["storage"][0]["how"]
    assert found["phases"][0]["sources"][0]["epochs"] is None


def test_what_would_be_fetched_and_what_follows(tmp_path: Path) -> None:
    found = facts(tmp_path, HUB + AFTER)
    web = found["fetch"][1]
    assert (web["repository"], web["revision"], web["files"]) == ("a/web", COMMIT, ["x/*.parquet"])
    assert web["bytes"] == 40_000 and found["unpinned"] == ["preferences.prompts.sums"]
    assert found["sft"][0]["sources"][0]["examples"] == 2000 and found["preferences"]["lambda"] == 0.25
    assert found["evaluate"][0] == {"task": "gsm8k", "published": 60.73}
    assert facts(tmp_path)["preferences"] is None


def test_the_rate_is_measured_by_step() -> None:
    rate = measured_rate()
    assert set(rate.steps) == {"normalise", "heuristics", "language", "signatures", "tokenise", "write"}
    assert all(value > 0 for value in rate.steps.values())
    slowest = min(rate.steps.values())
    assert 1 / slowest < rate.seconds_per_byte <= len(rate.steps) / slowest
    assert "0.6 MB of synthetic text" in rate.measured


def test_synthetic_text_is_always_the_same_and_of_the_size_asked() -> None:
    texts = synthetic_texts(50_000)
    assert texts.equals(synthetic_texts(50_000))
    assert 50_000 <= int(texts.str.len_bytes().sum()) < 65_000 and "the" in texts[0].lower().split()


@pytest.mark.parametrize(
    "size, text", [(None, "unknown"), (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (15.125e12, "15.12 TB"), (2e18, "2,000.00 PB")]
)  # fmt: skip
def test_sizes_are_written_in_decimal_units(size: float | None, text: str) -> None:
    assert size_text(size) == text
