"""Signatures equal datasketch's to the bit; near copies are found as the banding's curve says."""

from __future__ import annotations

import datasketch
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.dedup.minhash import SCHEME, band_keys, bands_and_rows, has_words, shingle_hashes, signatures

TEXTS = pl.Series(["one two three four five six seven", "", "a b", "...", "Ein schöner Tag im Mai, 25 Grad " * 3])


@settings(max_examples=40)
@given(st.lists(st.text(alphabet="ab cß床1 ", max_size=60), min_size=1, max_size=5))
def test_signatures_are_those_of_datasketch(texts: list[str]) -> None:
    series = pl.Series(texts, dtype=pl.String)
    ours = signatures(series, 32, 5)
    hashes, offsets = shingle_hashes(series, 5)
    for i in range(len(texts)):
        theirs = datasketch.MinHash(num_perm=32, scheme=SCHEME, hashfunc=int)
        theirs.update_batch([int(h) for h in hashes[offsets[i] : offsets[i + 1]]])
        assert ours[i].tolist() == theirs.hashvalues.tolist()


def test_signatures_load_into_datasketchs_index() -> None:
    values = signatures(TEXTS, 112, 5)
    index = datasketch.MinHashLSH(num_perm=112, params=(14, 8))
    for i in (0, 4):
        index.insert(i, datasketch.MinHash(hashvalues=values[i], scheme=SCHEME))
    copy = signatures(pl.Series(["One two, three FOUR five - six seven!"]), 112, 5)[0]
    assert index.query(datasketch.MinHash(hashvalues=copy, scheme=SCHEME)) == [0]


def test_case_marks_digits_and_punctuation_do_not_count() -> None:
    a, b = signatures(pl.Series(["Café no 17: open to all, daily", "cafe NO 4 open to all (daily)"]), 64, 5)
    assert a.tolist() == b.tolist()
    assert a.tolist() != signatures(pl.Series(["cafe no 4 closed to all daily"]), 64, 5)[0].tolist()


def test_texts_without_words_are_told_apart_from_short_ones() -> None:
    assert has_words(signatures(TEXTS, 16, 5)).tolist() == [True, False, True, False, True]


def test_band_keys_are_equal_just_where_the_rows_are() -> None:
    signature = np.array([[1, 2, 3, 4], [1, 2, 9, 4], [7, 2, 3, 4]], dtype=np.uint32)
    keys = band_keys(signature, bands=2, rows=2)
    assert keys.shape == (2, 3)
    assert keys[0, 0] == keys[0, 1] != keys[0, 2]
    assert keys[1, 0] == keys[1, 2] != keys[1, 1]
    assert keys[0, 0] != band_keys(signature[:, [2, 3, 0, 1]], 2, 2)[0, 0]


def test_bands_for_a_threshold_are_datasketchs_optimum() -> None:
    bands, rows = bands_and_rows(0.8, 112)
    assert bands * rows <= 112
    # The banding's own 50% point lies near the threshold.
    assert (1 / bands) ** (1 / rows) == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("jaccard, low, high", [(0.9, 0.98, 1.0), (0.75, 0.6, 0.9), (0.4, 0.0, 0.1)])
def test_near_copies_are_found_as_the_banding_promises(jaccard: float, low: float, high: float) -> None:
    """14 x 8 finds a pair with probability 1 - (1 - J^8)^14; over 400 pairs of that Jaccard similarity."""
    rng = np.random.default_rng(5)
    shared = int(200 * 2 * jaccard / (1 + jaccard))
    found = 0
    for _ in range(400):
        words = ["".join(letters) for letters in rng.choice(list("abcdefghijklmnop"), size=(600, 9))]
        a = words[:shared] + words[200:400][: 200 - shared]
        b = words[:shared] + words[400:600][: 200 - shared]
        left, right = signatures(pl.Series([" ".join(a), " ".join(b)]), 112, 1)
        keys = band_keys(np.stack([left, right]), 14, 8)
        found += bool((keys[:, 0] == keys[:, 1]).any())
    assert low <= found / 400 <= high
