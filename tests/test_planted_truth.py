"""Two thousand documents whose copies are known: what a build finds of them, and what it must not."""

from __future__ import annotations

from collections import defaultdict

import polars as pl
import pytest

from plm_data.decisions.ledger import EXACT, NEAR
from plm_data.text.normalise import normalise
from tests.planted import Corpus, jaccard, open_planted, plant, write_rows


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return plant(seed=5, originals=1400, exact=300, near=300)


@pytest.fixture(scope="module")
def decisions(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Verdicts and ledger."""
    folder = tmp_path_factory.mktemp("planted")
    write_rows(folder / "web" / "rows.jsonl", corpus.texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        build = open_planted(folder, {"web": 1})
        verdicts = build.table("verdicts").collect()
        ledger = build.table("ledger").collect().join(verdicts.select("id", "name"), on="id")
        return verdicts, ledger.join(verdicts.select(winner="id", winner_name="name"), on="winner", how="left")


def test_the_corpus_is_what_it_says(corpus: Corpus) -> None:
    assert len(corpus.texts) == 2000 == len(set(corpus.texts))
    assert all(jaccard(corpus.texts[copy], corpus.texts[original]) >= 0.9 for copy, original in corpus.near.items())
    plain = normalise(pl.Series(list(corpus.texts.values())))
    shown = dict(zip(corpus.texts, plain, strict=True))
    assert all(shown[copy] == shown[original] for copy, original in corpus.exact.items())
    assert len({shown[name] for name in shown if name.startswith("o")}) == 1400
    assert max(jaccard(shown["o0"], shown[f"o{i}"]) for i in range(1, 200)) < 0.05


def test_every_exact_copy_is_found_and_nothing_else(
    corpus: Corpus, decisions: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    verdicts, ledger = decisions
    plain = dict(zip(corpus.texts, normalise(pl.Series(list(corpus.texts.values()))), strict=True))
    groups: dict[str, list[str]] = defaultdict(list)
    ids = dict(verdicts.select("name", "id").iter_rows())
    for name, text in plain.items():
        groups[text].append(name)
    # Of equal texts the one with the smallest id stays in the contest.
    expected = {name for group in groups.values() for name in sorted(group, key=ids.__getitem__)[1:]}
    found = set(ledger.filter(pl.col("rule") == EXACT)["name"])
    assert found == expected and len(found) >= 300


def test_near_copies_are_found(corpus: Corpus, decisions: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    cluster = dict(decisions[0].select("name", "near_cluster").iter_rows())
    found = sum(cluster[copy] == cluster[original] for copy, original in corpus.near.items())
    assert found / len(corpus.near) >= 0.95


def test_no_unrelated_documents_are_called_copies(corpus: Corpus, decisions: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    verdicts, ledger = decisions
    for names in verdicts.group_by("near_cluster").agg("name")["name"]:
        assert len({corpus.family(name) for name in names}) == 1
    lost = ledger.filter(pl.col("rule").is_in([EXACT, NEAR]))
    assert lost.filter(pl.col("rule") == NEAR).height > 200
    for name, winner in lost.select("name", "winner_name").iter_rows():
        assert name != winner and corpus.family(name) == corpus.family(winner)


def test_every_family_that_is_found_whole_has_one_survivor(
    corpus: Corpus, decisions: tuple[pl.DataFrame, pl.DataFrame]
) -> None:
    verdicts, _ = decisions
    frame = verdicts.with_columns(family=pl.col("name").map_elements(corpus.family, pl.String))
    by_family = frame.group_by("family").agg(
        survivors=(pl.col("verdict") == "kept").sum(), clusters=pl.col("near_cluster").n_unique()
    )
    assert by_family.height == 1400
    assert (by_family["survivors"] == by_family["clusters"]).all()
    assert (by_family["clusters"] == 1).mean() > 0.99
