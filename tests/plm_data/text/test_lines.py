"""The lines of texts, against plain Python."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.text.characters import LIMIT, SENTENCE_END, classes
from plm_data.text.lines import BLANK, BULLET, ELLIPSIS_END, PUNCTUATED, Lines, split_lines
from plm_data.text.words import utf8
from tests.plm_data.text.alphabets import unicode_text

TEXTS = st.lists(unicode_text("\n\n\n...…#•- \t\u00a0\u3000ab。!?床", 40), max_size=5)


def lines_of(texts: list[str]) -> Lines:
    return split_lines(*utf8(pl.Series(texts, dtype=pl.String)))


def traits(line: str) -> int:
    shown = line.strip()
    ends = line != "" and ord(line[-1]) < LIMIT and classes()[ord(line[-1])] & SENTENCE_END
    return (
        BLANK * (not shown)
        | BULLET * shown.startswith(("•", "-"))
        | ELLIPSIS_END * shown.endswith(("...", "…"))
        | PUNCTUATED * bool(ends)
    )


@given(TEXTS)
def test_lines_and_what_is_said_of_them(texts: list[str]) -> None:
    found = lines_of(texts)
    data, _ = utf8(pl.Series(texts, dtype=pl.String))
    expected = [line for text in texts for line in text.split("\n")]
    shown = [data[a:b].tobytes().decode() for a, b in zip(found.start, found.stop, strict=True)]
    assert shown == expected
    assert found.counts().tolist() == [text.count("\n") + 1 for text in texts]
    assert found.chars.tolist() == [len(line) for line in expected]
    assert found.traits.tolist() == [traits(line) for line in expected]
    pairs = set(zip(expected, found.hashes.tolist(), strict=True))
    assert len(pairs) == len(set(expected)) == len(set(found.hashes.tolist()))


@given(TEXTS)
def test_characters_hash_signs_and_ellipses_of_a_text(texts: list[str]) -> None:
    found = lines_of(texts)
    assert found.text_chars.tolist() == [len(text) for text in texts]
    assert found.hash_signs.tolist() == [text.count("#") for text in texts]
    assert found.ellipses.tolist() == [text.count("...") + text.count("…") for text in texts]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("...", ELLIPSIS_END | PUNCTUATED),
        ("..", PUNCTUATED),
        ("wait.... ", ELLIPSIS_END),
        (". . .", PUNCTUATED),
        ("\u3000• a", BULLET),
        ("a - b", 0),
        ("\u00a0", BLANK),
        ("", BLANK),
        ("a…", ELLIPSIS_END),
        ("a。", PUNCTUATED),
        ('He said "no."', 0),
    ],
)
def test_traits_case_by_case(line: str, expected: int) -> None:
    assert lines_of([line]).traits.tolist() == [expected]


@pytest.mark.parametrize(
    "text, ellipses", [("..", 0), ("...", 1), (".....", 1), ("......", 2), (". ..", 0), ("..\n.", 0), ("……", 2)]
)
def test_ellipses_do_not_overlap(text: str, ellipses: int) -> None:
    assert lines_of([text]).ellipses.tolist() == [text.count("...") + text.count("…")] == [ellipses]


def test_no_texts_have_no_lines() -> None:
    assert lines_of([]).offsets.tolist() == [0]
