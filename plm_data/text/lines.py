"""The lines of a batch of texts, with what the rules ask of a line, from one compiled pass over the bytes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from plm_data.text import characters
from plm_data.text.characters import LIMIT, SENTENCE_END, SPACE
from plm_data.text.words import OFFSET_BASIS, PRIME, decode, finish

# Bits of ``Lines.traits``.
BLANK, BULLET, ELLIPSIS_END, PUNCTUATED = 1, 2, 4, 8

_HASH_SIGN, _DOT, _HYPHEN, _NEWLINE = 0x23, 0x2E, 0x2D, 0x0A
_BULLET_SIGN, _ELLIPSIS_SIGN = 0x2022, 0x2026


@dataclass(frozen=True)
class Lines:
    """The lines of ``n`` documents, flat: document ``i`` owns lines ``offsets[i]:offsets[i + 1]``, at least one.

    ``start, stop``: int64, the bytes of a line without its break; ``hashes``: uint64 of these; ``chars``: int32
    characters; ``traits``: uint8 bits, BLANK (only white space), BULLET (first of it is ``•`` or ``-``),
    ELLIPSIS_END (last of it is ``...`` or ``…``), PUNCTUATED (its very last character ends sentences).
    Of each document, int64 ``[n]``: ``text_chars``, its characters with its line breaks; ``hash_signs`` and
    ``ellipses``, how many it has (``......`` are two).
    """

    start: np.ndarray
    stop: np.ndarray
    hashes: np.ndarray
    chars: np.ndarray
    traits: np.ndarray
    offsets: np.ndarray
    text_chars: np.ndarray
    hash_signs: np.ndarray
    ellipses: np.ndarray

    def counts(self) -> np.ndarray:
        """Lines of each document, int64 ``[n]``."""
        return np.diff(self.offsets)


def split_lines(data: np.ndarray, bounds: np.ndarray) -> Lines:
    """The lines of each text; ``data, bounds`` as from ``words.utf8``."""
    return Lines(*_scan(data, bounds, characters.classes()))


@njit(cache=True, nogil=True)
def _scan(data: np.ndarray, bounds: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, ...]:
    documents = len(bounds) - 1
    total = documents
    for i in range(bounds[0], bounds[-1]):
        total += data[i] == _NEWLINE
    start = np.empty(total, dtype=np.int64)
    stop = np.empty(total, dtype=np.int64)
    hashes = np.empty(total, dtype=np.uint64)
    chars = np.empty(total, dtype=np.int32)
    traits = np.empty(total, dtype=np.uint8)
    offsets = np.zeros(documents + 1, dtype=np.int64)
    text_chars = np.zeros(documents, dtype=np.int64)
    hash_signs = np.zeros(documents, dtype=np.int64)
    ellipses = np.zeros(documents, dtype=np.int64)
    n = 0
    for d in range(documents):
        i, end = bounds[d], bounds[d + 1]
        while True:
            start[n] = i
            h, length, bits = OFFSET_BASIS, 0, np.uint8(BLANK)
            dots, ellipsis_end, last = 0, False, np.uint8(0)
            while i < end and data[i] != _NEWLINE:
                c = np.int64(data[i])
                width = 1
                if c >= 0x80:
                    c, width = decode(data, i)
                for k in range(i, i + width):
                    h = (h ^ np.uint64(data[k])) * PRIME
                length += 1
                last = classes[c] if c < LIMIT else np.uint8(0)
                if c == _DOT:
                    dots += 1
                    # Every third of a run of dots completes an ellipsis; any run of three or more ends in one.
                    ellipses[d] += dots % 3 == 0
                    ellipsis_end = dots >= 3
                elif c == _ELLIPSIS_SIGN:
                    ellipses[d] += 1
                    dots, ellipsis_end = 0, True
                elif last & SPACE:
                    dots = 0
                else:
                    dots, ellipsis_end = 0, False
                    hash_signs[d] += c == _HASH_SIGN
                if bits & BLANK and not last & SPACE:
                    bits = np.uint8(BULLET) if c in (_BULLET_SIGN, _HYPHEN) else np.uint8(0)
                i += width
            if ellipsis_end:
                bits |= np.uint8(ELLIPSIS_END)
            if last & SENTENCE_END:
                bits |= np.uint8(PUNCTUATED)
            stop[n], hashes[n], chars[n], traits[n] = i, finish(h), length, bits
            text_chars[d] += length
            n += 1
            if i >= end:
                break
            text_chars[d] += 1
            i += 1
        offsets[d + 1] = n
    return start, stop, hashes, chars, traits, offsets, text_chars, hash_signs, ellipses
