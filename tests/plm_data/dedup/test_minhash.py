"""Signatures equal datasketch's to the bit; near copies are found as the banding's curve says."""

from __future__ import annotations

import itertools
import unicodedata

import datasketch
import numpy as np
import polars as pl
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from plm_data.dedup.minhash import SCHEME, band_keys, bands_and_rows, has_words, shingle_hashes, signatures
from plm_data.text.characters import UNSPACED_SCRIPTS
from plm_data.text.normalise import normalise

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


def shingles(text: str, width: int) -> set[tuple[str, ...]]:
    """A text's shingles, from plain Python: lower case, no marks, numbers as 0, no punctuation."""
    parts = unicodedata.normalize("NFD", text.lower())
    bare = unicodedata.normalize("NFC", "".join(c for c in parts if unicodedata.category(c) != "Mn"))
    words = regex.findall(rf"[{UNSPACED_SCRIPTS}]|(?:(?![{UNSPACED_SCRIPTS}_])\w)+", regex.sub(r"\p{Nd}+", "0", bare))
    return {tuple(words[i : i + width]) for i in range(max(len(words) - width + 1, 1 if words else 0))}


@settings(max_examples=200)
@given(
    st.lists(
        st.text(alphabet=st.sampled_from("aAbÄäßЖжé 1٣床の가#_.,\u0308\n"), max_size=20), min_size=1, max_size=5
    ),
    st.sampled_from([1, 2, 5]),
)  # fmt: skip
def test_shingles_are_those_of_plain_python(texts: list[str], width: int) -> None:
    series = normalise(pl.Series(texts, dtype=pl.String))
    hashes, offsets = shingle_hashes(series, width)
    expected = [shingles(text, width) for text in series]
    found = [set(hashes[a:b].tolist()) for a, b in itertools.pairwise(offsets)]
    # The same set of hashes wherever it is the same set of shingles, and as many.
    assert [len(each) for each in found] == [len(each) for each in expected]
    for (a, hashes_a), (b, hashes_b) in itertools.combinations(zip(expected, found, strict=True), 2):
        assert len(a & b) == len(hashes_a & hashes_b)


@given(st.lists(st.text(alphabet="ab c1", max_size=30), max_size=5), st.integers(0, 3))
def test_a_slice_is_signed_as_the_texts_it_shows(texts: list[str], start: int) -> None:
    series = pl.Series(texts, dtype=pl.String)
    assert signatures(series[start:], 16, 2).tolist() == signatures(series, 16, 2).tolist()[start:]


def test_a_text_of_more_shingles_than_a_block_has_the_minimum_of_all() -> None:
    words = [f"{a}{b}{c}" for a in "abcdefghijklmnopqr" for b in "abcdefghijklmnopqr" for c in "abcdefghijklmnopqr"]
    parts = [" ".join(words[i : i + 1000]) for i in range(0, len(words), 1000)]
    whole = signatures(pl.Series([" ".join(words)]), 32, 1)[0]
    assert len(words) > 4096
    assert whole.tolist() == signatures(pl.Series(parts), 32, 1).min(axis=0).tolist()


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
