"""One segmentation for all languages: the scanner finds what the pattern says."""

from __future__ import annotations

import itertools

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.text.words import WORD, Words, segment, utf8, word_hash
from tests.plm_data.text.alphabets import unicode_text

TEXTS = st.lists(unicode_text("__aZé5ß床のア한क्\u0301𝒳🙂 .-'\n", 30), max_size=6)


def words(text: str) -> list[str]:
    return segment(pl.Series([text])).of(0)


def all_words(found: Words) -> list[list[str]]:
    return [found.of(i) for i in range(len(found.counts()))]


@given(TEXTS)
def test_words_are_what_the_pattern_finds(texts: list[str]) -> None:
    series = pl.Series(texts, dtype=pl.String)
    found, expected = segment(series), series.str.extract_all(WORD).to_list()
    assert all_words(found) == expected
    flat = pl.Series([word for text in expected for word in text], dtype=pl.String)
    assert found.chars.tolist() == flat.str.len_chars().to_list()
    assert found.letters.tolist() == flat.str.contains(r"\p{L}").to_list()
    assert found.counts().tolist() == [len(text) for text in expected]


@given(TEXTS)
def test_hashes_are_equal_just_for_equal_words(texts: list[str]) -> None:
    found = segment(pl.Series(texts, dtype=pl.String))
    flat = [word for text in all_words(found) for word in text]
    pairs = set(zip(flat, found.hashes.tolist(), strict=True))
    assert len(pairs) == len(set(flat)) == len(set(found.hashes.tolist()))
    assert all(word_hash(word) == value for word, value in list(pairs)[:5])


@given(TEXTS, st.integers(0, 6), st.integers(0, 6))
def test_a_slice_has_the_words_of_the_texts_it_shows(texts: list[str], start: int, length: int) -> None:
    series = pl.Series(texts, dtype=pl.String)
    part, whole = segment(series.slice(start, length)), segment(series)
    assert all_words(part) == all_words(whole)[start : start + length]
    data, bounds = utf8(series.slice(start, length))
    shown = [data[a:b].tobytes().decode() for a, b in itertools.pairwise(bounds)]
    assert shown == texts[start : start + length]


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Don't stop, it's 3.5 naïve cafés!", ["Don", "t", "stop", "it", "s", "3", "5", "naïve", "cafés"]),
        ("__init__ _ __ a_ a_b", ["__init__", "a_", "a_b"]),
        ("床前明月光", ["床", "前", "明", "月", "光"]),
        ("__床_a", ["床", "_a"]),
        ("これは Python です", ["こ", "れ", "は", "Python", "で", "す"]),
        ("Привет, мир", ["Привет", "мир"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("𝒳𝒴 🙂x", ["𝒳𝒴", "x"]),
    ],
)
def test_words_of_languages_with_and_without_spaces(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_documents_without_words_keep_their_place() -> None:
    found = segment(pl.Series(["a b", "", "...", "c"]))
    assert found.offsets.tolist() == [0, 2, 2, 2, 3]
    assert found.counts().tolist() == [2, 0, 0, 1]


def test_no_documents_at_all() -> None:
    found = segment(pl.Series([], dtype=pl.String))
    assert found.offsets.tolist() == [0] and len(found.hashes) == 0


@pytest.mark.parametrize("text", ["two words", "", "_", "a-b", " a", "床前", "a床"])
def test_what_is_not_one_word_has_no_hash(text: str) -> None:
    with pytest.raises(ValueError, match="is not one word"):
        word_hash(text)


def test_hashes_are_pinned() -> None:
    """The same on every machine: FNV-1a of the bytes, then MurmurHash3's finaliser."""

    def expected(word: str) -> int:
        h = 0xCBF29CE484222325
        for byte in word.encode():
            h = (h ^ byte) * 0x100000001B3 % 2**64
        h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD % 2**64
        return h ^ h >> 33

    for word in ("plm", "__init__", "床", "naïve", "𝒳"):
        assert word_hash(word) == expected(word)
