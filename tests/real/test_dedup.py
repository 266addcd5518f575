"""Near duplicates among the editions of a real book, against exact Jaccard similarities of all pairs."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl

from plm_data.dedup.components import Components
from plm_data.dedup.minhash import band_keys, has_words, shingle_hashes, signatures

BANDS, ROWS = 14, 8


def test_pairs_are_found_as_often_as_the_banding_promises(rust_book: pl.Series) -> None:
    hashes, offsets = shingle_hashes(rust_book, 5)
    sets = [set(hashes[offsets[i] : offsets[i + 1]].tolist()) for i in range(len(rust_book))]
    signature = signatures(rust_book, BANDS * ROWS, 5)
    keys = band_keys(signature, BANDS, ROWS)
    expected = found = near = near_found = pairs = false = 0.0
    for a, b in itertools.combinations(range(len(sets)), 2):
        size = min(len(sets[a]), len(sets[b]))
        overlap = len(sets[a] & sets[b]) if size else 0
        jaccard = overlap / (len(sets[a]) + len(sets[b]) - overlap) if size else 0.0
        match = bool((keys[:, a] == keys[:, b]).any()) and size > 0
        if jaccard >= 0.5:
            pairs += 1
            expected += 1 - (1 - jaccard**ROWS) ** BANDS
            found += match
            near += jaccard >= 0.9
            near_found += match and jaccard >= 0.9
        elif jaccard < 0.3:
            false += match
    assert pairs > 100
    # Editions of one page are alike in the same places, so pairs are not independent: the bound is a wide one.
    assert 0.7 < found / expected < 1.3
    assert near_found / near >= 0.98
    assert false == 0

    components = Components(len(rust_book))
    members = np.flatnonzero(has_words(signature))
    for band in range(BANDS):
        components.join_equal(keys[band][members], members)
    sizes = np.unique(components.labels(), return_counts=True)[1]
    # A few hundred pages that only say where an old page went are one cluster; the chapters are not.
    assert 100 < len(sizes) < len(rust_book) and np.sort(sizes)[-2] < 30
