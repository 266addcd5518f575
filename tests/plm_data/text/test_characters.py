"""The classes of characters, against Python's own knowledge of them."""

from __future__ import annotations

import unicodedata

import numpy as np
import polars as pl
import pytest
import regex
from datatrove.utils.text import TERMINAL_PUNCTUATION

from plm_data.text import characters
from plm_data.text.characters import (
    DIGIT,
    LETTER,
    LIMIT,
    SENTENCE_END,
    SPACE,
    UNSPACED,
    WORD,
    classes,
    folded,
    made_classes,
)

ASSIGNED = [chr(c) for c in range(LIMIT) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
UNSPACED_SCRIPT = regex.compile(rf"[{characters.UNSPACED_SCRIPTS}]")
WORD_CHARACTER = regex.compile(r"[^\W_]")

CLASSES = {
    "letters": (LETTER, str.isalpha),
    "digits": (DIGIT, str.isdecimal),
    "white space": (SPACE, str.isspace),
    "words by themselves": (UNSPACED, lambda c: bool(UNSPACED_SCRIPT.match(c))),
    "word characters": (WORD, lambda c: bool(WORD_CHARACTER.match(c)) and not UNSPACED_SCRIPT.match(c)),
}


@pytest.mark.parametrize("flag, holds", CLASSES.values(), ids=CLASSES.keys())
def test_every_assigned_character_is_of_the_classes_that_python_says(flag: int, holds) -> None:  # type: ignore[no-untyped-def]
    table = classes()
    assert [c for c in ASSIGNED if bool(table[ord(c)] & flag) != holds(c)] == []


def test_the_table_that_is_kept_is_the_one_that_the_patterns_make() -> None:
    assert np.array_equal(classes(), made_classes())


def test_sentences_end_where_datatrove_says_and_at_what_unicode_has_added_since() -> None:
    ends = {c for c in map(chr, range(LIMIT)) if classes()[ord(c)] & SENTENCE_END}
    assert ends >= TERMINAL_PUNCTUATION
    assert (ends - TERMINAL_PUNCTUATION) & set(ASSIGNED) == set("\u2024\u2cf9\u2cfa\u2cfb\ufe12\ufe15\ufe16")


def test_surrogates_are_of_no_class() -> None:
    assert not classes()[0xD800:0xE000].any()


def test_beyond_the_table_are_only_variation_selectors() -> None:
    beyond = pl.Series([chr(c) for c in range(LIMIT, 0x110000)])
    for pattern in characters._PATTERNS.values():
        found = beyond.filter(beyond.str.contains(pattern))
        assert all("VARIATION SELECTOR" in unicodedata.name(c) for c in found), pattern


def test_folding_is_lower_case_without_marks() -> None:
    """Of the characters that normal form leaves as they are."""

    def fold(character: str) -> int:
        if unicodedata.category(character) == "Mn":
            return 0
        parts = unicodedata.normalize("NFD", character.lower())
        base = [part for part in parts if unicodedata.category(part) != "Mn"]
        return ord(base[0]) if len(base) == 1 else ord(character)

    table = folded()
    assert [c for c in ASSIGNED if unicodedata.is_normalized("NFC", c) and table[ord(c)] != fold(c)] == []


@pytest.mark.parametrize(
    "character, base", [("É", "e"), ("ß", "ß"), ("가", "가"), ("Ж", "ж"), ("床", "床"), ("a", "a")]
)
def test_what_folds_and_what_stays(character: str, base: str) -> None:
    assert folded()[ord(character)] == ord(base)


def test_a_mark_folds_to_nothing_and_folding_twice_is_folding_once() -> None:
    table = folded()
    assert table[0x301] == 0
    assert np.array_equal(table[table], table)
