"""Gopher repetition: how much of a text says again what it has said.

Source: Rae et al. 2021 (arXiv 2112.11446) Table A1; semantics as in datatrove's filter: the n-1 later copies
of a repeated line count (DCLM counts all n), the most frequent n-gram with one space between its words, and
repeated n-grams found from left to right without overlap. All shares are of the text's characters.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numba import njit

from plm_data.attributes.quality import ratio
from plm_data.text import characters
from plm_data.text.characters import LIMIT, SPACE
from plm_data.text.lines import BLANK, Lines
from plm_data.text.words import OFFSET_BASIS, PRIME, Words, decode, finish

TOP_N_GRAMS = (2, 3, 4)
DUPLICATE_N_GRAMS = (5, 6, 7, 8, 9, 10)


def repetition(words: Words, lines: Lines) -> pl.DataFrame:
    """One row a text in normal form; every column is a share from 0 (repeated n-grams of long words may pass 1)."""
    filled = (lines.traits & BLANK) == 0
    line_repeats, line_chars, line_total, _ = repeated(lines.hashes, lines.chars, lines.offsets, filled)
    hashes, chars, offsets = _paragraphs(
        words.data, lines.start, lines.stop, lines.chars, lines.traits, lines.offsets, characters.classes()
    )
    paragraph_repeats, paragraph_chars, paragraph_total, _ = repeated(
        hashes, chars, offsets, np.ones(len(hashes), np.bool_)
    )
    text_chars = np.maximum(lines.text_chars, 1)
    top, duplicate = _n_gram_chars(
        words.hashes, words.chars, words.offsets, TOP_N_GRAMS[0], len(TOP_N_GRAMS), len(DUPLICATE_N_GRAMS)
    )
    columns: dict[str, np.ndarray] = {
        "duplicate_lines": ratio(line_repeats, line_total),
        "duplicate_paragraphs": ratio(paragraph_repeats, paragraph_total),
        "duplicate_line_chars": line_chars / text_chars,
        "duplicate_paragraph_chars": paragraph_chars / text_chars,
    }
    columns |= {f"top_{size}_gram": top[:, i] / text_chars for i, size in enumerate(TOP_N_GRAMS)}
    columns |= {f"duplicate_{size}_grams": duplicate[:, i] / text_chars for i, size in enumerate(DUPLICATE_N_GRAMS)}
    return pl.DataFrame(columns)


@njit(cache=True, nogil=True)
def _table_size(longest: int) -> int:
    size = 2
    while size < 2 * longest:
        size *= 2
    return size


@njit(cache=True, nogil=True)
def repeated(
    hashes: np.ndarray, chars: np.ndarray, offsets: np.ndarray, counted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of each document's ``counted`` pieces: how many repeat an earlier one, their characters, how many there are,
    and the characters of all of them."""
    n = len(offsets) - 1
    repeats, repeated_chars = np.zeros(n, np.int64), np.zeros(n, np.int64)
    total, total_chars = np.zeros(n, np.int64), np.zeros(n, np.int64)
    longest = 1
    for d in range(n):
        longest = max(longest, offsets[d + 1] - offsets[d])
    size = _table_size(longest)
    keys, owner = np.zeros(size, np.uint64), np.full(size, -1, np.int64)
    for d in range(n):
        mask = np.uint64(_table_size(offsets[d + 1] - offsets[d]) - 1)
        for i in range(offsets[d], offsets[d + 1]):
            if not counted[i]:
                continue
            total[d] += 1
            total_chars[d] += chars[i]
            slot = hashes[i] & mask
            while owner[slot] == d and keys[slot] != hashes[i]:
                slot = (slot + np.uint64(1)) & mask
            if owner[slot] == d:
                repeats[d] += 1
                repeated_chars[d] += chars[i]
            else:
                owner[slot], keys[slot] = d, hashes[i]
    return repeats, repeated_chars, total, total_chars


@njit(cache=True, nogil=True)
def _paragraphs(
    data: np.ndarray,
    start: np.ndarray,
    stop: np.ndarray,
    chars: np.ndarray,
    traits: np.ndarray,
    offsets: np.ndarray,
    classes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hashes, characters and offsets of the paragraphs: lines up to an empty one; white space around a text is none."""
    hashes = np.empty(len(start), np.uint64)
    lengths = np.empty(len(start), np.int64)
    bounds = np.zeros(len(offsets), np.int64)
    n = 0
    for d in range(len(offsets) - 1):
        h, length, first = OFFSET_BASIS, 0, True
        for line in range(offsets[d], offsets[d + 1]):
            if traits[line] & BLANK:
                if length:
                    hashes[n], lengths[n], length = finish(h), length, 0
                    n, h = n + 1, OFFSET_BASIS
                continue
            if length:
                h = (h ^ np.uint64(0x0A)) * PRIME
                length += 1
            begin, skipped = start[line], 0
            while first:
                c, width = decode(data, begin)
                first = c < LIMIT and (classes[c] & SPACE) != 0
                if first:
                    begin, skipped = begin + width, skipped + 1
            for i in range(begin, stop[line]):
                h = (h ^ np.uint64(data[i])) * PRIME
            length += chars[line] - skipped
        if length:
            hashes[n], lengths[n] = finish(h), length
            n += 1
        bounds[d + 1] = n
    return hashes[:n], lengths[:n], bounds


@njit(cache=True, nogil=True)
def _n_gram_chars(
    hashes: np.ndarray, chars: np.ndarray, offsets: np.ndarray, smallest: int, tops: int, duplicates: int
) -> tuple[np.ndarray, np.ndarray]:
    """Characters of the most frequent n-gram, for ``tops`` sizes from ``smallest``, and of the repeated n-grams, for
    the ``duplicates`` sizes after them, of each document, float64.

    A repeated n-gram begins where a repeated (n-1)-gram begins, so each size looks at those places alone, which
    soon are few. One open-addressing table serves all: a slot counts only if its stamp is the current pass's.
    """
    documents = len(offsets) - 1
    longest = 1
    for d in range(documents):
        longest = max(longest, offsets[d + 1] - offsets[d])
    size = _table_size(longest)
    slot_keys, counts = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    firsts, stamps = np.zeros(size, np.int64), np.zeros(size, np.int64)
    visited = np.zeros(size, np.bool_)
    keys = np.zeros(longest, np.uint64)  # the key of the n-gram that begins at each word
    places = np.zeros(longest, np.int64)  # where the (n-1)-gram is a repeated one
    again = np.zeros(longest + 1, np.bool_)
    before = np.zeros(longest + 1, np.int64)  # characters before each word
    top = np.zeros((documents, tops), np.float64)
    duplicate = np.zeros((documents, duplicates), np.float64)
    base, stamp = np.uint64(0x9E3779B97F4A7C15), 0
    for d in range(documents):
        start = offsets[d]
        n_words = offsets[d + 1] - start
        for i in range(n_words):
            before[i + 1] = before[i] + chars[start + i]
            keys[i], places[i] = hashes[start + i], i
        for grown in range(1, smallest - 1):
            for i in range(n_words - grown):
                keys[i] = _grow(keys[i], hashes[start + i + grown], base)
        found = n_words
        for which in range(tops + duplicates):
            n = smallest + which
            if n_words < n:
                break
            if which < tops:
                top[d, which] = before[n] + n - 1  # if none repeats, the first of them
            if found == 0:
                continue
            mask = np.uint64(_table_size(found) - 1)
            stamp += 1
            best, best_first, free, repeated_chars, any_again = 1, 0, 0, 0, False
            for p in range(found):
                i = places[p]
                if i + n > n_words:
                    break
                key = keys[i] = _grow(keys[i], hashes[start + i + n - 1], base)
                slot = key & mask
                while stamps[slot] == stamp and slot_keys[slot] != key:
                    slot = (slot + np.uint64(1)) & mask
                if stamps[slot] != stamp:
                    stamps[slot], slot_keys[slot], counts[slot], firsts[slot] = stamp, key, 1, i
                    visited[slot] = False
                else:
                    counts[slot] += 1
                    again[firsts[slot]] = again[i] = any_again = True
                    # Among equally frequent n-grams the one that came first counts.
                    if counts[slot] > best or (counts[slot] == best and firsts[slot] < best_first):
                        best, best_first = counts[slot], firsts[slot]
                # Repeats do not overlap: after one, the next n-gram is looked at behind it.
                if i >= free:
                    if visited[slot]:
                        repeated_chars += before[i + n] - before[i]
                        free = i + n
                    visited[slot] = True
            if which < tops:
                top[d, which] = (before[best_first + n] - before[best_first] + n - 1) * best
            else:
                duplicate[d, which - tops] = repeated_chars
            kept = 0
            if any_again:
                for p in range(found):
                    if again[places[p]]:
                        again[places[p]] = False
                        places[kept] = places[p]
                        kept += 1
            found = kept
    return top, duplicate


@njit(cache=True, nogil=True)
def _grow(key: np.uint64, word: np.uint64, base: np.uint64) -> np.uint64:
    """The key of an n-gram from that of its first n-1 words and its last word's hash."""
    h = (key ^ (key >> np.uint64(32))) * base + word
    return h ^ (h >> np.uint64(29))
