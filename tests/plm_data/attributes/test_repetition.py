"""Gopher's repetition measures, to the character, against the functions of datatrove's filter."""

from __future__ import annotations

import re

import polars as pl
import pytest
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)  # fmt: skip
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plm_data.attributes.repetition import DUPLICATE_N_GRAMS, TOP_N_GRAMS, repetition
from plm_data.text.lines import split_lines
from plm_data.text.normalise import normalise
from plm_data.text.words import segment

# So few different words and lines that nearly everything repeats.
WORDY = st.lists(st.sampled_from(["a", "b", "ab", "é", "床"]), max_size=60).map(" ".join)
LINED = st.lists(st.sampled_from(["a", "b b", "  a", "\u3000a", "\u00a0\u3000a", "é…", "", "", "\t"]), max_size=20).map(
    "\n".join
)


def measured(texts: list[str]) -> tuple[list[str], pl.DataFrame]:
    """The texts in normal form, and their measures."""
    series = normalise(pl.Series(texts, dtype=pl.String))
    words = segment(series)
    return series.to_list(), repetition(words, split_lines(words.data, words.bounds))


def top(text: str, n: int) -> float:
    grams = get_n_grams(segment(pl.Series([text])).of(0), n)
    return find_top_duplicate(grams) / len(text) if grams else 0.0


def duplicate(text: str, n: int) -> float:
    # datatrove joins words without a separator, so "a bc" repeats "ab c" there, and here it does not.
    # With separators it does as we do, but counts them: once with one, once with two, gives the words alone.
    words = segment(pl.Series([text])).of(0)
    once, twice = (find_all_duplicate([word + s for word in words], n) for s in ("\0", "\0\0"))
    return (2 * once - twice) / len(text) if text else 0.0


def check_n_grams(texts: list[str]) -> None:
    shown, frame = measured(texts)
    for i, text in enumerate(shown):
        for n in TOP_N_GRAMS:
            assert frame[f"top_{n}_gram"][i] == pytest.approx(top(text, n), abs=1e-12), (n, text[:80])
        for n in DUPLICATE_N_GRAMS:
            assert frame[f"duplicate_{n}_grams"][i] == pytest.approx(duplicate(text, n), abs=1e-12), (n, text[:80])


@settings(max_examples=300)
@given(st.lists(WORDY, max_size=4))
@example(["a b a b ab", "ab ab b b"])  # equally frequent: the first counts, not the longest
@example(["a a a a a a a a a a a", "a b c d e"])
def test_n_grams_of_few_words(texts: list[str]) -> None:
    check_n_grams(texts)


def test_n_grams_of_real_texts(texts: pl.Series) -> None:
    check_n_grams([*texts[::3], *texts[-11:]])


@settings(max_examples=300)
@given(st.lists(LINED, max_size=4))
@example(["  a\n\na\n\n  a"])  # white space before the first paragraph is not of it
def test_lines_and_paragraphs(texts: list[str]) -> None:
    shown, frame = measured(texts)
    for i, text in enumerate(shown):
        if not text:
            continue
        for name, pieces in (("line", re.split(r"\n+", text)), ("paragraph", re.split(r"\n{2,}", text.strip()))):
            repeats, chars = find_duplicates(pieces)
            assert frame[f"duplicate_{name}s"][i] == pytest.approx(repeats / len(pieces)), (name, text)
            assert frame[f"duplicate_{name}_chars"][i] == pytest.approx(chars / len(text)), (name, text)


def test_ideographic_space_before_a_text_is_not_of_its_first_paragraph() -> None:
    shown, frame = measured(["\u3000甲乙\n\n\u3000甲乙"])
    assert frame["duplicate_paragraphs"][0] == find_duplicates(re.split(r"\n{2,}", shown[0].strip()))[0] / 2 == 0


@pytest.mark.parametrize(
    "column, repeating, nearest",
    [
        ("duplicate_lines", "a b\nc\na b", "a b\nc\na  b"),
        ("duplicate_paragraphs", "a\nb\n\na\nb", "a\nb\n\nb\na"),
        ("duplicate_line_chars", "one line\none line", "one line\nOne line"),
        ("duplicate_paragraph_chars", "one\n\none", "one\none"),
        ("duplicate_5_grams", "a b c d e a b c d e", "a b c d e a b c d f"),
        ("duplicate_5_grams", "a b c d e, A a. b c! d e", "a b c d e A b c d e"),
        ("duplicate_10_grams", "a b c d e f g h i j " * 2, "a b c d e f g h i j a b c d e f g h i x"),
        ("duplicate_5_grams", "ab c d e f ab c d e f", "ab c d e f a bc d e f"),
    ],
)
def test_what_repeats_and_the_nearest_that_does_not(column: str, repeating: str, nearest: str) -> None:
    _, frame = measured([repeating, nearest])
    assert frame[column][0] > 0 and frame[column][1] == 0


def test_a_repeat_counts_n_minus_one_times() -> None:
    _, frame = measured(["x y\n" * 4])
    assert frame["duplicate_lines"][0] == 0.75 and frame["duplicate_line_chars"][0] == 9 / 15
