"""Judging: every rule drops what is beyond its threshold and keeps what lies on it, and says so."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from plm_data.decisions.judge import CANDIDATES, Judge, bucket_of, quality_of
from plm_data.decisions.ledger import fails_any, fired, reason_order
from plm_data.engine import run_steps
from plm_data.rules import RULE_SETS, rule_names
from plm_data.shuffle import gather_all, scatter_files
from plm_data.store import Counts, Store
from tests.plm_data.decisions.chain import content, decide, make_columns, name_of, named

RULES = [(f"{rules.name}.{rule.key}", rule) for rules in RULE_SETS for rule in rules.rules]


@pytest.mark.parametrize("name, rule", [pytest.param(*each, id=each[0]) for each in RULES])
def test_a_rule_keeps_what_lies_on_its_threshold_and_drops_what_is_beyond(tmp_path: Path, name: str, rule) -> None:  # type: ignore[no-untyped-def]
    sign = 1 if rule.bound == "max" else -1
    documents = [
        {"id": "on", rule.column: rule.default},
        {"id": "beyond", rule.column: rule.default + sign * 1e-6},
        {"id": "within", rule.column: rule.default - sign * 1e-6},
    ]
    made = decide(tmp_path, {"s": documents}, {name: rule.default}, pieces=2, buckets=2)
    ledger = made.table("ledger").sort("id")
    assert ledger["id"].to_list() == ["beyond", "on", "within"]
    assert ledger["verdict"].to_list() == ["dropped", "kept", "kept"]
    row = ledger.row(0, named=True)
    assert (row["rule"], row["threshold"], row["bound"], row["winner"]) == (name, rule.default, rule.bound, None)
    assert row["value"] == pytest.approx(rule.default + sign * 1e-6, abs=1e-9)
    assert made.outputs["s"].counts == Counts(3, 2, 1, 0)
    assert made.kept() == {"on", "within"}


def test_every_rule_that_fires_has_its_row_and_a_rule_that_is_off_has_none(tmp_path: Path) -> None:
    documents = [{"id": "a", "words": 3, "symbol_ratio": 0.5, "bullet_lines": 1.0}]
    limits = {"gopher.min_words": 50.0, "gopher.max_symbol_ratio": 0.1, "gopher.max_bullet_lines": None}
    made = decide(tmp_path, {"s": documents}, limits)
    ledger = made.table("ledger").select("rule", "value", "threshold", "bound").rows()
    assert ledger == [("gopher.max_symbol_ratio", 0.5, 0.1, "max"), ("gopher.min_words", 3.0, 50.0, "min")]
    assert made.table("verdicts")["reason"].to_list() == ["gopher.min_words"]  # the first in the rules' order


def test_without_any_threshold_nothing_fails() -> None:
    frame = pl.DataFrame({"id": ["a"], "source": ["s"]})
    assert frame.select(fails_any({}))["literal"].to_list() == [False]
    assert fired(frame, dict.fromkeys(rule_names())).height == 0


def test_reasons_come_in_the_order_of_the_rules_with_duplicates_last() -> None:
    order = reason_order()
    assert list(order) == [*rule_names(), "dedup.exact", "dedup.near"]
    assert list(order.values()) == list(range(len(order)))


@pytest.mark.parametrize("column, expected", [(None, [0.0, 0.0]), ("words", [3.0, 5.0]), ("-words", [-3.0, -5.0])])
def test_the_declared_quality_is_a_measure_or_its_opposite(column: str | None, expected: list[float]) -> None:
    frame = pl.DataFrame({"id": ["a", "b"], "words": [3, 5]})
    assert frame.with_columns(quality=quality_of(column))["quality"].to_list() == expected


def test_survivors_meet_by_content_and_bring_what_the_winner_is_chosen_by(tmp_path: Path) -> None:
    documents = [
        {"id": f"d{i}", "content": f"c{i % 5}", "words": 10 * i, "chars": i, "cluster": f"k{i % 2}", "size": 6}
        for i in range(12)
    ]
    made = make_columns(tmp_path, documents, pieces=3)
    step = Judge(
        source="s", columns=made.columns, thresholds={"gopher.min_words": 50.0}, priority=7,
        quality="-words", buckets=4,
    )  # fmt: skip
    output = run_steps(Store(tmp_path / "store"), [step], "judge")[0]
    assert output.counts == Counts(12, 7, 5, 0)
    files = scatter_files(output.path, "survivors")
    seen = 0
    for bucket in range(4):
        frame = gather_all(files, bucket, 4, CANDIDATES)
        assert frame.columns == CANDIDATES.names
        assert (bucket_of(frame["content_hash"], 4) == bucket).all()
        for row in frame.iter_rows(named=True):
            i = int(name_of(row["id"])[1:])
            assert i >= 5 and row["id"] == named(f"d{i}") and row["content_hash"] == content(f"c{i % 5}")
            assert (row["source"], row["priority"], row["quality"], row["chars"]) == ("s", 7, -10.0 * i, i)
            assert row["near_cluster_size"] == 6
            seen += 1
    assert seen == 7
