"""Gopher quality: measures of words and lines, as columns.

Sources: Rae et al. 2021 (arXiv 2112.11446) A.1; semantics as in datatrove's filter: mean word length (not
median), different stop words (not occurrences), and the bullets ``•`` and ``-``. A word is what
``text.words`` says, so symbols are never words; of ``#`` and the ellipsis the one that there is more of counts.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numba import njit

from plm_data.text.lines import BULLET, ELLIPSIS_END, Lines
from plm_data.text.words import Words, word_hash

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


def quality(words: Words, lines: Lines, stop_words: tuple[str, ...] = STOP_WORDS) -> pl.DataFrame:
    """One row a text. Ratios are 0 where their denominator is 0."""
    counts, line_counts = words.counts(), lines.counts()
    stops = np.array([word_hash(word) for word in stop_words], dtype=np.uint64)
    chars, letters, different = _word_sums(words.offsets, words.hashes, words.chars, words.letters, stops)
    bullets, ends = _line_sums(lines.offsets, lines.traits)
    return pl.DataFrame(
        {
            "chars": lines.text_chars,
            "words": counts,
            "mean_word_length": ratio(chars, counts),
            "symbol_ratio": ratio(np.maximum(lines.hash_signs, lines.ellipses), counts),
            "bullet_lines": ratio(bullets, line_counts),
            "ellipsis_lines": ratio(ends, line_counts),
            "alpha_words": ratio(letters, counts),
            "stop_words": different,
        }
    )


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """float64 quotients; 0 where the denominator is 0."""
    out = np.zeros(len(numerator), dtype=np.float64)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


@njit(cache=True, nogil=True)
def _word_sums(
    offsets: np.ndarray, hashes: np.ndarray, chars: np.ndarray, letters: np.ndarray, stops: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each document: the words' characters, the words with a letter, and how many of ``stops`` it has."""
    n = len(offsets) - 1
    total, alpha, different = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    seen = np.full(len(stops), -1, dtype=np.int64)
    for d in range(n):
        for w in range(offsets[d], offsets[d + 1]):
            total[d] += chars[w]
            alpha[d] += letters[w]
            for s in range(len(stops)):
                if hashes[w] == stops[s] and seen[s] != d:
                    seen[s] = d
                    different[d] += 1
    return total, alpha, different


@njit(cache=True, nogil=True)
def _line_sums(offsets: np.ndarray, traits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each document: its lines with a bullet, and those that end in an ellipsis."""
    n = len(offsets) - 1
    bullets, ends = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for d in range(n):
        for line in range(offsets[d], offsets[d + 1]):
            bullets[d] += (traits[line] & BULLET) != 0
            ends[d] += (traits[line] & ELLIPSIS_END) != 0
    return bullets, ends
