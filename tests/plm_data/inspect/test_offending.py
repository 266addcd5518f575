"""Of every rule: a text that breaks it gives the guilty part, and clean prose is not accused."""

from __future__ import annotations

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.attributes.heuristics import heuristics
from plm_data.attributes.language import language
from plm_data.inspect.offending import offending_part
from plm_data.rules import RULE_SETS, rule_names

RULES = {f"{rules.name}.{rule.key}": rule for rules in RULE_SETS for rule in rules.rules}

CLEAN = """\
The ferry leaves at seven, and by then most of the islanders have already been awake for hours. Nobody minds.
A crate of onions waits beside the rope, next to three bicycles that belong to a schoolteacher and her sons.
When fog comes in, everyone goes back to the café. There they drink coffee, play cards, and complain about prices.
You could have a worse morning than this! Even the gulls seem content with what the fishermen throw to them.
Would I move there again, knowing how long winters last? Probably, because silence like that is hard to find."""

WORDS = [line.strip(".,!?") for line in CLEAN.split()]
UNIQUE = " ".join(f"{word}{chr(97 + i % 26)}{chr(97 + i // 26)}" for i, word in enumerate(WORDS))


def again(phrase: str, times: int) -> str:
    """The phrase between words that come once."""
    words = UNIQUE.split()
    return " ".join(f"{words[i]} {phrase}" for i in range(times))


# Rule → a text that breaks it, and what the part must hold.
GUILTY = {
    "gopher.min_words": ("One two three.", ["3 words"]),
    "gopher.max_words": ("word " * 100_001, ["100,001 words"]),
    "gopher.min_mean_word_length": ("a bc d " * 20, ["“a” (20 x)", "“d” (20 x)", "shortest"]),
    "gopher.max_mean_word_length": (f"{'x' * 90} abc " * 9, ["x" * 30, "(9 x)", "longest"]),
    "gopher.max_symbol_ratio": (CLEAN + "\nsee ### " + "#" * 40 + " here", ["43 of them in “see ### ###"]),
    "gopher.max_bullet_lines": ("• milk and eggs\n- bread\n" * 10 + "that is all", ["20 of 21 lines", "“- bread”"]),
    "gopher.max_ellipsis_lines": (CLEAN + "\nread more...\nand more…" * 3, ["6 of 11 lines", "“read more...”"]),
    "gopher.min_alpha_words": (CLEAN + " 2024 17" * 30, ["60 of", "“2024” (30 x)", "no letter"]),
    "gopher.min_stop_words": ("Cheap flights book today, the best offers " * 9, ["of the 8 stop words it has 1: the"]),
    "repetition.max_duplicate_lines": (CLEAN + "\nBuy now.\nCall us." + "\nBuy now." * 4, ["5 times: “Buy now.”", "4 of 11 lines"]),
    "repetition.max_duplicate_paragraphs": ("Hello you.\n\n" * 4 + CLEAN, ["4 times: “Hello you.”", "3 of 5 paragraphs"]),
    "repetition.max_duplicate_line_chars": (f"a\na\na\na\n{CLEAN}\n{CLEAN}", ["2 times: “When fog comes in", "8 of 14 lines"]),
    "repetition.max_duplicate_paragraph_chars": (f"{CLEAN}\n\na\n\na\n\na\n\n{CLEAN}", ["2 times: “The ferry leaves"]),
    "repetition.max_top_2_gram": (again("click here", 20), ["20 of", "2-grams: “click here”"]),
    "repetition.max_top_3_gram": (again("please click here", 20), ["20 of", "3-grams: “please click here”"]),
    "repetition.max_top_4_gram": (again("please do click here", 20), ["20 of", "4-grams: “please do click here”"]),
    **{
        f"repetition.max_duplicate_{n}_grams": (
            again(" ".join("abcdefghij"[:n]), 20), ["19 repeated " + f"{n}-grams, the first: “" + " ".join("abcdefghij"[:n]) + "”"]
        )
        for n in range(5, 11)
    },
    "c4.min_sentences": ("One is here. Two are here too.\nOur privacy policy is long. It is. Yes.\nShort line",
                         ["2 sentences", "2 lines do not count", "privacy policy"]),
    "c4.max_curly_brackets": (CLEAN + "\nif (a) { b(); }\nc = {{}}", ["3 '{' signs, 2 of them in “c = {{}}”"]),
    "c4.max_lorem_ipsum": (CLEAN + "\nHere Lorem ipsum dolor", ["1 x “lorem ipsum”", "“Here Lorem ipsum dolor”"]),
    "fineweb.min_punctuated_lines": ("This is a line of text that has no end\n" * 5 + "A title of many words without end",
                                     ["6 of 6 lines end without punctuation", "no end"]),
    "fineweb.max_short_lines": ("Home\nAbout us\nContact us now\nLogin\n" + CLEAN.splitlines()[0], ["4 of 5 lines", "“Home”", "30 characters"]),
    "fineweb.max_line_duplicate_chars": (CLEAN + "\nShare this.\nShare this.", ["2 times: “Share this.”"]),
    "fineweb.max_newlines_per_word": ("one\ntwo\nthree four\n" * 6 + "end", ["18 line breaks, 25 words", "“one”"]),
    "language.min_score": ("Der Fährmann wartet am Ufer und raucht seine letzte Zigarette.", ["de 0.", "then "]),
}  # fmt: skip

# The same rule for its other symbol.
ELLIPSES = CLEAN + "\nand so ... on … " + "… " * 20 + "end"

# What accuses, by the rule's kind: none of it may stand in the answer for clean prose.
ACCUSING = re.compile(r"repeat|times| x “|lines|no letter|grams|signs|ellipses|do not count|without")


def value(name: str, text: str) -> float:
    series = pl.Series([text])
    if name == "language.min_score":
        return float(language(series, "en")["language_match"][0])
    return float(heuristics(series)[RULES[name].column][0])


@pytest.mark.parametrize("name", rule_names())
def test_the_guilty_part_of_a_text_that_breaks_the_rule(name: str) -> None:
    text, needles = GUILTY[name]
    rule, measured = RULES[name], value(name, text)
    assert measured < rule.default if rule.bound == "min" else measured > rule.default
    part = offending_part(name, text)
    assert part is not None and len(part) <= 200
    for needle in needles:
        assert needle in part, part


@pytest.mark.parametrize("name", rule_names())
def test_clean_prose_is_not_accused(name: str) -> None:
    rule, measured = RULES[name], value(name, CLEAN)
    assert measured >= rule.default if rule.bound == "min" else measured <= rule.default
    part = offending_part(name, CLEAN)
    if name == "fineweb.max_newlines_per_word":
        assert part is not None and part.startswith("4 line breaks, 99 words")
    elif name == "c4.min_sentences":
        assert part == "9 sentences in the lines that C4 keeps"
    elif name == "language.min_score":
        assert part is not None and part.startswith("en 0.9")
    elif part is not None:
        assert not ACCUSING.search(part), part


SHARES = {
    "gopher.max_bullet_lines": False, "gopher.max_ellipsis_lines": False, "gopher.min_alpha_words": True,
    "repetition.max_duplicate_lines": False, "repetition.max_duplicate_paragraphs": False,
    "fineweb.min_punctuated_lines": True, "fineweb.max_short_lines": False,
}  # fmt: skip


@pytest.mark.parametrize("name", SHARES)
def test_the_counts_are_those_of_the_measure(name: str) -> None:
    for text, _ in GUILTY.values():
        if part := offending_part(name, text):
            match = re.match(r"([\d,]+) of ([\d,]+)", part)
            assert match is not None
            share = int(match[1].replace(",", "")) / int(match[2].replace(",", ""))
            assert (1 - share if SHARES[name] else share) == pytest.approx(value(name, text))
        else:
            assert value(name, text) == (1 if SHARES[name] else 0)


@pytest.mark.parametrize("name, form", [("gopher.min_words", r"([\d,]+) words"), ("c4.min_sentences", r"([\d,]+) sentence"), ("gopher.min_stop_words", r"it has (\d)")])  # fmt: skip
def test_what_is_counted_is_what_is_measured(name: str, form: str) -> None:
    for text, _ in GUILTY.values():
        match = re.search(form, offending_part(name, text) or "")
        assert match is not None and int(match[1].replace(",", "")) == value(name, text)


@given(st.text(max_size=80), st.sampled_from(rule_names()))
def test_any_text_gives_a_short_part_without_controls_or_none(text: str, name: str) -> None:
    part = offending_part(name, text + "\x1b[31m red\u202e\n" + text)
    assert part is None or (len(part) <= 200 and not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", part))


def test_a_name_that_is_no_rule_of_texts_has_no_part() -> None:
    assert offending_part("dedup.near", CLEAN) is None
    assert offending_part("collect.empty-file", CLEAN) is None


def test_of_the_two_symbols_the_one_that_there_is_more_of_is_shown() -> None:
    assert value("gopher.max_symbol_ratio", ELLIPSES) > 0.1
    part = offending_part("gopher.max_symbol_ratio", ELLIPSES + "\n# one")
    assert part is not None and part.startswith("22 ellipses, 22 of them in “and so ... on")


def test_stop_words_and_terminal_punctuation_are_those_that_were_measured_with() -> None:
    text = "Der Hund und die Katze of old\nA line without its end\nA line with one."
    assert (
        offending_part("gopher.min_stop_words", text, ("und", "der", "die")) == "of the 3 stop words it has 2: und, die"
    )
    assert offending_part("c4.min_sentences", text, terminal=True) == (
        "1 sentence in the lines that C4 keeps; 2 lines do not count, such as (no terminal punctuation) "
        "“Der Hund und die Katze of old”"
    )
    assert heuristics(pl.Series([text]), terminal=True)["c4_sentences"].to_list() == [1]
