"""The benchmarks' corpus: the same bytes for the same seed, and planted copies that are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import regex

from benchmarks import filters
from benchmarks.corpus import EXACT_SHARE, NEAR_SHARE, Corpus, corpus
from benchmarks.peers import SAME, verdicts
from plm_data.attributes.heuristics import heuristics
from plm_data.rules import C4, FINEWEB, GOPHER, REPETITION
from plm_data.store import file_sha256
from plm_data.text.normalise import normalise

SIZE = 2_000_000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return corpus(SIZE, home=tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def documents(made: Corpus) -> pl.DataFrame:
    frame = pl.concat([pl.read_parquet(file) for file in made.files])
    return frame.join(made.truth(), on="id", validate="1:1", maintain_order="left")


def shingles(text: str) -> set[tuple[str, ...]]:
    words = regex.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(made: Corpus, tmp_path: Path) -> None:
    again, other = corpus(SIZE, home=tmp_path), corpus(SIZE, seed=2, home=tmp_path)
    files = [*made.files, made.folder / "truth.parquet"]
    assert [file_sha256(file) for file in files] == [
        file_sha256(again.folder / file.relative_to(made.folder)) for file in files
    ]
    assert file_sha256(made.files[0]) != file_sha256(other.files[0])
    assert corpus(SIZE, home=made.folder.parent) == made


def test_sizes_and_files(made: Corpus, documents: pl.DataFrame) -> None:
    assert len(made.files) == 4 and documents.height == made.documents
    assert documents["text"].str.len_bytes().sum() == made.bytes
    assert abs(made.bytes / SIZE - 1) < 0.15
    assert made.texts().equals(documents["text"])
    head = made.texts(SIZE // 2)
    assert head.equals(documents["text"].head(len(head))) and head.str.len_bytes().sum() >= SIZE // 2
    assert made.texts(SIZE // 2).head(-1).str.len_bytes().sum() < SIZE // 2


def test_texts_are_in_normal_form(documents: pl.DataFrame) -> None:
    assert normalise(documents["text"]).equals(documents["text"])


def test_exact_copies_are_their_originals_bytes_and_nothing_else_is(documents: pl.DataFrame) -> None:
    exact = documents.filter(pl.col("kind") == "exact")
    assert abs(exact.height / documents.height - EXACT_SHARE) < 0.01
    originals = exact.join(documents, left_on="cluster", right_on="id", suffix="_of", validate="m:1")
    assert originals.height == exact.height
    assert (originals["text"] == originals["text_of"]).all() and (originals["kind_of"] == "new").all()
    assert documents["text"].n_unique() == documents.height - exact.height


def test_near_copies_are_near_and_other_documents_far(documents: pl.DataFrame) -> None:
    near = documents.filter(pl.col("kind") == "near")
    assert abs(near.height / documents.height - NEAR_SHARE) < 0.01 and (near["edits"] > 0).all()
    pairs = near.join(documents, left_on="cluster", right_on="id", suffix="_of", validate="m:1")
    assert pairs.height == near.height
    for text, of in pairs.select("text", "text_of").iter_rows():
        a, b = shingles(text), shingles(of)
        assert text != of and len(a & b) / len(a | b) >= 0.85
    new = [shingles(text) for text in documents.filter(pl.col("kind") == "new")["text"].head(150)]
    for i, a in enumerate(new):
        for b in new[:i]:
            assert len(a & b) <= 0.5 * len(a | b)


def test_every_rule_fires_and_no_rule_drops_all(documents: pl.DataFrame) -> None:
    frame = heuristics(documents["text"])
    for rules in (GOPHER, REPETITION, C4, FINEWEB):
        for rule in rules.rules:
            value = frame[rule.column]
            dropped = (value < rule.default if rule.bound == "min" else value > rule.default).sum()
            assert dropped < 0.6 * documents.height, (rule.key, dropped)
            # A document of more words than Gopher allows comes once in 64 MB; and the frequent phrase is a fifth of its
            # document, so by the length of the words drawn its 2-grams are beyond the 0.2 or not.
            assert dropped > 0 or rule.key in ("max_words", "max_top_2_gram"), rule.key


def test_our_verdicts_are_datatroves_with_the_same_tokenizer(documents: pl.DataFrame) -> None:
    texts = documents["text"].head(150)
    ours = filters._kept(heuristics(texts)).to_dict(as_series=False)
    assert ours == verdicts(SAME, texts.to_list())
    assert all(len(set(found)) == 2 for found in ours.values())
