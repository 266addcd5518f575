"""One word segmentation for every rule.

A word is a run of Unicode letters, marks, digits and underscores (not of underscores alone); in
Han, Hiragana and Katakana, which are written without spaces, each character is a word. So a rule that counts
words never fails a language in silence because it has no spaces.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numba import njit

from plm_data.text import characters
from plm_data.text.characters import LETTER, LIMIT, UNSPACED, UNSPACED_SCRIPTS

_WORD_FLAG, _UNDERSCORE = characters.WORD, 0x5F
# The definition; the scanner below is tested against it.
WORD = rf"_*[\w&&[^_{UNSPACED_SCRIPTS}]][\w&&[^{UNSPACED_SCRIPTS}]]*|[{UNSPACED_SCRIPTS}]"


@dataclass(frozen=True)
class Words:
    """The words of a batch of ``n`` documents, flat: word ``w`` is ``data[start[w]:stop[w]]``.

    ``data``: uint8, the texts' UTF-8 one after another; ``bounds``: int64
    ``[n + 1]``, where each begins; ``start, stop``: int64; ``hashes``: uint64 of its bytes;
    ``chars``: int32 characters; ``letters``: whether it has a letter; ``offsets``: int64 ``[n + 1]``, document ``i``
    owns words ``offsets[i]:offsets[i + 1]``.
    """

    data: np.ndarray
    bounds: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    hashes: np.ndarray
    chars: np.ndarray
    letters: np.ndarray
    offsets: np.ndarray

    def counts(self) -> np.ndarray:
        """Words of each document, int64 ``[n]``."""
        return np.diff(self.offsets)

    def of(self, document: int) -> list[str]:
        """One document's words."""
        own = slice(self.offsets[document], self.offsets[document + 1])
        pairs = zip(self.start[own], self.stop[own], strict=True)
        return [self.data[a:b].tobytes().decode("utf-8") for a, b in pairs]


def utf8(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts (uint8), one after another, and where each begins (int64 ``[n + 1]``)."""
    array = texts.to_arrow(compat_level=pl.CompatLevel.oldest()).cast("large_string")
    _, offsets, data = array.buffers()
    if len(array) == 0 or data is None:
        return np.zeros(0, dtype=np.uint8), np.zeros(len(array) + 1, dtype=np.int64)
    bounds = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, dtype=np.uint8), bounds


def segment(texts: pl.Series) -> Words:
    """The words of each text, by ``WORD``."""
    data, bounds = utf8(texts)
    start, stop, hashes, chars, letters, offsets = _scan(data, bounds, characters.classes())
    return Words(data, bounds, start, stop, hashes, chars, letters, offsets)


def word_hash(word: str) -> int:
    """The hash that ``segment`` gives a word; raises ``ValueError`` if ``word`` is not one word."""
    found = segment(pl.Series([word]))
    if found.of(0) != [word]:
        raise ValueError(f"{word!r} is not one word, but {found.of(0)}")
    return int(found.hashes[0])


OFFSET_BASIS = np.uint64(0xCBF29CE484222325)
PRIME = np.uint64(0x100000001B3)


@njit(cache=True, nogil=True)
def finish(h: np.uint64) -> np.uint64:
    """The 64-bit finaliser of MurmurHash3, to spread the FNV-1a hash of a short word."""
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    return h


@njit(cache=True, nogil=True)
def _low(byte: np.uint8) -> np.int64:
    """The six bits of a byte that continues a character."""
    return np.int64(byte & 0x3F)


@njit(cache=True, nogil=True)
def decode(data: np.ndarray, i: int) -> tuple[np.int64, int]:
    """The code point that begins at byte ``i`` of valid UTF-8, and its length in bytes."""
    first = data[i]
    if first < 0x80:
        return np.int64(first), 1
    if first < 0xE0:
        return (np.int64(first & 0x1F) << 6) | _low(data[i + 1]), 2
    if first < 0xF0:
        return (np.int64(first & 0x0F) << 12) | (_low(data[i + 1]) << 6) | _low(data[i + 2]), 3
    high = (np.int64(first & 0x07) << 18) | (_low(data[i + 1]) << 12)
    return high | (_low(data[i + 2]) << 6) | _low(data[i + 3]), 4


@njit(cache=True, nogil=True)
def _scan(
    data: np.ndarray, bounds: np.ndarray, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    documents = len(bounds) - 1
    # A word takes at least one byte and what parts it from the next, or three bytes of an unspaced script.
    most = (bounds[-1] - bounds[0] + documents) // 2 + 1
    start = np.empty(most, dtype=np.int64)
    stop = np.empty(most, dtype=np.int64)
    hashes = np.empty(most, dtype=np.uint64)
    chars = np.empty(most, dtype=np.int32)
    letters = np.empty(most, dtype=np.bool_)
    offsets = np.zeros(documents + 1, dtype=np.int64)
    n = 0
    for d in range(documents):
        i, end = bounds[d], bounds[d + 1]
        inside, underscores = False, 0  # underscores: how many stand just before i
        h, length, letter = OFFSET_BASIS, 0, False
        while i < end:
            c = np.int64(data[i])
            width = 1
            if c >= 0x80:
                c, width = decode(data, i)
            flags = classes[c] if c < LIMIT else np.uint8(0)
            if flags & _WORD_FLAG or (inside and c == _UNDERSCORE):
                if not inside:
                    inside, letter = True, False
                    start[n], length, h = i - underscores, underscores, OFFSET_BASIS
                    for _ in range(underscores):
                        h = (h ^ np.uint64(_UNDERSCORE)) * PRIME
                for k in range(i, i + width):
                    h = (h ^ np.uint64(data[k])) * PRIME
                length += 1
                letter |= (flags & LETTER) != 0
            else:
                if inside:
                    stop[n], hashes[n], chars[n], letters[n] = i, finish(h), length, letter
                    n, inside, underscores = n + 1, False, 0
                if flags & UNSPACED:
                    h = OFFSET_BASIS
                    for k in range(i, i + width):
                        h = (h ^ np.uint64(data[k])) * PRIME
                    start[n], stop[n], hashes[n] = i, i + width, finish(h)
                    chars[n], letters[n] = 1, (flags & LETTER) != 0
                    n += 1
                underscores = underscores + 1 if c == _UNDERSCORE else 0
            i += width
        if inside:
            stop[n], hashes[n], chars[n], letters[n] = end, finish(h), length, letter
            n += 1
        offsets[d + 1] = n
    return start[:n], stop[:n], hashes[:n], chars[:n], letters[:n], offsets
