"""MinHash signatures (Broder 1997), equal to the bit to ``datasketch.MinHash`` of the ``affine32`` scheme.

datasketch gives the permutations and, for a wanted threshold, the bands and rows; the signatures of a whole
batch are made in compiled passes. Shingles are of words in lower case, without marks, every run of digits
written ``0``, without punctuation: near copies that differ in these alone have the same signature.
"""

from __future__ import annotations

import datasketch
import numpy as np
import polars as pl
from numba import njit

from plm_data.text import characters
from plm_data.text.characters import DIGIT, LIMIT, UNSPACED
from plm_data.text.words import OFFSET_BASIS, PRIME, decode, finish, utf8

_SEED = 1
SCHEME = "affine32"
_EMPTY = np.uint32(0xFFFFFFFF)
_BLOCK = 4096  # shingles that stay in the first-level cache while every permutation passes over them
_WORD_FLAG, _ZERO = characters.WORD, np.uint32(ord("0"))
_CODE, _SHIFT = np.uint32(0x1FFFFF), np.uint32(characters.CLASS_SHIFT)


def bands_and_rows(threshold: float, permutations: int) -> tuple[int, int]:
    """datasketch's optimum: the banding with the least false positives and negatives at a Jaccard threshold."""
    index = datasketch.MinHashLSH(threshold=threshold, num_perm=permutations)
    return index.b, index.r


def shingle_hashes(texts: pl.Series, width: int) -> tuple[np.ndarray, np.ndarray]:
    """32-bit hashes of the word shingles of each text, flat, and their offsets ``[n + 1]``.

    A text of fewer words than ``width`` has one shingle of all its words; one without words has none.
    """
    data, bounds = utf8(texts)
    words, offsets = _folded_words(data, bounds, characters.folded_classes())
    return _shingles(words, offsets, width)


def signatures(texts: pl.Series, permutations: int, width: int) -> np.ndarray:
    """uint32 ``[n, permutations]``; a text without words has datasketch's empty signature (all ones)."""
    return signatures_of(*shingle_hashes(texts, width), permutations)


def signatures_of(hashes: np.ndarray, offsets: np.ndarray, permutations: int) -> np.ndarray:
    """The signatures of sets of shingle hashes, as from ``shingle_hashes``."""
    a, b = datasketch.MinHash(num_perm=permutations, seed=_SEED, scheme=SCHEME).permutations
    return _signatures(hashes, offsets, a.astype(np.uint32), b.astype(np.uint32))


@njit(cache=True, nogil=True)
def _folded_words(data: np.ndarray, bounds: np.ndarray, folded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A 64-bit hash of each word as it is compared, and the offsets ``[n + 1]`` of the documents' words."""
    documents = len(bounds) - 1
    words = np.empty((bounds[-1] - bounds[0] + documents) // 2 + 1, np.uint64)
    offsets = np.zeros(documents + 1, np.int64)
    n = 0
    for d in range(documents):
        i, end = bounds[d], bounds[d + 1]
        inside, in_number, h = False, False, OFFSET_BASIS
        while i < end:
            c = np.int64(data[i])
            width = 1
            if c >= 0x80:
                c, width = decode(data, i)
            i += width
            found = folded[c] if c < LIMIT else np.uint32(c)
            code, flags = found & _CODE, found >> _SHIFT
            if flags & _WORD_FLAG:
                if flags & DIGIT:
                    if in_number:
                        continue
                    code, in_number = _ZERO, True
                else:
                    in_number = False
                h = (h ^ np.uint64(code)) * PRIME
                inside = True
            elif code != 0:  # else a mark, which is passed over
                if inside:
                    words[n] = finish(h)
                    n, h = n + 1, OFFSET_BASIS
                inside = in_number = False
                if flags & UNSPACED:
                    words[n] = finish((h ^ np.uint64(code)) * PRIME)
                    n += 1
        if inside:
            words[n] = finish(h)
            n += 1
        offsets[d + 1] = n
    return words[:n], offsets


@njit(cache=True, nogil=True)
def _shingles(words: np.ndarray, offsets: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A shingle's hash is a polynomial in its words' hashes, so the next one takes two products at any width."""
    bounds = np.zeros(len(offsets), dtype=np.int64)
    for d in range(len(offsets) - 1):
        n = offsets[d + 1] - offsets[d]
        bounds[d + 1] = bounds[d] + (n - width + 1 if n >= width else (1 if n > 0 else 0))
    out = np.empty(bounds[-1], dtype=np.uint32)
    base, leading = np.uint64(0x9E3779B97F4A7C15), np.uint64(1)
    for _ in range(width - 1):
        leading *= base
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        h = np.uint64(0)
        for j in range(start, min(start + width, end)):
            h = h * base + words[j]
        for k in range(bounds[d + 1] - bounds[d]):
            if k > 0:
                h = (h - words[start + k - 1] * leading) * base + words[start + k + width - 1]
            out[bounds[d] + k] = np.uint32(finish(h) & np.uint64(0xFFFFFFFF))
    return out, bounds


@njit(cache=True, nogil=True)
def _signatures(hashes: np.ndarray, offsets: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The minimum over a document's shingles of ``a * fmix32(h) + b`` modulo 2^32, for each permutation."""
    out = np.full((len(offsets) - 1, len(a)), _EMPTY, dtype=np.uint32)
    mixed = np.empty(_BLOCK, np.uint32)
    for d in range(len(offsets) - 1):
        row, first = out[d], offsets[d]
        while first < offsets[d + 1]:
            n = min(_BLOCK, offsets[d + 1] - first)
            for i in range(n):
                # The finaliser of MurmurHash3; casts, because numba widens uint32 products to 64 bits.
                h = hashes[first + i]
                h = np.uint32(h ^ (h >> np.uint32(16)))
                h = np.uint32(h * np.uint32(0x85EBCA6B))
                h = np.uint32(h ^ (h >> np.uint32(13)))
                h = np.uint32(h * np.uint32(0xC2B2AE35))
                mixed[i] = np.uint32(h ^ (h >> np.uint32(16)))
            for k in range(len(a)):
                scale, shift, least = a[k], b[k], row[k]
                for i in range(n):
                    least = min(least, np.uint32(np.uint32(scale * mixed[i]) + shift))
                row[k] = least
            first += n
    return out


@njit(cache=True, nogil=True)
def band_keys(signature: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """One 64-bit key a band, uint64 ``[bands, n]``: equal keys mean equal rows of that band (up to hash collisions)."""
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
