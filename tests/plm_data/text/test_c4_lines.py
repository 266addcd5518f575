"""C4's line rules, against datatrove's filter given our sentences."""

from __future__ import annotations

import itertools
from typing import Any

import polars as pl
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, c4_filters
from hypothesis import example, given, settings

from plm_data.text.c4_lines import edit
from plm_data.text.characters import classes
from plm_data.text.normalise import normalise
from plm_data.text.sentences import sentences
from plm_data.text.words import utf8
from tests.plm_data.text.alphabets import pieces_of

# Whole and broken phrases, citations, ends of lines, and the words that carry a line over its three.
PIECES = [
    "[1]", "[12]", "[１٢]", "[]", "[edit]", "[citation needed]", "[Edit]", "[", "]", "[1", "1]", "[a]", "{", "}", "lorem ipsum",
    "Lorem IPSUM", "lorem", " ipsum", "javascript", "JavaScript", "java", "script", "terms of use", "Terms Of Use",
    "terms  of use", "privacy policy", "cookie policy", "policy", "uses cookies", "use of cookies", "use cookies",
    "use", " cookies", "x" * 1000, "x" * 1001, "é" * 1000, ".", ".", "...", "..", "…", "!", "?", '"', "'", "”", "。",
    " ", " ", " ", "\n", "\n", "\n\n", "\t", "\u00a0", "a", "床", "one two three", "one two three.", "four five", "É 3.14",
]  # fmt: skip


def ours(text: str, terminal: bool) -> tuple[str, int, bool, bool]:
    """The edited text, its sentences, and whether it has curly brackets and 'lorem ipsum'."""
    data, bounds = utf8(pl.Series([text]))
    out, out_bounds, found, curly, lorem = edit(data, bounds, classes(), terminal)
    return out[out_bounds[0] : out_bounds[1]].tobytes().decode(), int(found[0]), bool(curly[0]), bool(lorem[0])


class Theirs:
    """datatrove's filter, rule by rule, counting the sentences that it counts."""

    def __init__(self, terminal: bool):
        self.terminal, self.counted = terminal, 0

    def sentences(self, line: str, language: str) -> list[str]:
        found = sentences(line)
        self.counted += len(found)
        return found

    def filter(self, text: str, **rules: Any) -> tuple[Any, str]:
        chosen = {"filter_curly_bracket": False, "filter_lorem_ipsum": False, "min_num_sentences": 0, **rules}
        document = Document(text=text, id="")
        return C4QualityFilter(filter_no_terminal_punct=self.terminal, **chosen).filter(document), document.text


@pytest.mark.parametrize("terminal", [False, True])
def test_edited_text_sentences_and_flags_are_those_of_datatrove(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    @settings(max_examples=400)
    @given(pieces_of(PIECES, 30))
    @example("one two three [1]\n[1] [2] [3]\nfour five six. [edit]")
    @example("javascript { one two\nuses cookies { one")
    def check(raw: str) -> None:
        text = normalise(pl.Series([raw]))[0]
        theirs = Theirs(terminal)
        monkeypatch.setattr(c4_filters, "split_into_sentences", theirs.sentences)
        edited, count, curly, lorem = ours(text, terminal)
        assert theirs.filter(text) == (True, edited)
        assert count == theirs.counted
        assert curly == (theirs.filter(text, filter_curly_bracket=True)[0] is not True)
        assert lorem == (theirs.filter(text, filter_lorem_ipsum=True)[0] is not True)

    check()


@pytest.mark.parametrize(
    "text, edited",
    [
        ("one two three", "one two three"),
        ("one two", ""),
        ("one two [1]", "one two"),  # the citation is a word while words are counted
        ("one two three [citation needed].", "one two three ."),
        ("one [Edit] two", "one [Edit] two"),
        ("  one two three  \nuse\nfour five six", "one two three\nfour five six"),
        ("We use cookies here.\nWe use a cookie here.", "We use a cookie here."),
        ("See our Privacy Policy now.\nSee our policy now.", "See our policy now."),
        ("Enable JAVASCRIPT now please.\nEnable java script now.", "Enable java script now."),
        ("one two " + "x" * 1001, ""),
        ("one two " + "é" * 1000, "one two " + "é" * 1000),
    ],
)
def test_lines_that_go_and_the_nearest_that_stay(text: str, edited: str) -> None:
    assert ours(text, terminal=False)[0] == edited


@pytest.mark.parametrize("end, stays", [(".", True), ("!", True), ("?", True), ('"', True), ("'", True), ("...", False),
                                        ("..", True), ("…", False), (",", False), ("", False), (".]", False), ("。", False)])  # fmt: skip
def test_terminal_punctuation(end: str, stays: bool) -> None:
    line = f"one two three{end}"
    assert ours(line, terminal=True)[0] == (line if stays else "")
    assert ours(line, terminal=False)[0] == line


def test_javascript_hides_a_lines_curly_bracket_but_a_policy_phrase_does_not() -> None:
    assert ours("one javascript two {", False)[2] is False
    assert ours("one uses cookies two {", False)[2] is True
    assert ours("one javascript lorem ipsum", False)[3] is True
    assert ours("lorem ipsum", False)[3] is False  # a line of two words is gone before


def test_citations_in_other_digits() -> None:
    assert ours("one two three [١٢] four", False)[0] == "one two three  four"


def test_texts_of_a_batch_do_not_run_into_each_other() -> None:
    texts = ["one two three", "", "four", "five six seven\nx", "eight nine ten"]
    data, bounds = utf8(pl.Series(["before", *texts])[1:])
    out, out_bounds, *_ = edit(data, bounds, classes(), False)
    found = [out[a:b].tobytes().decode() for a, b in itertools.pairwise(out_bounds)]
    assert found == ["one two three", "", "", "five six seven", "eight nine ten"]
