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

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
WORD = rf"_*[\w&&[^_{_UNSPACED}]][\w&&[^{_UNSPACED}]]*|[{_UNSPACED}]"


@dataclass(frozen=True)
class Words:
    """The words of a batch of ``n`` documents, flat.

    ``flat``: the words, one after another; ``offsets``: int64 ``[n + 1]``, document ``i`` owns
    ``flat[offsets[i]:offsets[i + 1]]``; ``document``: int64, each word's document.
    """

    flat: pl.Series
    offsets: np.ndarray
    document: np.ndarray

    @property
    def documents(self) -> int:
        return len(self.offsets) - 1

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum over each document of one number a word, as float64 ``[n]``."""
        return np.bincount(self.document, weights=values, minlength=self.documents)

    def counts(self) -> np.ndarray:
        """Words of each document, int64 ``[n]``."""
        return np.diff(self.offsets)


def segment(texts: pl.Series) -> Words:
    """The words of each text, by ``WORD``."""
    lists = texts.str.extract_all(WORD)
    counts = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    flat = lists.filter(lists.list.len() > 0).explode() if len(texts) else pl.Series("words", [], dtype=pl.String)
    return Words(flat, offsets, np.repeat(np.arange(len(texts)), counts))


def hash_strings(strings: pl.Series) -> np.ndarray:
    """A 64-bit hash of each string's UTF-8 bytes: equal on every machine, in every process, for every layout."""
    array = strings.to_arrow(compat_level=pl.CompatLevel.oldest()).cast("large_string")
    _, offsets, data = array.buffers()
    if len(array) == 0 or data is None:
        return np.full(len(array), _OFFSET_BASIS, dtype=np.uint64)
    bounds = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return _fnv1a(np.frombuffer(data, dtype=np.uint8), bounds)


_OFFSET_BASIS = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)


@njit(cache=True, nogil=True)
def _fnv1a(data: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """FNV-1a over each slice of ``data``, then the 64-bit finaliser of MurmurHash3 to spread short words."""
    out = np.empty(len(bounds) - 1, dtype=np.uint64)
    for i in range(len(bounds) - 1):
        h = _OFFSET_BASIS
        for j in range(bounds[i], bounds[i + 1]):
            h = (h ^ np.uint64(data[j])) * _PRIME
        h ^= h >> np.uint64(33)
        h *= np.uint64(0xFF51AFD7ED558CCD)
        h ^= h >> np.uint64(33)
        out[i] = h
    return out
