"""Gopher repetition: how much of a text says again what it has said.

Source: Rae et al. 2021 (arXiv 2112.11446) Table A1; semantics as in datatrove's filter: the n-1 later copies
of a repeated line count (DCLM counts all n), the most frequent n-gram with one space between its words, and
repeated n-grams found from left to right without overlap. All shares are of the text's characters.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numba import njit

from plm_data.text.words import Words, hash_strings

TOP_N_GRAMS = (2, 3, 4)
DUPLICATE_N_GRAMS = (5, 6, 7, 8, 9, 10)


def repetition(texts: pl.Series, words: Words) -> pl.DataFrame:
    """One row a text; every column is a share from 0 (repeated n-grams of long words may pass 1)."""
    chars = np.maximum(texts.str.len_chars().to_numpy().astype(np.float64), 1)
    lines = repeated_pieces(texts.str.replace_all(r"\n+", "\n").str.split("\n"))
    paragraphs = repeated_pieces(texts.str.strip_chars().str.replace_all(r"\n{2,}", "\n\n").str.split("\n\n"))
    lengths = words.flat.str.len_chars().to_numpy().astype(np.int64)
    top, duplicate = _n_gram_chars(
        hash_strings(words.flat), lengths, words.offsets, np.array(TOP_N_GRAMS), np.array(DUPLICATE_N_GRAMS)
    )
    columns: dict[str, np.ndarray] = {
        "duplicate_lines": lines[0] / np.maximum(lines[2], 1),
        "duplicate_paragraphs": paragraphs[0] / np.maximum(paragraphs[2], 1),
        "duplicate_line_chars": lines[1] / chars,
        "duplicate_paragraph_chars": paragraphs[1] / chars,
    }
    columns |= {f"top_{n}_gram": top[:, i] / chars for i, n in enumerate(TOP_N_GRAMS)}
    columns |= {f"duplicate_{n}_grams": duplicate[:, i] / chars for i, n in enumerate(DUPLICATE_N_GRAMS)}
    return pl.DataFrame(columns)


def repeated_pieces(pieces: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each list of strings: how many repeat an earlier one, their characters, and how many there are."""
    n = len(pieces)
    grouped = (
        pl.DataFrame({"document": np.arange(n), "piece": pieces})
        .explode("piece")
        .drop_nulls("piece")
        .group_by("document", "piece")
        .agg(pl.len().cast(pl.Int64).alias("copies"))
        .group_by("document")
        .agg(
            repeats=(pl.col("copies") - 1).sum(),
            chars=((pl.col("copies") - 1) * pl.col("piece").str.len_chars()).sum(),
            total=pl.col("copies").sum(),
        )
    )
    out = np.zeros((3, n), dtype=np.int64)
    out[:, grouped["document"].to_numpy()] = grouped.select("repeats", "chars", "total").to_numpy().T
    return out[0], out[1], out[2]


@njit(cache=True, nogil=True)
def _n_gram_chars(
    hashes: np.ndarray, lengths: np.ndarray, offsets: np.ndarray, top_ns: np.ndarray, duplicate_ns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Characters of the most frequent and of the repeated n-grams of each document, float64.

    One open-addressing table serves all documents: a slot counts only if its stamp is the current pass's.
    """
    documents = len(offsets) - 1
    longest = 1
    for d in range(documents):
        longest = max(longest, offsets[d + 1] - offsets[d])
    size = 2
    while size < 2 * longest:
        size *= 2
    keys = np.zeros(size, dtype=np.uint64)
    counts = np.zeros(size, dtype=np.int64)
    firsts = np.zeros(size, dtype=np.int64)
    stamps = np.zeros(size, dtype=np.int64)
    stamp = 0
    top = np.zeros((documents, len(top_ns)), dtype=np.float64)
    duplicate = np.zeros((documents, len(duplicate_ns)), dtype=np.float64)
    base = np.uint64(0x9E3779B97F4A7C15)
    for d in range(documents):
        start, end = offsets[d], offsets[d + 1]
        mask = 1
        while mask < 2 * (end - start):
            mask *= 2
        slot_mask = np.uint64(mask - 1)
        for which in range(len(top_ns) + len(duplicate_ns)):
            is_top = which < len(top_ns)
            n = top_ns[which] if is_top else duplicate_ns[which - len(top_ns)]
            stamp += 1
            best_count, best_first, repeated = 0, -1, 0
            i = start
            while i + n <= end:
                key = np.uint64(n)
                for j in range(i, i + n):
                    key = (key ^ hashes[j]) * base
                    key ^= key >> np.uint64(29)
                slot = key & slot_mask
                while stamps[slot] == stamp and keys[slot] != key:
                    slot = (slot + np.uint64(1)) & slot_mask
                seen = stamps[slot] == stamp
                if not seen:
                    stamps[slot], keys[slot], counts[slot], firsts[slot] = stamp, key, 0, i
                counts[slot] += 1
                step = 1
                if is_top:
                    # Among equally frequent n-grams the one that came first counts.
                    first = firsts[slot]
                    if counts[slot] > best_count or (counts[slot] == best_count and first < best_first):
                        best_count, best_first = counts[slot], first
                elif seen:
                    for j in range(i, i + n):
                        repeated += lengths[j]
                    step = n
                i += step
            if not is_top:
                duplicate[d, which - len(top_ns)] = repeated
            elif best_count > 0:
                gram = n - 1
                for j in range(best_first, best_first + n):
                    gram += lengths[j]
                top[d, which] = gram * best_count
    return top, duplicate
