"""Every rule: the column that it reads, its bound, and the threshold the field uses.

A rule measures nothing and decides nothing: the attribute steps measure, the recipe sets thresholds, and
``decide`` compares. A threshold of null in the recipe turns a rule off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Rule:
    """One comparison: a document fails if ``column`` is below a ``min`` bound or above a ``max`` bound."""

    key: str
    column: str
    bound: Literal["min", "max"]
    default: float
    meaning: str


@dataclass(frozen=True)
class RuleSet:
    """Rules that a recipe names together: ``curate.NAME.KEY``."""

    name: str
    source: str
    rules: tuple[Rule, ...]


# Rae et al. 2021 (arXiv 2112.11446), Table A1 and section A.1; thresholds as in datatrove.
GOPHER = RuleSet(
    "gopher",
    "Gopher quality, arXiv 2112.11446 A.1",
    (
        Rule("min_words", "words", "min", 50, "words"),
        Rule("max_words", "words", "max", 100_000, "words"),
        Rule("min_mean_word_length", "mean_word_length", "min", 3, "mean characters a word"),
        Rule("max_mean_word_length", "mean_word_length", "max", 10, "mean characters a word"),
        Rule("max_symbol_ratio", "symbol_ratio", "max", 0.1, "'#' signs, or ellipses, a word"),
        Rule("max_bullet_lines", "bullet_lines", "max", 0.9, "share of lines that start with a bullet"),
        Rule("max_ellipsis_lines", "ellipsis_lines", "max", 0.3, "share of lines that end in an ellipsis"),
        Rule("min_alpha_words", "alpha_words", "min", 0.8, "share of words with a letter"),
        Rule("min_stop_words", "stop_words", "min", 2, "different words of: the be to of and that have with"),
    ),
)

REPETITION = RuleSet(
    "repetition",
    "Gopher repetition, arXiv 2112.11446 Table A1",
    (
        Rule("max_duplicate_lines", "duplicate_lines", "max", 0.30, "share of lines that repeat an earlier one"),
        Rule("max_duplicate_paragraphs", "duplicate_paragraphs", "max", 0.30, "share of paragraphs that repeat"),
        Rule("max_duplicate_line_chars", "duplicate_line_chars", "max", 0.20, "share of characters in such lines"),
        Rule(
            "max_duplicate_paragraph_chars", "duplicate_paragraph_chars", "max", 0.20,
            "share of characters in such paragraphs",
        ),
        *(
            Rule(f"max_top_{n}_gram", f"top_{n}_gram", "max", limit, f"characters of the most frequent {n}-gram")
            for n, limit in ((2, 0.20), (3, 0.18), (4, 0.16))
        ),
        *(
            Rule(f"max_duplicate_{n}_grams", f"duplicate_{n}_grams", "max", limit, f"characters in repeated {n}-grams")
            for n, limit in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
        ),
    ),
)  # fmt: skip

# Raffel et al. 2020 (JMLR 21/140) section 2.2, with the line rules that FineWeb keeps (no terminal punctuation rule).
C4 = RuleSet(
    "c4",
    "C4, JMLR 21(140) 2.2, without the terminal-punctuation rule as in FineWeb",
    (
        Rule("min_sentences", "c4_sentences", "min", 5, "sentences in the lines that C4 keeps"),
        Rule("max_curly_brackets", "c4_curly_brackets", "max", 0, "curly opening brackets"),
        Rule("max_lorem_ipsum", "c4_lorem_ipsum", "max", 0, "times 'lorem ipsum'"),
    ),
)

# Penedo et al. 2024 (arXiv 2406.17557) section 3.6.
FINEWEB = RuleSet(
    "fineweb",
    "FineWeb, arXiv 2406.17557 3.6",
    (
        Rule("min_punctuated_lines", "punctuated_lines", "min", 0.12, "share of lines that end in punctuation"),
        Rule("max_short_lines", "short_lines", "max", 0.67, "share of lines of at most 30 characters"),
        Rule("max_line_duplicate_chars", "line_duplicate_chars", "max", 0.01, "share of characters in repeated lines"),
        Rule("max_newlines_per_word", "newlines_per_word", "max", 0.3, "line breaks a word"),
    ),
)

# Joulin et al. 2016 (arXiv 1607.01759), lid.176; threshold as in FineWeb.
LANGUAGE = RuleSet(
    "language",
    "fastText lid.176, threshold of FineWeb",
    (Rule("min_score", "language_match", "min", 0.65, "probability of the language that the source declares"),),
)

RULE_SETS = (GOPHER, REPETITION, C4, FINEWEB, LANGUAGE)


def rule_names() -> list[str]:
    """``set.key`` of every rule, in the order in which reports list them."""
    return [f"{rules.name}.{rule.key}" for rules in RULE_SETS for rule in rules.rules]
