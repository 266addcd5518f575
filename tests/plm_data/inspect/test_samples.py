"""Samples at a threshold: no document is nearer than those shown, and the pairs are the least and the most alike."""

from __future__ import annotations

import polars as pl
import pytest

from plm_data.build import Build
from plm_data.decisions.ledger import EXACT, NEAR
from plm_data.dedup.against import similarity
from plm_data.errors import PlmError
from plm_data.inspect import tables
from plm_data.inspect.samples import check_rule, duplicate_pairs, samples, tell_pairs, tell_samples
from plm_data.recipe import thresholds
from plm_data.rules import rule_names
from tests.plm_data.inspect.conftest import DOCUMENTS


@pytest.mark.parametrize("name", rule_names())
def test_no_document_is_nearer_to_the_threshold_than_those_shown(small_build: Build, name: str) -> None:
    limits = {source: thresholds(small_build.recipe, source)[name] for source in small_build.recipe.sources}
    if all(limit is None for limit in limits.values()):
        with pytest.raises(PlmError, match="is turned off in every source of small"):
            samples(small_build, name)
        return
    found = samples(small_build, name, count=3)
    assert found.off == [source for source, limit in limits.items() if limit is None]
    fired = small_build.table("ledger").filter(pl.col("rule") == name).collect()
    assert found.fired == fired.height
    distances: dict[bool, list[float]] = {True: [], False: []}
    for source, limit in limits.items():
        if limit is not None:
            values = tables.measure(small_build, source, found.rule.column)
            assert values is not None
            for identity, value in values.collect().iter_rows():
                distances[identity in set(fired["id"])].append(abs(value - limit) / (abs(limit) or 1))
    for rows, beyond in ((found.beyond, True), (found.within, False)):
        shown = [abs(row.value - row.threshold) / (abs(row.threshold) or 1) for row in rows]
        assert shown == pytest.approx(sorted(distances[beyond])[:3])
        assert all((row.id in set(fired["id"])) == beyond for row in rows)
        assert all(row.threshold == limits[row.source] for row in rows)


def test_samples_say_what_became_of_each_document_and_what_it_has(notes: Build) -> None:
    found = samples(notes, "gopher.min_words", count=2)
    assert [(row.name, row.value, row.verdict) for row in found.beyond] == [
        ("19 words", 19, "dropped by gopher.min_words"),
        *[(row.name, 12, "dropped by gopher.min_words") for row in found.beyond[1:]],
    ]
    assert [(row.name, row.value, row.verdict) for row in found.within] == [
        ("20 words", 20, "kept"),
        ("21 words", 21, "kept"),
    ]
    told = "\n".join(tell_samples("gopher.min_words", found))
    assert "It fired on 3 documents.\nIt is turned off in high.\n" in told
    assert "Just beyond the threshold:\n  19 (minimum 20)  low  19 words\n" in told
    assert f"    19 words\n      | {DOCUMENTS['low']['19 words']}\n" in told
    assert "\x1b" not in told and "\\x1b[31m" in told


def test_a_rule_that_fired_nowhere_says_so_and_shows_what_came_nearest(notes: Build) -> None:
    found = samples(notes, "gopher.max_words", count=1)
    told = "\n".join(tell_samples("gopher.max_words", found))
    assert found.fired == 0 and "It fired nowhere." in told and "Just beyond the threshold: no document." in told
    assert len(found.within) == 1 and "(maximum 5,000)" in told


def test_only_the_source_that_is_asked_for(small_build: Build) -> None:
    found = samples(small_build, "gopher.min_words", "package-readmes", 50)
    assert {row.source for row in [*found.beyond, *found.within]} == {"package-readmes"}
    with pytest.raises(PlmError, match="language.min_score is turned off in python-code of small"):
        samples(small_build, "language.min_score", "python-code")
    with pytest.raises(PlmError, match="no source “nowhere”; its sources are python-code"):
        samples(small_build, "gopher.min_words", "nowhere")


def test_pairs_of_near_duplicates_are_the_least_and_the_most_alike(notes: Build) -> None:
    found = duplicate_pairs(notes, NEAR, count=2)
    told = notes.table("verdicts").filter(pl.col("reason") == NEAR).collect()
    names = dict(notes.table("verdicts").select("id", "name").collect().iter_rows())
    texts = {name: text for documents in DOCUMENTS.values() for name, text in documents.items()}
    expected = sorted(
        similarity(texts[name], texts[names[winner]], 5) for name, winner in told.select("name", "winner").iter_rows()
    )
    assert len(expected) == 4 == found.total == found.compared
    assert [pair.jaccard for pair in found.lowest] == expected[:2]
    assert [pair.jaccard for pair in found.highest] == expected[:1:-1]
    assert found.lowest[0].winner["name"] == "chain c"
    lines = "\n".join(tell_pairs(NEAR, found))
    assert f"  Jaccard {91 / 101:.3f}\n" in lines and "| dropped: " in lines and "It fired on 4 documents." in lines


def test_few_pairs_are_shown_once(notes: Build) -> None:
    found = duplicate_pairs(notes, EXACT)
    assert (found.total, len(found.lowest), found.highest) == (1, 1, [])
    assert found.lowest[0].jaccard == 1.0
    assert "It fired nowhere." in "\n".join(tell_pairs(EXACT, duplicate_pairs(notes, EXACT, "high")))


def test_a_rule_that_is_not_there_brings_up_those_that_are_near() -> None:
    for name in (*rule_names(), EXACT, NEAR):
        assert check_rule(name) == name
    with pytest.raises(
        PlmError, match=r"no rule “gopher.min_wrods”; did you mean gopher.min_words .*plm_data/rules.py"
    ):
        check_rule("gopher.min_wrods")
    with pytest.raises(PlmError, match=r"did you mean fineweb.max_short_lines\?"):
        check_rule("max_short_lines")
    with pytest.raises(PlmError, match=r"no rule “\\x1b\[0m”; The list"):
        check_rule("\x1b[0m")
