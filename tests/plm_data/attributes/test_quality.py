"""Gopher's quality measures: against datatrove's filter given the same words, against Python, and case by case."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from datatrove.pipeline.filters import GopherQualityFilter
from datatrove.pipeline.filters import gopher_quality_filter as module
from hypothesis import given, settings

from plm_data.attributes.heuristics import heuristics
from plm_data.attributes.quality import STOP_WORDS
from plm_data.text.words import segment
from tests.plm_data.attributes.measured import keeps, measure, words_of
from tests.plm_data.text.alphabets import pieces_of

PROSE = (
    "The quick brown fox jumps over the lazy dog that we have seen. It was a day to remember, with much to be said.\n"
    "Nobody knew where the fox had come from, and of course nobody asked.\n"
)

OFF: dict[str, Any] = dict.fromkeys(
    ["min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio",
     "max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio", "min_stop_words"]
)  # fmt: skip
# datatrove's option, our measure, and the direction in which the option must move to drop the document.
OPTIONS = [
    ("min_doc_words", "words", 1), ("max_doc_words", "words", -1), ("min_avg_word_length", "mean_word_length", 1),
    ("max_avg_word_length", "mean_word_length", -1), ("max_symbol_word_ratio", "symbol_ratio", -1),
    ("max_bullet_lines_ratio", "bullet_lines", -1), ("max_ellipsis_lines_ratio", "ellipsis_lines", -1),
    ("max_non_alpha_words_ratio", "alpha_words", 1), ("min_stop_words", "stop_words", 1),
]  # fmt: skip


@pytest.mark.parametrize("option, column, direction", OPTIONS, ids=[option for option, *_ in OPTIONS])
def test_datatroves_verdict_turns_exactly_at_our_measure(
    texts: pl.Series, monkeypatch: pytest.MonkeyPatch, option: str, column: str, direction: int
) -> None:
    """Each of its thresholds alone, placed at our measure of a text, keeps it; just beyond, drops it."""
    some = pl.concat([texts[::4], texts[-11:]])
    words = words_of(some)
    monkeypatch.setattr(module, "split_into_words", lambda text, _: words[text])
    step = 1 if column in ("words", "stop_words") else 1e-9
    checked = 0
    for text, value in zip(some, heuristics(some)[column], strict=True):
        # An option of 0 is off, and a text without words is not asked about.
        if value <= 0 or not words[text]:
            continue
        # Quotients may differ from Python's in their last bit.
        at = value if step == 1 else value - direction * step
        assert keeps(GopherQualityFilter(**OFF | {option: at}), text), (value, text[:80])
        if value + direction * step > 0:
            assert not keeps(GopherQualityFilter(**OFF | {option: value + direction * step}), text), (value, text[:80])
        checked += 1
    assert checked > (3 if column in ("symbol_ratio", "bullet_lines", "ellipsis_lines") else 100)


@settings(max_examples=200)
@given(
    pieces_of(["the", "The", "be", "to", " ", " ", "#", "...", "..", "…", "\n", "\n- ", "\n• ", "é1", "2", "床", "_"])
)
def test_measures_are_those_of_plain_python(text: str) -> None:
    found, words = measure(text), segment(pl.Series([text])).of(0)
    lines = text.split("\n")
    n = max(len(words), 1)
    expected = {
        "chars": len(text),
        "words": len(words),
        "mean_word_length": np.mean([len(word) for word in words]) if words else 0,
        "symbol_ratio": max(text.count("#"), text.count("...") + text.count("…")) / n if words else 0,
        "bullet_lines": sum(line.lstrip().startswith(("•", "-")) for line in lines) / len(lines),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines) / len(lines),
        "alpha_words": sum(any(c.isalpha() for c in word) for word in words) / n,
        "stop_words": len(set(words) & set(STOP_WORDS)),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_symbols_and_bullets() -> None:
    found = measure("# one two three four\n- five six...\n• seven eight …\n  - nine ten")
    assert found["words"] == 10
    assert found["symbol_ratio"] == pytest.approx(0.2)  # two ellipses outweigh one hash sign
    assert measure("## one two")["symbol_ratio"] == 1
    assert found["bullet_lines"] == pytest.approx(0.75)
    assert found["ellipsis_lines"] == pytest.approx(0.5)


def test_stop_words_are_counted_once_each_and_in_lower_case() -> None:
    assert measure(PROSE)["stop_words"] == 8
    assert measure("the the the The")["stop_words"] == 1
    assert measure("The TO Of")["stop_words"] == 0


def test_stop_words_of_another_language_may_have_other_scripts() -> None:
    assert measure("der die das und", stop_words=("der", "und", "nicht"))["stop_words"] == 2
    assert measure("我的书", stop_words=("的", "是"))["stop_words"] == 1
    with pytest.raises(ValueError, match="'的 是' is not one word"):
        measure("我的书", stop_words=("的 是",))


def test_the_mean_counts_characters_and_not_bytes() -> None:
    assert measure("éé ßß 𝒳𝒳")["mean_word_length"] == 2
