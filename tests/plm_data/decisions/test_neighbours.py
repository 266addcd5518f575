"""Every rule, on texts: one just over its threshold is dropped for it, its nearest neighbour is not."""

from __future__ import annotations

import polars as pl
import pytest

from plm_data.attributes.heuristics import heuristics
from plm_data.attributes.language import language
from plm_data.decisions.ledger import fired
from plm_data.rules import RULE_SETS, rule_names

DEFAULTS = {f"{rules.name}.{rule.key}": rule.default for rules in RULE_SETS for rule in rules.rules}
COLUMNS = {f"{rules.name}.{rule.key}": rule.column for rules in RULE_SETS for rule in rules.rules}


def word(number: int, length: int = 5) -> str:
    """A word of letters that no other number gives."""
    letters = "".join("bcdfghjklmnpqrstvwxz"[number // 20**i % 20] for i in range(4))
    return (letters + "a" * length)[:length]


def words(count: int, start: int = 0, length: int = 5) -> str:
    return " ".join(word(start + i, length) for i in range(count))


def lines(count: int, width: int = 8, start: int = 0, end: str = "") -> list[str]:
    return [words(width, start + i * width) + end for i in range(count)]


def gram_text(n: int, copies: int, others: int) -> str:
    """``copies`` of one n-gram, each between words that come once; every word has five letters."""
    gram = words(n)
    spacing = [gram + " " + word(1000 + i) for i in range(copies)]
    return " ".join([*spacing, words(others, 5000)])


PROSE = "The weather is fine today and we are going to walk along the river with our friends. "
GERMAN = "Das Wetter ist heute schön und wir gehen mit unseren Freunden am Fluss entlang spazieren. "

# Rule → the text just within and the one just beyond, with their values as counted by hand.
CASES: dict[str, tuple[str, float, str, float]] = {
    "gopher.min_words": (words(50), 50, words(49), 49),
    "gopher.max_words": (words(100_000), 100_000, words(100_001), 100_001),
    "gopher.min_mean_word_length": (words(50) + " a" * 50, 3.0, words(50) + " a" * 51, (250 + 51) / 101),
    "gopher.max_mean_word_length": (words(50, 0, 10), 10.0, words(49, 0, 10) + " " + word(99, 11), 501 / 50),
    "gopher.max_symbol_ratio": (words(100) + " #" * 10, 0.10, words(100) + " #" * 11, 0.11),
    "gopher.max_bullet_lines": (
        "\n".join(("- " if i < 18 else "") + line for i, line in enumerate(lines(20))), 0.90,
        "\n".join(("- " if i < 19 else "") + line for i, line in enumerate(lines(20))), 0.95,
    ),
    "gopher.max_ellipsis_lines": (
        "\n".join(line + ("..." if i < 6 else ".") for i, line in enumerate(lines(20))), 0.30,
        "\n".join(line + ("…" if i < 7 else ".") for i, line in enumerate(lines(20))), 0.35,
    ),
    "gopher.min_alpha_words": (words(80) + " 7" * 20, 0.80, words(79) + " 7" * 21, 0.79),
    "gopher.min_stop_words": (words(60) + " the of", 2, words(60) + " the the of"[:8], 1),
    "repetition.max_duplicate_lines": (
        "\n".join([*lines(7), *["x y"] * 4]), 3 / 11, "\n".join([*lines(7), *["x y"] * 5]), 4 / 12,
    ),
    "repetition.max_duplicate_paragraphs": (
        "\n\n".join([*lines(7), *["x y"] * 4]), 3 / 11, "\n\n".join([*lines(7), *["x y"] * 5]), 4 / 12,
    ),
    # A line of 47 characters (8 words) again; 9 lines with their breaks are 431 characters, 10 are 479.
    "repetition.max_duplicate_line_chars": (
        "\n".join([*lines(8), *lines(1), *lines(1)]), 94 / 479, "\n".join([*lines(7), *lines(1), *lines(1)]), 94 / 431,
    ),
    "repetition.max_duplicate_paragraph_chars": (
        "\n\n".join([*lines(8), *lines(1), *lines(1)]), 94 / 488, "\n\n".join([*lines(7), *lines(1), *lines(1)]), 94 / 439,
    ),
    **{
        # A copy is n words of 5 letters and n - 1 spaces; a text of w words has 6w - 1 characters.
        f"repetition.max_top_{n}_gram": (
            gram_text(n, 4, over + 1), 4 * (6 * n - 1) / (6 * (4 * (n + 1) + over + 1) - 1),
            gram_text(n, 4, over), 4 * (6 * n - 1) / (6 * (4 * (n + 1) + over) - 1),
        )
        for n, over in ((2, 24), (3, 47), (4, 75))
    },
    **{
        # Of four copies three are repeats, and their letters alone count.
        f"repetition.max_duplicate_{n}_grams": (
            gram_text(n, 4, over + 1), 15 * n / (6 * (4 * (n + 1) + over + 1) - 1),
            gram_text(n, 4, over), 15 * n / (6 * (4 * (n + 1) + over) - 1),
        )
        for n, over in ((5, 59), (6, 79), (7, 102), (8, 130), (9, 164), (10, 206))
    },
    "c4.min_sentences": ("\n".join(lines(5, end=".")), 5, "\n".join(lines(4, end=".")), 4),
    "c4.max_curly_brackets": (words(60) + " (", 0, words(60) + " {", 1),
    "c4.max_lorem_ipsum": (words(60) + " lorem. ipsum", 0, words(60) + " Lorem ipsum", 1),
    "fineweb.min_punctuated_lines": (
        "\n".join(line + ("." if i < 3 else "") for i, line in enumerate(lines(25))), 0.12,
        "\n".join(line + ("." if i < 3 else "") for i, line in enumerate(lines(26))), 3 / 26,
    ),
    # 31 characters are no short line, 30 are.
    "fineweb.max_short_lines": (
        "\n".join([*(f"{word(i)}{'a' * 25}" for i in range(67)), *lines(33, start=500)]), 0.67,
        "\n".join([*(f"{word(i)}{'a' * 25}" for i in range(68)), *lines(32, start=500)]), 0.68,
    ),
    # Line breaks are no characters here: five letters again among 500 and among 499.
    "fineweb.max_line_duplicate_chars": (
        "\n".join([word(1), "z" * 490, word(1)]), 0.01, "\n".join([word(1), "z" * 489, word(1)]), 5 / 499,
    ),
    "fineweb.max_newlines_per_word": (
        "\n".join([words(7), *(word(50 + i) for i in range(3))]), 0.3, "\n".join([words(6), *(word(50 + i) for i in range(3))]), 1 / 3,
    ),
}  # fmt: skip


def verdict(text: str, rule: str) -> tuple[float, bool]:
    """The value that a rule looks at, and whether it fires at its default threshold."""
    texts = pl.Series([text])
    frame = pl.concat([heuristics(texts), language(texts, "en")], how="horizontal").with_columns(
        id=pl.lit("d"), source=pl.lit("s")
    )
    rows = fired(frame, {rule: DEFAULTS[rule]})
    value = float(frame[COLUMNS[rule]][0])
    if rows.height:
        assert rows.row(0, named=True)["rule"] == rule and rows["value"][0] == value
    return value, rows.height == 1


def test_every_rule_has_its_case() -> None:
    assert {*CASES, "language.min_score"} == set(rule_names())


@pytest.mark.parametrize("rule", CASES)
def test_just_within_is_kept_and_just_beyond_is_dropped(rule: str) -> None:
    within, value_within, beyond, value_beyond = CASES[rule]
    assert verdict(within, rule) == (pytest.approx(value_within, abs=1e-12), False)
    assert verdict(beyond, rule) == (pytest.approx(value_beyond, abs=1e-12), True)


def test_a_text_turns_into_another_language_sentence_by_sentence() -> None:
    def text(german: int) -> str:
        return PROSE * 6 + GERMAN * german

    scores = [verdict(text(german), "language.min_score") for german in range(12)]
    over = next(i for i, (_, dropped) in enumerate(scores) if dropped)
    assert 0 < over < 10
    assert scores[over - 1][0] >= 0.65 > scores[over][0]
    assert scores[0][0] > 0.9 and scores[-1][0] < 0.3
