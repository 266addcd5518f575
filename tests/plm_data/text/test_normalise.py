"""The normal form: idempotent, one kind of line break, nothing of code lost."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.text.hashing import document_id, partition_of, rank_hash
from plm_data.text.normalise import content_hash, normalise


def norm(text: str) -> str:
    return pl.DataFrame({"t": [text]}).select(normalise(pl.col("t")))["t"][0]


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=200))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = norm(text)
    assert norm(once) == once
    assert not set(once) & set("\r\v\f\x00\x85\u2028\u2029\ufeff")
    assert all(line == line.rstrip(" \t") for line in once.split("\n"))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("e\u0301", "\u00e9"),
        ("a  \n\tb\t\n", "a\n\tb"),
        ("\n\n    indented\n", "    indented"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("a\n\n\nb", "a\n\n\nb"),
        ("\ufeffa\x00b", "ab"),
    ],
)
def test_what_changes_and_what_stays(text: str, expected: str) -> None:
    assert norm(text) == expected


def test_the_content_hash_is_of_the_text_alone() -> None:
    hashes = content_hash(pl.Series(["a", "b", "a"]))
    assert hashes[0] == hashes[2] != hashes[1] and hashes.str.len_chars().to_list() == [32, 32, 32]


def test_ids_and_ranks_are_pinned() -> None:
    """They name documents in every lock and ledger: a change of theirs is a change of format."""
    assert document_id("python-code", "stdlib/json/decoder.py") == "085bea3788709935e021394b85783ee6"
    assert document_id("ab", "c") != document_id("a", "bc")
    assert rank_hash(1, "x", "y") != rank_hash(2, "x", "y") != rank_hash(2, "z", "y")
    assert {partition_of(document_id("s", str(i)), 4) for i in range(64)} == {0, 1, 2, 3}
