"""The facts: those of the shards and the ledger, counted another way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from plm_data.build import Build
from plm_data.recipe import thresholds
from plm_data.report.facts import gather
from plm_data.rules import RULE_SETS, rule_names
from plm_data.store import Counts, write_json

SOURCES = ("python-code", "python-docs", "package-readmes", "worked-maths")


@pytest.fixture(scope="module")
def verdicts(small_build: Build) -> pl.DataFrame:
    return small_build.table("verdicts").collect()


def test_phases_are_those_of_the_shards(facts: dict[str, Any], small_build: Build) -> None:
    for phase in facts["phases"]:
        manifest = json.loads((small_build.folder / phase["name"] / "manifest.json").read_text(encoding="utf-8"))
        assert phase["built"] and phase["tokens"] == manifest["tokens"]
        assert sum(source["tokens"] for source in phase["sources"].values()) == phase["tokens"]
        assert sum(source["planned_tokens"] for source in phase["sources"].values()) == phase["planned_tokens"]


def test_sources_are_those_of_the_decisions(facts: dict[str, Any], verdicts: pl.DataFrame, small_build: Build) -> None:
    assert [source["name"] for source in facts["sources"]] == list(SOURCES)
    for source in facts["sources"]:
        mine = verdicts.filter(pl.col("source") == source["name"])
        kept = mine.filter(pl.col("verdict") == "kept")
        counts = small_build.decided[source["name"]].counts
        assert (source["documents"], source["bytes"], source["tokens"]) == (
            mine.height, mine["bytes"].sum(), mine["token_count"].sum(),
        )  # fmt: skip
        assert (source["kept_documents"], source["kept_bytes"], source["kept_tokens"]) == (
            kept.height, kept["bytes"].sum(), kept["token_count"].sum(),
        )  # fmt: skip
        assert source["found"] == counts.read and source["kept_documents"] == counts.kept
        assert source["quarantined"] == counts.quarantined
    assert sum(row["documents"] for row in facts["licenses"]) == verdicts.filter(pl.col("verdict") == "kept").height


def test_the_flow_has_every_document_once_under_its_first_reason(facts: dict[str, Any], verdicts: pl.DataFrame) -> None:
    for source in facts["sources"]:
        mine = [row for row in facts["flow"] if row["source"] == source["name"]]
        assert sum(row["documents"] for row in mine) == source["found"]
        assert sum(row["tokens"] for row in mine) == source["tokens"]
        kept = [row for row in mine if row["stage"] == "kept"]
        assert [(row["documents"], row["tokens"]) for row in kept] == [
            (source["kept_documents"], source["kept_tokens"])
        ]
        door = sum(row["documents"] for row in mine if row["stage"] == "door")
        assert door == source["holds_no_document"] + source["quarantined"]
    reasons = dict(verdicts.drop_nulls("reason").group_by("reason").len().iter_rows())
    said: dict[str, int] = {}
    for row in facts["flow"]:
        if row["stage"] in ("rule", "duplicate"):
            said[row["reason"]] = said.get(row["reason"], 0) + row["documents"]
    assert said == reasons and reasons


def test_rules_hit_what_the_ledger_says(facts: dict[str, Any], small_build: Build, verdicts: pl.DataFrame) -> None:
    ledger = small_build.table("ledger").collect()
    fired = ledger.filter(pl.col("rule").is_in([*rule_names(), "dedup.exact", "dedup.near"]))
    fired = fired.join(verdicts.select("id", "token_count"), on="id")
    times = dict(fired.group_by("id").len().iter_rows())
    rows = {rule["rule"]: rule for rule in facts["rules"]}
    assert {name for name, rule in rows.items() if rule["documents"]} == set(fired["rule"])
    for name, rule in rows.items():
        hits = fired.filter(pl.col("rule") == name)
        alone = hits.filter(pl.col("id").replace_strict(times) == 1)
        assert (rule["documents"], rule["tokens"]) == (hits.height, hits["token_count"].sum())
        assert (rule["alone_documents"], rule["alone_tokens"]) == (alone.height, alone["token_count"].sum())
        assert rule["documents"] == sum(hit["documents"] for hit in rule["by_source"].values())
    costs = [rule["tokens"] for rule in facts["rules"]]
    assert costs == sorted(costs, reverse=True)


def test_a_rule_is_listed_where_it_is_on_even_if_it_took_nothing(facts: dict[str, Any], small_build: Build) -> None:
    limits = {source: thresholds(small_build.recipe, source) for source in SOURCES}
    listed = {rule["rule"]: rule for rule in facts["rules"]}
    for name in rule_names():
        on = {source: limits[source][name] for source in SOURCES if limits[source].get(name) is not None}
        assert (name in listed) == bool(on)
        if on:
            assert listed[name]["thresholds"] == on
    assert any(not rule["documents"] for rule in facts["rules"])
    # Turned off in every source, so not there.
    assert "c4.max_curly_brackets" not in listed


def test_the_bins_beyond_each_threshold_are_what_the_rule_dropped(facts: dict[str, Any]) -> None:
    looked = 0
    for rule in facts["rules"]:
        if (spread := rule["distribution"]) is None:
            assert rule["rule"].startswith("dedup.")
            continue
        assert set(spread["by_source"]) == set(rule["thresholds"]) and spread["missing"] == 0
        for source, limit in rule["thresholds"].items():
            at = spread["edges"].index(limit)
            documents = spread["by_source"][source]["documents"]
            beyond = sum(documents[:at] if rule["bound"] == "min" else documents[at:])
            assert beyond == rule["by_source"].get(source, {"documents": 0})["documents"], (rule["rule"], source)
            assert sum(documents) == next(s["documents"] for s in facts["sources"] if s["name"] == source)
            looked += beyond > 0
    assert looked > 10


def test_samples_are_the_nearest_on_each_side(
    facts: dict[str, Any], small_build: Build, verdicts: pl.DataFrame
) -> None:
    kept = set(verdicts.filter(pl.col("verdict") == "kept")["id"])
    columns = {f"{rules.name}.{rule.key}": rule.column for rules in RULE_SETS for rule in rules.rules}
    for rule in facts["rules"]:
        if rule["samples"] is None:
            continue
        least = rule["bound"] == "min"
        for side in ("dropped", "kept"):
            for sample in rule["samples"][side]:
                fails = sample["value"] < sample["threshold"] if least else sample["value"] > sample["threshold"]
                assert fails == (side == "dropped") and (sample["id"] in kept) == (side == "kept")
                assert (len(sample["excerpt"]) <= 281 and sample["reason"] is None) or side == "dropped"
        # Of each source that has any, the very nearest comes before any other of it.
        for sample in rule["samples"]["dropped"][:1]:
            part = small_build.attributes[sample["source"]]["heuristics"].parts()
            if columns[rule["rule"]] in pl.read_parquet_schema(part[0]):
                values = pl.read_parquet(part, columns=["id", columns[rule["rule"]]]).to_series(1).cast(pl.Float64)
                past = values.filter(values < sample["threshold"] if least else values > sample["threshold"])
                assert (past - sample["threshold"]).abs().min() == abs(sample["value"] - sample["threshold"])
    assert sum(len(rule["samples"]["dropped"]) for rule in facts["rules"] if rule["samples"]) > 10


def test_the_part_that_a_rule_objects_to_stands_with_its_sample(facts: dict[str, Any]) -> None:
    rule = next(rule for rule in facts["rules"] if rule["rule"] == "gopher.min_words")
    for sample in rule["samples"]["dropped"]:
        assert sample["part"] == f"{sample['value']:,.0f} words"


def test_languages_and_lengths_have_every_document(facts: dict[str, Any], verdicts: pl.DataFrame) -> None:
    kept = verdicts.filter(pl.col("verdict") == "kept")
    languages = facts["languages"]
    for source in facts["sources"]:
        mine = [row for row in languages if row["source"] == source["name"]]
        assert {row["declared"] for row in mine} == {source["language"]}
        for name in ("documents", "tokens", "bytes", "kept_documents", "kept_tokens", "kept_bytes"):
            assert sum(row[name] for row in mine) == source[name]
        lengths = facts["lengths"]["distribution"]["by_source"][source["name"]]
        assert sum(lengths["documents"]) == source["documents"] and sum(lengths["kept"]) == source["kept_documents"]
    english = kept.filter(pl.col("detected_language") == "en")
    assert sum(row["kept_documents"] for row in languages if row["detected"] == "en") == english.height
    for row in facts["lengths"]["by_source"]:
        table = (kept if row["which"] == "kept" else verdicts).filter(pl.col("source") == row["source"])
        assert row["longest"] == table["token_count"].max()
        assert row["quantiles"] == sorted(row["quantiles"]) and row["quantiles"][2] in table["token_count"].to_list()


def test_fertility_is_of_the_sums(facts: dict[str, Any], small_build: Build, verdicts: pl.DataFrame) -> None:
    for row in facts["fertility"]["by_source"]:
        words = pl.read_parquet(small_build.attributes[row["source"]]["heuristics"].parts(), columns=["id", "words"])
        table = verdicts.filter(pl.col("source") == row["source"]).join(words, on="id")
        kept = table.filter(pl.col("verdict") == "kept")
        for prefix, part in (("", table), ("kept_", kept)):
            assert row[f"{prefix}tokens_per_word"] == part["token_count"].sum() / part["words"].sum()
            assert row[f"{prefix}bytes_per_token"] == part["bytes"].sum() / part["token_count"].sum()
    assert {row["domain"] for row in facts["fertility"]["by_domain"]} == {"code", "docs", "web", "maths"}
    assert sum(row["tokens"] for row in facts["fertility"]["by_language"]) == verdicts["token_count"].sum()


def test_every_steps_rows_are_conserved_and_chained(facts: dict[str, Any]) -> None:
    rows = {
        (row["step"], row["source"]): Counts(*(row[k] for k in ("read", "kept", "dropped", "quarantined")))
        for row in facts["conservation"]
    }
    assert all(counts.read == counts.kept + counts.dropped + counts.quarantined for counts in rows.values())
    for source in SOURCES:
        assert rows["normalise", source].read == rows["collect", source].kept
        for step in ("heuristics", "language", "tokens"):
            assert rows[step, source].read == rows["normalise", source].kept
        assert rows["decide", source].read == rows["collect", source].read
        assert rows["decide", source].kept <= rows["normalise", source].kept
        # What is not held out is ranked, and the phases choose among that.
        assert rows["rank", source].read == rows["decide", source].kept
    mixed = facts["phases"][0]["sources"]
    assert sum(rows["rank", source].kept for source in mixed) == rows["select", "phase1"].read
    assert rows["place", "phase1"].kept == rows["shards", "phase1"].read == facts["phases"][0]["documents"]


def test_the_same_build_gives_the_same_bytes(facts: dict[str, Any], small_build: Build, tmp_path: Path) -> None:
    write_json(tmp_path / "one.json", facts)
    write_json(tmp_path / "two.json", gather(Build(small_build.recipe, small_build.home, workers=2)))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
