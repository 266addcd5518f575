"""One segmentation for all languages."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from plm_data.text.words import hash_strings, segment


def words(text: str) -> list[str]:
    return segment(pl.Series([text])).flat.to_list()


def test_words_of_languages_with_and_without_spaces() -> None:
    assert words("Don't stop, it's 3.5 naïve_cafés!") == ["Don", "t", "stop", "it", "s", "3", "5", "naïve_cafés"]
    assert words("__init__ _ __ a_") == ["__init__", "a_"]
    assert words("床前明月光") == ["床", "前", "明", "月", "光"]
    assert words("これは Python です") == ["こ", "れ", "は", "Python", "で", "す"]
    assert words("Привет, мир") == ["Привет", "мир"]
    assert words("한국어 문장") == ["한국어", "문장"]


def test_documents_without_words_keep_their_place() -> None:
    found = segment(pl.Series(["a b", "", "...", "c"]))
    assert found.offsets.tolist() == [0, 2, 2, 2, 3]
    assert found.document.tolist() == [0, 0, 3]
    assert found.counts().tolist() == [2, 0, 0, 1]


def test_no_documents_at_all() -> None:
    found = segment(pl.Series([], dtype=pl.String))
    assert found.documents == 0 and len(found.flat) == 0


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=20), max_size=20))
def test_hashes_are_equal_just_for_equal_strings(strings: list[str]) -> None:
    hashes = hash_strings(pl.Series(strings, dtype=pl.String)).tolist()
    assert len(hashes) == len(strings)
    assert len(set(hashes)) == len(set(strings))


def test_a_slice_is_hashed_as_the_strings_it_shows() -> None:
    series = pl.Series(["zero", "one", "two", "three"])
    assert hash_strings(series[1:3]).tolist() == hash_strings(series).tolist()[1:3]


def test_hashes_are_pinned() -> None:
    """Signatures are made of them, and are kept."""
    assert [f"{value:016x}" for value in hash_strings(pl.Series(["", "plm"]))] == [
        "ecba3df2c3383c52",
        "0451bbc7f0c8ebb3",
    ]
