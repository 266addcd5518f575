"""Decisions: every rule drops what is beyond its threshold and keeps what lies on it; the ledger tells all."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from plm_data.build import Build
from plm_data.decide import EXACT, NEAR, Decide, check_guardrails
from plm_data.engine import run_steps
from plm_data.errors import GuardrailError
from plm_data.recipe import Guardrails
from plm_data.rules import RULE_SETS
from plm_data.store import Counts, Output, Store
from plm_data.tables import part_file, write_parquet

RULES = [(rules.name, rule) for rules in RULE_SETS for rule in rules.rules]
COLUMNS = {rule.column for _, rule in RULES} - {"language_match"}
NAMES = [f"{name}.{rule.key}" for name, rule in RULES]


def output(folder: Path, step: str, frame: pl.DataFrame, rejected: pl.DataFrame | None = None) -> Output:
    out = folder / step
    out.mkdir(parents=True)
    write_parquet(frame, part_file(out, 0))
    none = pl.DataFrame(schema=dict.fromkeys(["id", "name", "verdict", "reason", "detail"], pl.String))
    write_parquet(none if rejected is None else rejected, part_file(out, 0, "rejected"))
    extra = 0 if rejected is None else rejected.height
    return Output(step, step, out, Counts(frame.height + extra, frame.height, 0, extra), False)


def decide(
    folder: Path, documents: list[dict], thresholds: dict[str, float | None], rejected: pl.DataFrame | None = None
) -> Output:
    """Decide over documents of one source ``s``; a measure that a document does not name is 0."""
    frame = pl.DataFrame(
        [{"id": "", "near_cluster": None, **dict.fromkeys(COLUMNS, 0.0), "language_match": 0.0, "chars": 10, **d} for d in documents],
        schema_overrides={"near_cluster": pl.String}, strict=False, infer_schema_length=None,
    ).with_columns(pl.col([*sorted(COLUMNS), "language_match"]).cast(pl.Float64))  # fmt: skip
    ids = pl.col("id")
    base = frame.select("id", name=ids, license=pl.lit("MIT"), content_hash=pl.lit("h") + ids, bytes=pl.lit(10))
    columns = [
        output(folder, "collect", base, rejected),
        output(folder, "normalise", base),
        output(folder, "heuristics", frame.select("id", "chars", *sorted(COLUMNS - {"chars"}))),
        output(folder, "language", frame.select("id", "language_match", language=pl.lit("en"))),
        output(folder, "tokens", frame.select("id", token_count=pl.lit(5))),
    ]
    size = pl.len().over("near_cluster").cast(pl.Int64)
    clustered = frame.filter(pl.col("near_cluster").is_not_null()).select("id", "near_cluster", near_cluster_size=size)
    step = Decide(
        columns={"s": columns}, clusters=output(folder, "clusters", clustered), thresholds={"s": thresholds},
        priorities={"s": 1}, domains={"s": "web"},
    )  # fmt: skip
    return run_steps(Store(folder / "store"), [step], "decide")[0]


@pytest.mark.parametrize("name, rule", [pytest.param(n, r, id=i) for (n, r), i in zip(RULES, NAMES, strict=True)])
def test_a_rule_keeps_what_lies_on_its_threshold_and_drops_what_is_beyond(tmp_path: Path, name: str, rule) -> None:  # type: ignore[no-untyped-def]
    full, sign = f"{name}.{rule.key}", 1 if rule.bound == "max" else -1
    documents = [
        {"id": "on", rule.column: rule.default},
        {"id": "beyond", rule.column: rule.default + sign * 1e-6},
        {"id": "within", rule.column: rule.default - sign * 1e-6},
    ]
    made = decide(tmp_path, documents, {full: rule.default})
    ledger = pl.read_parquet(made.path / "ledger.parquet")
    assert ledger.sort("id")["verdict"].to_list() == ["dropped", "kept", "kept"]
    row = ledger.row(by_predicate=pl.col("id") == "beyond", named=True)
    assert (row["rule"], row["threshold"], row["bound"]) == (full, rule.default, rule.bound)
    assert row["value"] == pytest.approx(rule.default + sign * 1e-6, abs=1e-9)
    assert made.counts == Counts(3, 2, 1, 0)


def test_every_rule_that_fires_has_its_row_and_a_rule_that_is_off_has_none(tmp_path: Path) -> None:
    documents = [{"id": "a", "words": 3.0, "hash_ratio": 0.5, "ellipsis_ratio": 0.5}]
    limits = {"gopher.min_words": 50.0, "gopher.max_hash_ratio": 0.1, "gopher.max_ellipsis_ratio": None}
    made = decide(tmp_path, documents, limits)
    ledger = pl.read_parquet(made.path / "ledger.parquet")
    assert ledger["rule"].to_list() == ["gopher.max_hash_ratio", "gopher.min_words"]
    verdict = pl.read_parquet(made.path / "verdicts.parquet").row(0, named=True)
    assert verdict["reason"] == "gopher.min_words"  # the first in the rules' order


def test_the_winner_is_taken_among_the_documents_that_the_rules_keep(tmp_path: Path) -> None:
    """A changed threshold never leaves a cluster empty: the longest copy is dropped by a rule, the next one stays."""
    documents = [
        {"id": "long", "chars": 900, "words": 1.0, "near_cluster": "k"},
        {"id": "mid", "chars": 90, "words": 60.0, "near_cluster": "k"},
        {"id": "short", "chars": 9, "words": 60.0, "near_cluster": "k"},
    ]
    made = decide(tmp_path, documents, {"gopher.min_words": 50.0})
    rows = pl.read_parquet(made.path / "ledger.parquet").select("id", "rule", "winner").rows()
    assert rows == [("long", "gopher.min_words", None), ("mid", None, None), ("short", NEAR, "mid")]


def test_what_the_reader_refused_is_in_the_ledger_too(tmp_path: Path) -> None:
    refused = pl.DataFrame({"id": ["q", "d"], "name": ["n", "m"], "verdict": ["quarantined", "dropped"],
                            "reason": ["does-not-parse", "empty-file"], "detail": ["", ""]})  # fmt: skip
    made = decide(tmp_path, [{"id": "a"}], {}, refused)
    rows = pl.read_parquet(made.path / "ledger.parquet").sort("id").select("id", "verdict", "rule").rows()
    assert rows == [
        ("a", "kept", None),
        ("d", "dropped", "collect.empty-file"),
        ("q", "quarantined", "collect.does-not-parse"),
    ]
    assert made.counts == Counts(3, 1, 1, 1)


def test_guardrails_stop_a_build_and_say_why(tmp_path: Path) -> None:
    documents = [{"id": f"{i}", "words": 60.0 if i == 0 else 1.0, "near_cluster": "k"} for i in range(4)]
    made = decide(tmp_path, documents, {"gopher.min_words": 50.0})
    check_guardrails(made, Guardrails(max_source_loss=0.75, max_cluster=4))
    with pytest.raises(
        GuardrailError, match=r"source s: 75\.0% of its 4 documents .*max_source_loss.*gopher\.min_words 3"
    ):
        check_guardrails(made, Guardrails(max_source_loss=0.74))
    with pytest.raises(GuardrailError, match="cluster holds 4 documents, more than .* = 3"):
        check_guardrails(made, Guardrails(max_cluster=3))


def test_quarantine_guardrail(tmp_path: Path) -> None:
    refused = pl.DataFrame({"id": ["q"], "name": ["n"], "verdict": ["quarantined"], "reason": ["r"], "detail": [""]})
    made = decide(tmp_path, [{"id": f"{i}"} for i in range(3)], {}, refused)
    check_guardrails(made, Guardrails(max_quarantined=0.25))
    with pytest.raises(GuardrailError, match="1 of 4 documents are quarantined"):
        check_guardrails(made, Guardrails(max_quarantined=0.24))


def test_a_real_builds_ledger_holds_every_document_once_kept_or_with_its_reasons(small_build: Build) -> None:
    ledger = pl.read_parquet(small_build.decided.path / "ledger.parquet")
    found = sum(output.counts.read for output in small_build.collected.values())
    assert ledger["id"].n_unique() == found == small_build.decided.counts.read
    verdicts = ledger.group_by("id").agg(pl.col("verdict").n_unique().alias("n"), pl.col("rule").is_null().any())
    assert (verdicts["n"] == 1).all()
    kept = ledger.filter(pl.col("verdict") == "kept")
    assert kept["rule"].is_null().all() and kept.height == small_build.decided.counts.kept
    fired = ledger.filter(pl.col("bound") == "max")
    assert (fired["value"] > fired["threshold"]).all()
    losers = ledger.filter(pl.col("rule").is_in([EXACT, NEAR]))
    assert losers["winner"].is_in(kept["id"].to_list()).all()
