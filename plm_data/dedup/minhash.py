"""MinHash signatures (Broder 1997), equal to the bit to ``datasketch.MinHash`` of the ``affine32`` scheme.

datasketch gives the permutations and, for a wanted threshold, the bands and rows; the signatures of a whole
batch are made in one compiled pass. Shingles are of words in lower case, without marks, every run of digits
written ``0``, without punctuation: near copies that differ in these alone have the same signature.
"""

from __future__ import annotations

import datasketch
import numpy as np
import polars as pl
from numba import njit

from plm_data.text.words import hash_strings, segment

_SEED = 1
SCHEME = "affine32"
_EMPTY = np.uint32(0xFFFFFFFF)


def bands_and_rows(threshold: float, permutations: int) -> tuple[int, int]:
    """datasketch's optimum: the banding with the least false positives and negatives at a Jaccard threshold."""
    index = datasketch.MinHashLSH(threshold=threshold, num_perm=permutations)
    return index.b, index.r


def shingle_text(texts: pl.Series) -> pl.Series:
    """The spelling in which texts are compared."""
    return (
        texts.str.to_lowercase()
        .str.normalize("NFD")
        .str.replace_all(r"\p{M}", "")
        .str.replace_all(r"\d+", "0")
    )  # fmt: skip


def shingle_hashes(texts: pl.Series, width: int) -> tuple[np.ndarray, np.ndarray]:
    """32-bit hashes of the word shingles of each text, flat, and their offsets ``[n + 1]``.

    A text of fewer words than ``width`` has one shingle of all its words; one without words has none.
    """
    words = segment(shingle_text(texts))
    return _shingles(hash_strings(words.flat), words.offsets, width)


def signatures(texts: pl.Series, permutations: int, width: int) -> np.ndarray:
    """uint32 ``[n, permutations]``; a text without words has datasketch's empty signature (all ones)."""
    hashes, offsets = shingle_hashes(texts, width)
    a, b = datasketch.MinHash(num_perm=permutations, seed=_SEED, scheme=SCHEME).permutations
    return _signatures(hashes, offsets, a.astype(np.uint32), b.astype(np.uint32))


@njit(cache=True, nogil=True)
def _shingles(words: np.ndarray, offsets: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    bounds = np.zeros(len(offsets), dtype=np.int64)
    for d in range(len(offsets) - 1):
        n = offsets[d + 1] - offsets[d]
        bounds[d + 1] = bounds[d] + (n - width + 1 if n >= width else (1 if n > 0 else 0))
    out = np.empty(bounds[-1], dtype=np.uint32)
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        for k in range(bounds[d + 1] - bounds[d]):
            h = np.uint64(0)
            for j in range(start + k, min(start + k + width, end)):
                h = (h ^ words[j]) * np.uint64(0x9E3779B97F4A7C15)
                h ^= h >> np.uint64(32)
            out[bounds[d] + k] = np.uint32(h & np.uint64(0xFFFFFFFF))
    return out, bounds


@njit(cache=True, nogil=True)
def _signatures(hashes: np.ndarray, offsets: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The minimum over a document's shingles of ``a * fmix32(h) + b`` modulo 2^32, for each permutation."""
    out = np.full((len(offsets) - 1, len(a)), _EMPTY, dtype=np.uint32)
    for d in range(len(offsets) - 1):
        row = out[d]
        for i in range(offsets[d], offsets[d + 1]):
            # The finaliser of MurmurHash3; casts, because numba widens uint32 products to 64 bits.
            h = hashes[i]
            h = np.uint32(h ^ (h >> np.uint32(16)))
            h = np.uint32(h * np.uint32(0x85EBCA6B))
            h = np.uint32(h ^ (h >> np.uint32(13)))
            h = np.uint32(h * np.uint32(0xC2B2AE35))
            h = np.uint32(h ^ (h >> np.uint32(16)))
            for k in range(len(a)):
                row[k] = min(row[k], np.uint32(np.uint32(a[k] * h) + b[k]))
    return out


def band_keys(signature: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """One 64-bit key a band, uint64 ``[bands, n]``: equal keys mean equal rows (up to hash collisions)."""
    return _band_keys(signature, bands, rows)


@njit(cache=True, nogil=True)
def _band_keys(signature: np.ndarray, bands: int, rows: int) -> np.ndarray:
    out = np.empty((bands, len(signature)), dtype=np.uint64)
    for d in range(len(signature)):
        for band in range(bands):
            h = np.uint64(band + 1)
            for k in range(band * rows, (band + 1) * rows):
                h = (h ^ np.uint64(signature[d, k])) * np.uint64(0xFF51AFD7ED558CCD)
                h ^= h >> np.uint64(33)
            out[band, d] = h
    return out


def has_words(signature: np.ndarray) -> np.ndarray:
    """Which rows are of texts with words: texts without words all look alike and are no duplicates for it."""
    return ~(signature == _EMPTY).all(axis=1)
