"""The story of a document: against a corpus whose stories are known, and against the tables of a real build."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from plm_data.build import HELD_OUT, Build
from plm_data.errors import GuardrailError, PlmError
from plm_data.inspect.duplicates import differences, standing, why_it_stayed
from plm_data.inspect.explain import explain, figures, find
from plm_data.inspect.tables import Built
from plm_data.recipe import Guardrails
from tests.plm_data.inspect.conftest import DOCUMENTS, EVIL

CONTROLS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


def test_a_document_dropped_by_a_rule_is_told_with_value_threshold_and_part(notes: Build, ids: dict[str, str]) -> None:
    story = explain(notes, ids["19 words"])
    assert "Dropped by one rule:\n  gopher.min_words: words\n    19 is below the minimum of 20\n    19 words" in story
    assert f"  id        {ids['19 words']}\n  source    low (reader huggingface, domain web, priority 10)\n" in story
    size = len(DOCUMENTS["low"]["19 words"])
    tokens = notes.table("verdicts").filter(pl.col("name") == "19 words").collect()["token_count"][0]
    assert f"  size      {size:,} bytes, 19 words, {tokens:,} tokens\n" in story and "licence   MIT\n" in story


def test_every_rule_that_fired_is_told_in_the_order_of_the_rules(small_build: Build) -> None:
    ledger = (
        small_build.table("ledger").filter(pl.col("bound").is_in(["min", "max"]), pl.col("winner").is_null()).collect()
    )
    counts = ledger.group_by("id").agg(pl.col("rule"), pl.col("value"), pl.len()).sort("len", "id")
    row = counts.row(-1, named=True)
    story = explain(small_build, row["id"])
    assert f"Dropped by {row['len']} rules" in story
    told = re.findall(r"^  ([a-z0-9]+\.[a-z0-9_]+): ", story, re.MULTILINE)
    assert sorted(told) == sorted(row["rule"]) and len(told) > 1
    for value, said in re.findall(r"    ([\d.,]+) is (below the minimum|above the maximum) of", story):
        assert any(float(value.replace(",", "")) == pytest.approx(each, abs=6e-4) for each in row["value"]), said


@pytest.mark.parametrize(
    "name, winner, because",
    [
        ("outranked", "outranking", "its source has the higher priority: high 20, low 10"),
        ("shorter", "longer", "equal priority, and it is longer: 602 characters against 596"),
    ],
)
def test_a_near_duplicate_names_the_one_that_stayed_why_and_where_they_differ(
    notes: Build, ids: dict[str, str], name: str, winner: str, because: str
) -> None:
    story = explain(notes, ids[name])
    assert f"Dropped as a near duplicate (dedup.near). This one stayed:\n  {winner}\n  id        {ids[winner]}" in story
    assert f"  because   {because}\n" in story
    # 100 words have 96 shingles; one changed word is in 5 of them.
    assert (
        f"  Jaccard   {91 / 101:.3f} of their 5-word shingles; 2 documents that pass the rules are in the cluster"
        in story
    )
    texts = [
        documents[each].split() for documents in DOCUMENTS.values() for each in (name, winner) if each in documents
    ]
    (place,) = [i for i, (a, b) in enumerate(zip(*texts, strict=True)) if a != b]
    words = [
        documents[each].split()[place]
        for each in (name, winner)
        for documents in DOCUMENTS.values()
        if each in documents
    ]
    assert re.search(rf"    this      .*\[{words[0]}\].*\n    the other .*\[{words[1]}\]", story)


def test_a_duplicate_that_is_like_the_winner_only_through_others_is_told_so(notes: Build, ids: dict[str, str]) -> None:
    told = {name: explain(notes, ids[f"chain {name}"]) for name in "ab"}
    assert all("This one stayed:\n  chain c" in story for story in told.values())
    through = "They are in one cluster through documents that are like both."
    alike = {name: float(re.findall(r"Jaccard   ([\d.]+) of", story)[0]) for name, story in told.items()}
    assert alike["a"] < 0.72 and through in told["a"]
    assert (through in told["b"]) == (alike["b"] < 0.72)


def test_quality_decides_before_length_and_a_minus_turns_it_round(notes: Build, ids: dict[str, str]) -> None:
    def judged_by(quality: str) -> Build:
        curate = notes.recipe.curate
        dedup = curate.dedup.model_copy(update={"quality": quality})
        return Build(
            notes.recipe.model_copy(update={"curate": curate.model_copy(update={"dedup": dedup})}),
            notes.home,
            workers=1,
        )

    higher, lower = judged_by("mean_word_length"), judged_by("-mean_word_length")
    one, other = (standing(higher, "low", ids[name]) for name in ("longer", "shorter"))
    assert why_it_stayed(one, other) == "equal priority, and its quality is higher: 5.02 against 4.96"
    one, other = (standing(lower, "low", ids[name]) for name in ("shorter", "longer"))
    assert why_it_stayed(one, other) == "equal priority, and its quality is higher: -4.96 against -5.02"


def test_an_exact_duplicate_stays_by_its_id_and_its_text_is_the_same(notes: Build, ids: dict[str, str]) -> None:
    winner, loser = sorted(["same-a", "same-b"], key=ids.__getitem__)
    story = explain(notes, ids[loser])
    assert f"Dropped as an exact duplicate (dedup.exact). This one stayed:\n  {winner}\n" in story
    assert "because   equal priority and length, and its id comes first" in story
    assert story.endswith("The texts are the same.")
    assert f"It stayed for 1 duplicate:\n    {ids[loser]}  low  {loser}  (dedup.exact)" in explain(notes, ids[winner])


def test_a_kept_document_tells_the_rules_that_came_closest(notes: Build, ids: dict[str, str]) -> None:
    story = explain(notes, ids["21 words"])
    assert (
        "Kept.\n  The rules that came closest:\n    gopher.min_words: words: 21, the minimum is 20 (5.0% away)\n"
        in story
    )
    assert explain(notes, ids["20 words"]).count("the minimum is 20 (on it)") == 1
    # The rule is off for this source.
    assert "gopher.min_words" not in explain(notes, ids["brief too"])


def test_a_kept_document_is_where_the_story_says(notes: Build) -> None:
    kept = notes.table("verdicts").filter(pl.col("verdict") == "kept").collect()
    shards = pl.read_parquet(sorted((notes.folder / "phase1").glob("*.parquet")))
    rows = {identity: i for i, identity in enumerate(shards["id"])}
    held = held_out_ids(notes)
    assert held and rows and len(rows) + len(held) < kept.height
    for identity in kept["id"]:
        story = explain(notes, identity)
        assert ("It is held out" in story) == (identity in held)
        assert (f"phase1: row {rows.get(identity)} of shard-00000.parquet" in story) == (identity in rows)
        assert ("It is in no phase that is built" in story) == (identity not in held and identity not in rows)
        assert ("Not built yet: phase2" in story) == (identity not in held)


def held_out_ids(build: Build) -> set[str]:
    """The documents that the mix holds out."""
    axes = [replace(axis, stem=HELD_OUT) for axis in build.ranked.values()]
    return {identity for axis in axes for bucket in range(axis.buckets) for identity in axis.rows(bucket)["id"]}


def test_a_document_that_was_rejected_tells_where_and_why(small_build: Build) -> None:
    row = small_build.table("rejected").collect().row(0, named=True)
    step, _, reason = row["rule"].partition(".")
    story = explain(small_build, row["id"])
    assert f"It was {row['verdict']} at {step}, before any rule: {reason}" in story
    assert row["name"] in story and row["source"] in story


def test_another_text_under_the_same_name_is_told_of(notes: Build, ids: dict[str, str]) -> None:
    said = (
        "Another of this name was quarantined at normalise, before any rule: repeated-name (another text under a name"
    )
    assert said in explain(notes, ids["21 words"]) and "Another of this name" not in explain(notes, ids["20 words"])


def test_every_document_of_a_real_build_has_its_story(small_build: Build) -> None:
    """One of each source and rule, the smallest id."""
    ledger = small_build.table("ledger").collect().sort("id").group_by("source", "rule").first()
    assert ledger.height > 15
    for identity, verdict in ledger.select("id", "verdict").iter_rows():
        story = explain(small_build, identity)
        assert ("Kept." in story) == (verdict == "kept") and not CONTROLS.search(story)


def test_what_steers_a_terminal_is_written_out(notes: Build, ids: dict[str, str]) -> None:
    story = explain(notes, ids[EVIL])
    assert not CONTROLS.search(story)
    assert story.startswith("evil\\x1b[31m\\x07\\u202ename\n") and "licence   MIT\\x1b[2J" in story


def test_the_beginning_of_an_id_or_a_name_will_do_if_only_one_has_it(notes: Build, ids: dict[str, str]) -> None:
    whole = explain(notes, ids["longer"])
    assert (
        explain(notes, ids["longer"][:12]) == whole == explain(notes, "longer") == explain(notes, ids["longer"].upper())
    )
    with pytest.raises(PlmError, match=r"notes has no document with the id or name “nowhere”.*--grep TEXT"):
        explain(notes, "nowhere")
    with pytest.raises(PlmError, match="no document"):
        explain(notes, "")
    first = {
        identity[0] for identity in ids.values() if sum(other[0] == identity[0] for other in ids.values()) > 1
    }.pop()
    with pytest.raises(
        PlmError, match=rf"documents of notes are called {first} or have an id that begins so.*\n  {first}"
    ):
        explain(notes, first)


def test_a_search_finds_every_document_that_holds_the_text(notes: Build, ids: dict[str, str]) -> None:
    words = DOCUMENTS["low"]["plain 3"].split()
    (match,) = find(notes, " ".join(words[40:45]))
    assert (match.id, match.source, match.name, match.verdict) == (ids["plain 3"], "low", "plain 3", "kept")
    assert " ".join(words[40:45]) in match.excerpt
    names = {match.name for match in find(notes, DOCUMENTS["low"]["same-a"][:60])}
    assert names == {"same-a", "same-b"}
    assert [match.name for match in find(notes, "only\nand then")] == ["brief"]
    assert find(notes, "[a-z]+") == [] and find(notes, "nowhere in it") == []
    everything = {name for documents in DOCUMENTS.values() for name in documents}
    assert {match.name for match in find(notes, ".", 1000)} == everything
    assert len(find(notes, ".", 7)) == 7


def test_a_question_never_builds(notes: Build, notes_recipe: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PlmError, match=r"notes: not built from .*run `plm build notes`"):
        explain(Built(notes.recipe, tmp_path), "longer")
    assert sorted(tmp_path.iterdir()) == before
    assert "Kept." in explain(Built(notes.recipe, notes.home), "longer")
    changed = notes.recipe.model_copy(update={"seed": 4})
    assert json.loads(changed.model_dump_json()) != json.loads(notes.recipe.model_dump_json())
    with pytest.raises(PlmError, match="not built from"):
        explain(Built(changed, notes.home), "longer")


def test_a_corpus_that_a_guardrail_stopped_can_be_asked_why(notes: Build, ids: dict[str, str]) -> None:
    strict = Guardrails(max_source_loss=0.01)
    recipe = notes.recipe.model_copy(update={"curate": notes.recipe.curate.model_copy(update={"guardrails": strict})})
    with pytest.raises(GuardrailError, match="max_source_loss"):
        Build(recipe, notes.home, workers=1).table("ledger")
    assert "19 is below the minimum of 20" in explain(Built(recipe, notes.home), ids["19 words"])


@pytest.mark.parametrize(
    "value, threshold, said",
    [
        (12, 50, ("12", "50")),
        (100_001, 100_000, ("100,001", "100,000")),
        (0.3000004, 0.3, ("0.3000004", "0.3")),
        (0.1234567, 0.12, ("0.123", "0.12")),
        (0.5, 0.5, ("0.5", "0.5")),
        (0.0, 0.12, ("0", "0.12")),
    ],
)
def test_two_figures_can_be_told_apart(value: float, threshold: float, said: tuple[str, str]) -> None:
    assert figures(value, threshold) == said


def test_differences_show_both_sides_with_what_differs_in_brackets() -> None:
    a, b = "one two three four five six seven eight", "one two three four FIVE six seven eight nine"
    assert differences(a, b) == [
        ("one two three four [five] six seven eight", "one two three four [FIVE] six seven eight nine"),
        ("four five six seven eight []", "four FIVE six seven eight [nine]"),
    ]
    assert differences("a b\n c", "a  b c") == []
    far = " ".join(map(str, range(50_000)))
    assert differences(far + " end", far + " stop") == [
        ("49995 49996 49997 49998 49999 [end]", "49995 49996 49997 49998 49999 [stop]")
    ]
    assert "\x1b" not in differences("a \x1b[2J", "a b")[0][0]
