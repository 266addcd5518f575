"""Sentences: the scanner counts what the definition finds."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import example, given

from plm_data.text.characters import classes
from plm_data.text.sentences import count_sentences, sentences
from plm_data.text.words import utf8
from tests.plm_data.text.alphabets import unicode_text


def count(line: str) -> int:
    data, bounds = utf8(pl.Series([line]))
    return count_sentences(data, bounds[0], bounds[1], classes())


@given(unicode_text("..!?。！？\"')]”’» \t\u00a0\u3000a1_床㌔"))
@example("㌔。")
def test_sentences_are_counted_as_they_are_found(line: str) -> None:
    assert count(line) == len(sentences(line))


@pytest.mark.parametrize(
    "line, expected",
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It is 3.14 of plm.text, e.g.so", ["It is 3.14 of plm.text, e.g.so"]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("(Yes.) [No.] So", ["(Yes.)", "[No.]", "So"]),
        ("Wait... what?!", ["Wait...", "what?!"]),
        ("床前明月光。疑是地上霜。", ["床前明月光。", "疑是地上霜。"]),
        ("好！走？停。no", ["好！", "走？", "停。", "no"]),
        ("... . ! _", []),
        ("", []),
    ],
)
def test_where_sentences_end(line: str, expected: list[str]) -> None:
    assert sentences(line) == expected
    assert count(line) == len(expected)
