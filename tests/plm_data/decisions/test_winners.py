"""Winners: one survivor a cluster, the same whatever the order of rows, buckets and partitions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.decisions import winners
from plm_data.decisions.judge import CANDIDATES
from plm_data.decisions.ledger import EXACT, NEAR
from plm_data.decisions.winners import buckets_for, exact_winners, find_duplicates, near_winners
from tests.plm_data.decisions.chain import cluster, content, decide, name_of, named

SCHEMA = {
    "id": pl.String, "source": pl.String, "priority": pl.Int64, "quality": pl.Float64, "chars": pl.Int64,
    "content_hash": pl.String, "near_cluster": pl.UInt64, "near_cluster_size": pl.Int64,
}  # fmt: skip


def row(
    name: str,
    priority: int = 1,
    quality: float = 0.0,
    chars: int = 9,
    content_of: str | None = None,
    near: str | None = "k",
) -> dict:
    """A candidate; by itself in content, and in the near cluster ``k`` with all the others."""  # fmt: skip
    return {
        "id": named(name), "source": f"s{priority}", "priority": priority, "quality": quality, "chars": chars,
        "content_hash": content(content_of or name), "near_cluster": None if near is None else cluster(near),
        "near_cluster_size": None,
    }  # fmt: skip


def candidates(rows: list[dict]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    assert frame.columns == CANDIDATES.names
    size = pl.len().over("near_cluster").cast(pl.Int64)
    return frame.with_columns(near_cluster_size=pl.when(pl.col("near_cluster").is_not_null()).then(size))


def losers(found: pl.DataFrame) -> dict[str, tuple[str, str]]:
    assert found["id"].n_unique() == found.height
    return {name_of(i): (rule, name_of(winner)) for i, rule, winner in found.select("id", "rule", "winner").iter_rows()}


def duel(*rows: dict) -> dict[str, tuple[str, str]]:
    return losers(find_duplicates(candidates(list(rows))))


@pytest.mark.parametrize(
    "winner, loser",
    [
        (row("b", priority=2, quality=0, chars=1), row("a", priority=1, quality=9, chars=99)),
        (row("b", quality=0.2, chars=1), row("a", quality=0.1, chars=99)),
        (row("b", quality=-1, chars=1), row("a", quality=-2, chars=99)),
        (row("b", chars=10), row("a", chars=9)),
        (row("a"), row("b")),
    ],
    ids=["priority", "quality", "a negative quality", "length", "id"],
)
@pytest.mark.parametrize("copies", [NEAR, EXACT])
def test_the_winner_is_of_the_highest_priority_then_quality_then_length_then_the_smallest_id(
    winner: dict, loser: dict, copies: str
) -> None:
    if copies == EXACT:
        winner, loser = ({**each, "content_hash": content("same")} for each in (winner, loser))
    names = [name_of(each["id"]) for each in (loser, winner)]
    assert duel(winner, loser) == duel(loser, winner) == {names[0]: (copies, names[1])}


def test_near_duplicates_of_a_source_that_keeps_them_stay_but_exact_ones_go() -> None:
    assert duel(row("a", near=None), row("b", near=None)) == {}
    same = [row(name, content_of="h", near=None) for name in "ab"]
    assert duel(*same) == {"b": (EXACT, "a")}


def test_an_exact_copy_in_a_source_that_keeps_near_ones_leaves_a_near_cluster_to_the_others() -> None:
    keeper = row("a", priority=5, content_of="h", near=None)
    assert duel(keeper, row("b", content_of="h"), row("c")) == {"b": (EXACT, "a")}
    assert duel(row("a", 1, content_of="h", near=None), row("b", 5, content_of="h"), row("c")) == {
        "a": (EXACT, "b"), "c": (NEAR, "b"),
    }  # fmt: skip


def test_an_exact_copys_winner_is_the_document_that_stays_in_the_end() -> None:
    rows = [row("a", content_of="h"), row("b", content_of="h"), row("c", priority=5)]
    assert duel(*rows) == {"a": (NEAR, "c"), "b": (EXACT, "c")}


def test_losers_say_how_many_copies_there_were() -> None:
    found = find_duplicates(candidates([row("a", content_of="h"), row("b", content_of="h"), row("c"), row("d")]))
    assert dict(found.select("rule", "copies").unique().iter_rows()) == {EXACT: 2, NEAR: 3}


# Equal texts have equal signatures, so exact copies that are in a near cluster are in one.
OF_CONTENT = {"u": "k", "v": "k", "w": "l", "x": "m", "y": "m", "z": "m"}
ROWS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(1, 3), st.sampled_from("uvwxyz"), st.booleans()),
    min_size=1, max_size=14,
)  # fmt: skip


def drawn(rows: list[tuple]) -> list[dict]:
    """Candidates; the source of the middle priority keeps its near duplicates."""
    return [
        row(f"{i:02d}", p, q, c, text, None if p == 2 else OF_CONTENT[text])
        for i, (p, q, c, text, _) in enumerate(rows)
    ]


def in_buckets(frame: pl.DataFrame, buckets: int) -> pl.DataFrame:
    """The two contests as the steps hold them: by content, then by cluster; a loser goes with its winner's cluster."""
    entered = [exact_winners(frame.filter(pl.col("content_hash").hash() % buckets == b)) for b in range(buckets)]
    entrants = pl.concat(entered)
    place = pl.col("near_cluster").fill_null(0) % buckets
    return pl.concat([near_winners(entrants.filter(place == b)) for b in range(buckets)])


@settings(max_examples=150)
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 4))
def test_neither_order_nor_buckets_change_who_loses(rows: list[tuple], random, buckets: int) -> None:  # type: ignore[no-untyped-def]
    made = drawn(rows)
    expected = losers(find_duplicates(candidates(made)))
    random.shuffle(made)
    assert losers(find_duplicates(candidates(made))) == expected
    assert losers(in_buckets(candidates(made), buckets)) == expected


@settings(max_examples=150)
@given(ROWS)
def test_exactly_one_survivor_a_cluster_and_every_loser_names_it(rows: list[tuple]) -> None:
    frame = candidates(drawn(rows))
    lost = losers(find_duplicates(frame))
    kept = {f"{i:02d}" for i in range(len(rows))} - set(lost)
    assert all(winner in kept for _, winner in lost.values())
    for (text,), group in frame.group_by("content_hash"):
        assert group.filter(pl.col("id").is_in([named(name) for name in kept])).height <= 1, text
    # The winners of each content that count for near duplicates: one a cluster.
    best = frame.sort(["priority", "quality", "chars", "id"], descending=[True, True, True, False]).unique(
        "content_hash", keep="first", maintain_order=True
    )
    for (group,), contest in best.filter(pl.col("near_cluster").is_not_null()).group_by("near_cluster"):
        assert contest["id"].is_in([named(name) for name in kept]).sum() == 1, group
    assert best.filter(pl.col("near_cluster").is_null())["id"].is_in([named(name) for name in kept]).all()


@settings(max_examples=15)
@given(ROWS, st.integers(1, 3), st.integers(1, 4))
def test_the_steps_keep_one_document_a_cluster_of_those_that_the_rules_keep(
    rows: list[tuple], pieces: int, buckets: int
) -> None:
    """Whole chain on disk; the last of each tuple says that a rule drops it, be it the best of its cluster."""
    sources: dict[str, list[dict]] = {f"s{p}": [] for p in (1, 2, 3)}
    for i, (p, q, c, text, bad) in enumerate(rows):
        sources[f"s{p}"].append(
            {
                "id": f"{i:02d}",
                "chars": c,
                "mean_word_length": q,
                "content": text,
                "cluster": OF_CONTENT[text],
                "words": 1 if bad else 60,
            }
        )
    with tempfile.TemporaryDirectory() as folder:
        made = decide(
            Path(folder), sources, {"gopher.min_words": 50.0}, priorities={"s1": 1, "s2": 2, "s3": 3}, exact_only=["s2"],
            quality="mean_word_length", pieces=pieces, buckets=buckets,
        )  # fmt: skip
        kept, lost = made.kept(), made.losers()
        counts = sum((output.counts.kept for output in made.outputs.values()), 0)
    good = [each for each, (*_, bad) in zip(drawn(rows), rows, strict=True) if not bad]
    expected = losers(find_duplicates(candidates(good))) if good else {}
    assert lost == expected
    assert kept == {f"{i:02d}" for i, (*_, bad) in enumerate(rows) if not bad} - set(expected)
    assert counts == len(kept)


def test_the_winner_is_taken_among_the_documents_that_the_rules_keep(tmp_path: Path) -> None:
    """A changed threshold never leaves a cluster empty: the longest copy is dropped by a rule, the next one stays."""
    documents = [
        {"id": "long", "chars": 900, "words": 1, "cluster": "k"},
        {"id": "mid", "chars": 90, "words": 60, "cluster": "k"},
        {"id": "short", "chars": 9, "words": 60, "cluster": "k"},
    ]
    made = decide(tmp_path, {"s": documents}, {"gopher.min_words": 50.0})
    rows = made.table("ledger").select("id", "rule", "winner").rows()
    assert rows == [("long", "gopher.min_words", None), ("mid", None, None), ("short", NEAR, "mid")]


def test_a_copy_in_another_source_and_partition_is_found(tmp_path: Path) -> None:
    sources = {
        "web": [{"id": f"w{i}", "content": f"c{i}", "cluster": f"k{i}"} for i in range(9)],
        "docs": [{"id": f"d{i}", "content": f"c{i}", "cluster": f"k{i}"} for i in range(3)]
        + [{"id": f"e{i}", "cluster": f"k{i}"} for i in range(3, 6)],
    }
    made = decide(tmp_path, sources, priorities={"web": 1, "docs": 2}, pieces=5, buckets=3)
    exact = {f"w{i}": (EXACT, f"d{i}") for i in range(3)}
    assert made.losers() == exact | {f"w{i}": (NEAR, f"e{i}") for i in range(3, 6)}


def test_buckets_are_as_many_as_keep_each_one_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winners, "_CANDIDATES_A_BUCKET", 10)
    assert [buckets_for(n) for n in (0, 1, 10, 11, 95)] == [1, 1, 1, 2, 10]
