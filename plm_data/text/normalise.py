"""The one normal form of every document's text.

Unicode NFC, ``\\n`` as the only line break, no control characters, no white space at line ends, at most two
empty lines in a row, no white space around the document except its indentation. Nothing that carries meaning
in code (indentation, case, punctuation) is touched.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import xxhash
from numba import njit

from plm_data.text.words import utf8

# Line breaks of Unicode beside \n, so that "line" means one thing in every rule.
_LINE_BREAKS = r"\r\n|[\r\v\f\x{85}\x{2028}\x{2029}]"
# Controls other than tab and line feed, the byte-order mark, and code points that are not characters.
_CONTROLS = r"[\x{00}-\x{08}\x{0e}-\x{1f}\x{7f}-\x{84}\x{86}-\x{9f}\x{feff}\x{fffe}\x{ffff}]"


def normalise(texts: pl.Series) -> pl.Series:
    """The normal form of texts. Idempotent: a second pass changes nothing."""
    data, bounds = utf8(texts)
    work = pl.Series(_may_change(data, bounds), dtype=pl.Boolean)
    if not work.any():
        return texts
    frame = pl.DataFrame({"text": texts, "work": work})
    changed = frame.filter("work").select(_normal_form(pl.col("text")))["text"]
    if len(changed) == len(texts):
        return changed.alias(texts.name)
    return texts.clone().scatter(np.flatnonzero(work.to_numpy()), changed)


def _normal_form(text: pl.Expr) -> pl.Expr:
    return (
        text.str.replace_all(_LINE_BREAKS, "\n")
        .str.replace_all(_CONTROLS, "")
        .str.normalize("NFC")
        .str.replace_all(r"[^\S\n]+(\n|\z)", "${1}")
        .str.replace_all(r"\n{4,}", "\n\n\n")
        .str.strip_chars("\n")
    )


@njit(cache=True, nogil=True)
def _may_change(data: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """False where a text is in normal form for sure: plain ASCII that none of the rules touches."""
    out = np.zeros(len(bounds) - 1, np.bool_)
    for d in range(len(bounds) - 1):
        start, end = bounds[d], bounds[d + 1]
        if start == end:
            continue
        breaks, changes = 0, data[start] == 0x0A
        last = data[end - 1]
        changes |= last == 0x0A or last == 0x20 or last == 0x09
        before = np.uint8(0)
        for i in range(start, end):
            c = data[i]
            if c == 0x0A:
                breaks += 1
                changes |= before == 0x20 or before == 0x09 or breaks >= 4
            else:
                breaks = 0
                changes |= (c < 0x20 and c != 0x09) or c >= 0x7F
            before = c
            if changes:
                break
        out[d] = changes
    return out


def content_hash(texts: pl.Series) -> pl.Series:
    """xxh3-128 of each normalised text as 32 hex digits: the identity for exact duplicates and for sampling."""
    return hashes_of(*utf8(texts))


def hashes_of(data: np.ndarray, bounds: np.ndarray) -> pl.Series:
    """``content_hash`` of texts as bytes, ``data, bounds`` as from ``words.utf8``."""
    hashes = [xxhash.xxh3_128_hexdigest(data[a:b].tobytes()) for a, b in pairwise(bounds.tolist())]
    return pl.Series("content_hash", hashes, dtype=pl.String)
