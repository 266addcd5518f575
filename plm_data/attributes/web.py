"""C4 and FineWeb: measures of lines and sentences.

Sources: Raffel et al. 2020 (JMLR 21/140) section 2.2 and Penedo et al. 2024 (arXiv 2406.17557) section 3.6.
C4's sentences are counted in the lines that its line rules keep (``text.c4_lines``), which are also given as the
edited text.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numba import njit

from plm_data.attributes.quality import ratio
from plm_data.attributes.repetition import repeated
from plm_data.text import characters
from plm_data.text.c4_lines import edit
from plm_data.text.lines import BLANK, PUNCTUATED, Lines
from plm_data.text.words import Words

_SHORT_LINE = 30


def c4(data: np.ndarray, bounds: np.ndarray, terminal: bool = False) -> pl.DataFrame:
    """Sentences that remain after C4's line rules, curly brackets, 'lorem ipsum', and the text that remains.

    ``data, bounds`` as from ``words.utf8``; ``terminal``: lines without terminal punctuation go too, as in C4 and
    not in FineWeb. ``c4_text`` is null where the rules change nothing.
    """
    out, out_bounds, sentences, curly, lorem = edit(data, bounds, characters.classes(), terminal)
    same = _equal(data, bounds, out, out_bounds)
    texts = pa.LargeStringArray.from_buffers(len(sentences), pa.py_buffer(out_bounds), pa.py_buffer(out))
    edited = pl.Series("c4_text", texts, dtype=pl.String)
    return pl.DataFrame({"c4_sentences": sentences, "c4_curly_brackets": curly, "c4_lorem_ipsum": lorem}).with_columns(
        pl.when(pl.Series(same)).then(None).otherwise(edited).alias("c4_text")
    )


@njit(cache=True, nogil=True)
def _equal(data: np.ndarray, bounds: np.ndarray, other: np.ndarray, other_bounds: np.ndarray) -> np.ndarray:
    n = len(bounds) - 1
    out = np.zeros(n, np.bool_)
    for d in range(n):
        size = bounds[d + 1] - bounds[d]
        if other_bounds[d + 1] - other_bounds[d] == size:
            i = 0
            while i < size and data[bounds[d] + i] == other[other_bounds[d] + i]:
                i += 1
            out[d] = i == size
    return out


def fineweb(words: Words, lines: Lines) -> pl.DataFrame:
    """Shares of punctuated, short and repeated lines (white-space lines do not count), and line breaks a word."""
    filled = (lines.traits & BLANK) == 0
    _, repeated_chars, total, _ = repeated(lines.hashes, lines.chars, lines.offsets, filled)
    punctuated, short = _line_sums(lines.offsets, lines.traits, lines.chars)
    line_breaks = lines.counts() - 1
    return pl.DataFrame(
        {
            "punctuated_lines": ratio(punctuated, total),
            "short_lines": ratio(short, total),
            "line_duplicate_chars": ratio(repeated_chars, lines.text_chars - line_breaks),
            "newlines_per_word": ratio(line_breaks, words.counts()),
        }
    )


@njit(cache=True, nogil=True)
def _line_sums(offsets: np.ndarray, traits: np.ndarray, chars: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each document: its lines that end in punctuation, and its short ones; white-space lines are neither."""
    n = len(offsets) - 1
    punctuated, short = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for d in range(n):
        for line in range(offsets[d], offsets[d + 1]):
            if not traits[line] & BLANK:
                punctuated[d] += (traits[line] & PUNCTUATED) != 0
                short[d] += chars[line] <= _SHORT_LINE
    return punctuated, short
