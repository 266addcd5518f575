"""C4's and FineWeb's measures: against datatrove's, and case by case."""

from __future__ import annotations

import polars as pl
import pytest
from datatrove.pipeline.filters import FineWebQualityFilter
from datatrove.pipeline.filters import fineweb_quality_filter as module
from datatrove.pipeline.filters.gopher_repetition_filter import find_duplicates
from datatrove.utils.text import TERMINAL_PUNCTUATION
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.attributes.heuristics import heuristics
from plm_data.attributes.web import c4
from plm_data.text.words import segment, utf8
from tests.plm_data.attributes.measured import keeps, measure, words_of
from tests.plm_data.text.alphabets import pieces_of

# datatrove's option, our measure, and the direction in which the option must move to drop the document.
OPTIONS = [
    ("line_punct_thr", "punctuated_lines", 1), ("short_line_thr", "short_lines", -1),
    ("char_duplicates_ratio", "line_duplicate_chars", -1), ("new_line_ratio", "newlines_per_word", -1),
]  # fmt: skip
OFF = {"line_punct_thr": -1, "short_line_thr": 9, "char_duplicates_ratio": 9, "new_line_ratio": 9e9}


@pytest.mark.parametrize("option, column, direction", OPTIONS, ids=[option for option, *_ in OPTIONS])
def test_datatroves_verdict_turns_exactly_at_our_measure(
    texts: pl.Series, monkeypatch: pytest.MonkeyPatch, option: str, column: str, direction: int
) -> None:
    words = words_of(texts)
    monkeypatch.setattr(module, "split_into_words", lambda text, _: words[text])
    checked = 0
    for text, value in zip(texts, heuristics(texts)[column], strict=True):
        if not words[text]:
            continue
        assert keeps(FineWebQualityFilter(**OFF | {option: value - direction * 1e-9}), text), (value, text[:80])
        assert not keeps(FineWebQualityFilter(**OFF | {option: value + direction * 1e-9}), text), (value, text[:80])
        checked += value > 0
    assert checked > 30


@settings(max_examples=200)
@given(pieces_of(["a", "b", ".", "?", "。", "…", '"', ":", " ", "\n", "\n", "\n\n", "x" * 29, "é" * 30, "床"]))
def test_fineweb_measures_are_those_of_plain_python(text: str) -> None:
    lines = [line for line in text.split("\n") if line.strip()]
    words = segment(pl.Series([text])).of(0)
    n = max(len(lines), 1)
    found = measure(text)
    assert found["punctuated_lines"] == sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in lines) / n
    assert found["short_lines"] == sum(len(line) <= 30 for line in lines) / n
    assert found["line_duplicate_chars"] == find_duplicates(lines)[1] / max(len(text.replace("\n", "")), 1)
    assert found["newlines_per_word"] == (text.count("\n") / len(words) if words else 0)


def test_c4_sentences_are_counted_in_the_lines_it_keeps() -> None:
    assert measure("One two three. Four five six!")["c4_sentences"] == 2
    assert measure("One two.\nThree four five.")["c4_sentences"] == 1  # a line of two words does not count
    assert measure("Please enable JavaScript now.\nOne two three.")["c4_sentences"] == 1
    assert measure("See our cookie policy here.\nOne two three.")["c4_sentences"] == 1
    assert measure("One two " + "x" * 1001 + ".")["c4_sentences"] == 0
    assert measure("One two " + "x" * 999 + ".")["c4_sentences"] == 1


def test_terminal_punctuation_is_asked_for_only_where_the_recipe_says_so() -> None:
    text = "One two three\nFour five six."
    assert measure(text)["c4_sentences"] == 2
    found = measure(text, terminal=True)
    assert (found["c4_sentences"], found["c4_text"]) == (1, "Four five six.")


def test_c4_flags() -> None:
    assert measure("a b {c}")["c4_curly_brackets"] == 1 and measure("a b (c)")["c4_curly_brackets"] == 0
    assert measure("So: Lorem  Ipsum LOREM ipsum")["c4_lorem_ipsum"] == 1
    assert measure("a {b}")["c4_curly_brackets"] == 0  # C4 has dropped this line of two words before it looks


@given(
    st.lists(st.sampled_from(["one two three", "one two", "one two three [1]", "", "a b c\nd"]), max_size=6),
    st.integers(0, 3),
)
def test_the_edited_text_is_null_just_where_nothing_changes(texts: list[str], start: int) -> None:
    shown = pl.Series(texts, dtype=pl.String)[start:]
    found = c4(*utf8(shown))["c4_text"].to_list()
    expected = {
        "one two three": None,
        "one two": "",
        "one two three [1]": "one two three",
        "": None,
        "a b c\nd": "a b c",
    }
    assert found == [expected[text] for text in shown]
