"""Gopher quality: measures of words and lines, as columns.

Sources: Rae et al. 2021 (arXiv 2112.11446) A.1; semantics as in datatrove's filter: mean word length (not
median), different stop words (not occurrences), and the bullets ``•`` and ``-``. A word is what
``text.words`` says, so symbols are never words.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from plm_data.text.words import Words

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


def quality(texts: pl.Series, words: Words) -> pl.DataFrame:
    """One row a text. Ratios are 0 where their denominator is 0."""
    counts = words.counts()
    lengths = words.flat.str.len_chars().to_numpy()
    alpha = words.flat.str.contains(r"\p{Alphabetic}").to_numpy()
    frame = pl.DataFrame({"text": texts})
    lines = pl.col("text").str.split("\n").list
    symbols = frame.select(
        hashes=pl.col("text").str.count_matches("#", literal=True),
        ellipses=pl.col("text").str.count_matches(r"\.\.\.|…"),
        lines=lines.len(),
        bullets=lines.eval(pl.element().str.contains(r"^\s*[•\-]")).list.sum(),
        ellipsis_ends=lines.eval(pl.element().str.contains(r"(\.\.\.|…)\s*$")).list.sum(),
    )
    return pl.DataFrame(
        {
            "chars": texts.str.len_chars().cast(pl.Int64),
            "words": counts,
            "mean_word_length": _ratio(words.sums(lengths), counts),
            "hash_ratio": _ratio(symbols["hashes"].to_numpy(), counts),
            "ellipsis_ratio": _ratio(symbols["ellipses"].to_numpy(), counts),
            "bullet_lines": _ratio(symbols["bullets"].to_numpy(), symbols["lines"].to_numpy()),
            "ellipsis_lines": _ratio(symbols["ellipsis_ends"].to_numpy(), symbols["lines"].to_numpy()),
            "alpha_words": _ratio(words.sums(alpha), counts),
            "stop_words": _different_stop_words(words),
        }
    )


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    out = np.zeros(len(numerator), dtype=np.float64)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def _different_stop_words(words: Words) -> np.ndarray:
    total = np.zeros(words.documents, dtype=np.int64)
    for stop_word in STOP_WORDS:
        total += words.sums((words.flat == stop_word).to_numpy()) > 0
    return total
