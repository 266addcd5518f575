"""The normal form: idempotent, one kind of line break, nothing of code lost."""

from __future__ import annotations

import polars as pl
import pytest
import xxhash
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plm_data.text.normalise import _normal_form, content_hash, normalise

# Any character at all, thick with line breaks, white space, controls and marks that compose.
ANY = st.one_of(st.sampled_from("\n\n\n\r\t  \v\f\x00\x1c\x7f\x85\u2028\ufeff\u00a0\u3000e\u0301ab"), st.characters())
TEXTS = st.lists(
    st.text(alphabet=ANY, max_size=40).filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t)), max_size=6
)
PLAIN = st.lists(st.text(alphabet=st.sampled_from("\n\n\n\n\t  ab~\x00\x1f\x7f\r"), max_size=15), max_size=6)


def norm(text: str) -> str:
    return normalise(pl.Series([text]))[0]


def slow(texts: list[str]) -> list[str]:
    """Every text through every rule, none passed over for being plain."""
    return (
        pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).select(_normal_form(pl.col("text")))["text"].to_list()
    )


@settings(max_examples=300)
@given(st.one_of(TEXTS, PLAIN))
@example(["a\n\n\n", "a\n\n\nb", "a\n\n\n\nb", " a", "a ", "a\t", "\ta", "a\t\nb", "", "\n", " "])
def test_texts_that_are_passed_over_as_plain_are_those_that_no_rule_changes(texts: list[str]) -> None:
    series = pl.Series("t", texts, dtype=pl.String)
    found = normalise(series)
    assert found.to_list() == slow(texts)
    assert found.name == "t" and series.to_list() == texts


@settings(max_examples=300)
@given(TEXTS)
def test_normalising_twice_is_normalising_once(texts: list[str]) -> None:
    once = normalise(pl.Series(texts, dtype=pl.String))
    assert normalise(once).to_list() == once.to_list()
    for text in once:
        assert not set(text) & set("\r\v\f\x00\x1c\x85\u2028\u2029\ufeff")
        assert "\n\n\n\n" not in text and text == text.strip("\n")
        assert all(line == line.rstrip() for line in text.split("\n"))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("e\u0301", "\u00e9"),
        ("a  \n\tb\t\n", "a\n\tb"),
        ("\n\n    indented\n", "    indented"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("a\n \n\t\n \nb", "a\n\n\nb"),
        ("a\n\n\nb", "a\n\n\nb"),
        ("\ufeffa\x00b", "ab"),
        ("a\u3000\n\u3000b", "a\n\u3000b"),
        ("~ if x:\n\treturn  y", "~ if x:\n\treturn  y"),
    ],
)
def test_what_changes_and_what_stays(text: str, expected: str) -> None:
    assert norm(text) == expected


@given(st.lists(st.text(alphabet="ab é床", max_size=5), max_size=6), st.integers(0, 3))
def test_the_content_hash_is_of_the_text_alone(texts: list[str], start: int) -> None:
    found = content_hash(pl.Series(texts, dtype=pl.String)[start:])
    assert found.to_list() == [xxhash.xxh3_128_hexdigest(text.encode()) for text in texts[start:]]
