"""Near duplicates among the editions of a real book, against exact Jaccard similarities of all pairs."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl

from plm_data.dedup.components import forest
from plm_data.dedup.minhash import band_keys, has_words, shingle_hashes, signatures_of

BANDS, ROWS = 14, 8
FAMILIES = 9  # of permutations, so that the pairs, which are alike in the same places, are asked nine times


def test_pairs_are_found_as_often_as_the_banding_promises(rust_book: pl.Series) -> None:
    hashes, offsets = shingle_hashes(rust_book, 5)
    sets = [set(hashes[a:b].tolist()) for a, b in itertools.pairwise(offsets)]
    signature = signatures_of(hashes, offsets, FAMILIES * BANDS * ROWS)
    wordy = np.flatnonzero(has_words(signature))
    a, b = np.array(list(itertools.combinations(wordy.tolist(), 2))).T
    overlap = np.array([len(sets[i] & sets[j]) for i, j in zip(a, b, strict=True)])
    size = np.array([len(each) for each in sets])
    jaccard = overlap / (size[a] + size[b] - overlap)
    families = np.split(signature, FAMILIES, axis=1)
    keys = [band_keys(np.ascontiguousarray(family), BANDS, ROWS) for family in families]
    found = np.array([(each[:, a] == each[:, b]).any(axis=0) for each in keys])

    promised = 1 - (1 - jaccard**ROWS) ** BANDS
    alike = jaccard >= 0.5
    assert alike.sum() > 10_000
    assert 0.85 < found[:, alike].sum() / (FAMILIES * promised[alike].sum()) < 1.15
    assert found[:, jaccard >= 0.9].mean() >= 0.98
    assert found[:, jaccard < 0.3].mean() < 1e-4

    edges = np.stack([b, a], axis=1)[found[0]].astype(np.uint64)
    sizes = np.sort(np.unique(forest(edges)[:, 1], return_counts=True)[1] + 1)
    # A few hundred pages that only say where an old page went are one cluster; the chapters are not.
    assert sizes[-2] < 30 < 100 < sizes[-1] < len(rust_book)
