"""The metric of the web benchmark, by hand."""

from __future__ import annotations

import pytest

from benchmarks.web import scores


def test_four_grams_count_as_often_as_they_stand() -> None:
    # Wanted: abcd, bcde. Given: abcd, bcdx.
    assert scores({"a": "a b c d e"}, {"a": "a, b; c (d) x"}) == (0.5, 0.5, 0.5)
    # Wanted: xxxx once. Given: three times.
    assert scores({"a": "x x x x"}, {"a": "x x x x x x"}) == (1 / 3, 1.0, 0.5)


def test_each_page_counts_the_same_and_f1_is_of_the_averages() -> None:
    truth = {"long": " ".join(map(str, range(103))), "short": "a b c d"}
    precision, recall, f1 = scores(truth, {"long": truth["long"], "short": "other words altogether here"})
    assert (precision, recall) == (0.5, 0.5)
    precision, recall, f1 = scores(truth, {"long": truth["long"]})
    assert (precision, recall) == (1.0, 0.5) and f1 == pytest.approx(2 / 3)


def test_short_texts_are_one_gram_and_punctuation_is_none() -> None:
    assert scores({"a": "two words!", "b": "—"}, {"a": "(two) words", "b": ""}) == (1.0, 1.0, 1.0)
    assert scores({"a": "two words", "b": "same"}, {"a": "two", "b": "same"}) == (0.5, 0.5, 0.5)
