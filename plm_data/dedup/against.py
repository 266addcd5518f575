"""What one corpus has that another has too: exact by content hash, near by MinHash bands and then exact Jaccard.

Of ``b`` in ``a``: ``a`` is indexed, ``b`` probes the index, the shingles of ``a``'s candidates are spilled to disk,
and ``b``'s are compared with them. Each is a pass from the first document to the last, so neither corpus is ever in
memory. The index takes 12 bytes a document and band, and every
candidate's names are held.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
import polars as pl

from plm_data.dedup.corpora import Corpus, batches, check, ids
from plm_data.dedup.minhash import band_keys, has_words, shingle_hashes, signatures
from plm_data.dedup.verify import jaccard
from plm_data.text.normalise import content_hash, normalise

EXACT, NEAR = "exact", "near"
_MATCHES = {
    "b_id": pl.String, "b_file": pl.String, "a_id": pl.String, "a_file": pl.String, "kind": pl.String,
    "jaccard": pl.Float64,
}  # fmt: skip
# Of one document's candidates those that share the most bands are compared; of one band's bucket the first.
_CANDIDATES, _BUCKET = 16, 256
# A pair at the wanted similarity is found with this probability; one above it with a higher one.
_RECALL = 0.99


@dataclass(frozen=True)
class Overlap:
    """``matches``: a row a document of ``b`` that ``a`` has, with the best match.

    ``documents, against``: how many ``b`` and ``a`` have; ``refused, against_refused``: reason → rows not read.
    """

    matches: pl.DataFrame
    documents: int
    against: int
    refused: Counter[str]
    against_refused: Counter[str]


def banding_for(min_jaccard: float, permutations: int, recall: float = _RECALL) -> tuple[int, int]:
    """The strictest bands and rows that find a pair of this similarity with probability ``recall``.

    Candidates are verified here, so false ones cost time alone, and the curve may lie lower than where near
    duplicates are dropped unseen (FineWeb's 14 x 8 finds half of the pairs at 0.7).
    """
    for rows in range(permutations, 1, -1):
        bands = permutations // rows
        if 1 - (1 - min_jaccard**rows) ** bands >= recall:
            return bands, rows
    return permutations, 1


def against(
    b: Corpus, a: Corpus, *, bands: int, rows: int, permutations: int, shingle_words: int, min_jaccard: float = 0.7
) -> Overlap:
    """The documents of ``b`` that ``a`` has, each with its best match: the same text, or the highest Jaccard.

    Jaccard is exact, of the sets of word shingles, and at least ``min_jaccard`` for a near match. Documents without
    words match only exactly.
    """
    for corpus in (a, b):
        check(corpus)
    index = _Index(a, bands, rows, permutations, shingle_words)
    refused: Counter[str] = Counter()
    documents, b_rows, a_rows = index.probe(b, refused)
    with tempfile.TemporaryFile() as spill:
        candidates = _spill(a, np.unique(a_rows), shingle_words, spill)
        matches = _verify(b, b_rows, a_rows, candidates, shingle_words, min_jaccard)
    return Overlap(matches, documents, index.documents, refused, index.refused)


class _Index:
    """Of each document of a corpus its content hash and its band keys, sorted, with the rows they belong to."""

    def __init__(self, corpus: Corpus, bands: int, rows: int, permutations: int, shingle_words: int):
        self._banding = bands, rows, permutations, shingle_words
        keys: list[list[np.ndarray]] = [[] for _ in range(bands)]
        wordy: list[np.ndarray] = []
        numbers: list[np.ndarray] = []
        hashes: list[np.ndarray] = []
        self.refused: Counter[str] = Counter()
        for batch in batches(corpus, self.refused):
            texts = normalise(batch["text"])
            signature, members = self._sign(texts)
            for band, values in enumerate(band_keys(signature, bands, rows)):
                keys[band].append(values)
            # Rows are numbered in 32 bits: the index of 4 billion documents fits no memory anyway.
            numbers.append(batch["row"].to_numpy().astype(np.uint32))
            wordy.append(numbers[-1][members])
            hashes.append(_half_hashes(texts))
        self.documents = sum(map(len, numbers))
        self._hashes, self._hash_rows = _sorted(hashes, numbers)
        self._keys: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        for band in range(bands):
            sorted_keys, sorted_rows = _sorted(keys[band], wordy)
            keys[band] = []
            self._keys.append(sorted_keys)
            self._rows.append(sorted_rows)

    def _sign(self, texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
        """Signatures of the texts that have words, and which these are."""
        _, _, permutations, shingle_words = self._banding
        signature = signatures(texts, permutations, shingle_words)
        members = np.flatnonzero(has_words(signature))
        return signature[members], members

    def probe(self, corpus: Corpus, refused: Counter[str]) -> tuple[int, np.ndarray, np.ndarray]:
        """How many documents the corpus has, and the pairs of rows worth comparing: its own, and the index's."""
        bands, rows, _, _ = self._banding
        documents = 0
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for batch in batches(corpus, refused):
            numbers = batch["row"].to_numpy()
            documents += len(numbers)
            texts = normalise(batch["text"])
            hashes = _half_hashes(texts)
            place = np.searchsorted(self._hashes, hashes)
            same = np.zeros(len(hashes), dtype=bool)
            inside = place < len(self._hashes)
            same[inside] = self._hashes[place[inside]] == hashes[inside]
            found.append((numbers[same], self._hash_rows[place[same]]))
            others = np.flatnonzero(~same)
            if len(others) == 0:
                continue
            signature, members = self._sign(texts.gather(others))
            pairs = [
                _bucket_pairs(self._keys[band], self._rows[band], values)
                for band, values in enumerate(band_keys(signature, bands, rows))
            ]
            mine, theirs = _best_candidates(pairs)
            found.append((numbers[others[members[mine]]], theirs))
        b_rows = np.concatenate([mine for mine, _ in found]) if found else np.zeros(0, dtype=np.int64)
        a_rows = np.concatenate([theirs for _, theirs in found]) if found else np.zeros(0, dtype=np.uint32)
        return documents, b_rows, a_rows


def _sorted(keys: list[np.ndarray], rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The keys in order and each one's row; of equal keys the first row first."""
    if not keys:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.uint32)
    flat = np.concatenate(keys)
    order = np.argsort(flat, kind="stable")
    return flat[order], np.concatenate(rows)[order]


def _bucket_pairs(keys: np.ndarray, rows: np.ndarray, probes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a probe's place and the row of an equal key."""
    low = np.searchsorted(keys, probes, side="left")
    sizes = np.minimum(np.searchsorted(keys, probes, side="right") - low, _BUCKET)
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(np.arange(len(probes)), sizes), rows[np.repeat(low, sizes) + within]


def _best_candidates(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Of each probe the rows that share the most bands with it; of equals the first rows."""
    probes = np.concatenate([probe for probe, _ in pairs])
    rows = np.concatenate([row for _, row in pairs])
    coded, shared = np.unique(probes.astype(np.uint64) << np.uint64(32) | rows, return_counts=True)
    probe, row = (coded >> np.uint64(32)).astype(np.int64), (coded & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    order = np.lexsort((row, -shared, probe))
    probe, row = probe[order], row[order]
    first = np.searchsorted(probe, probe, side="left")
    taken = np.arange(len(probe)) - first < _CANDIDATES
    return probe[taken], row[taken]


@dataclass(frozen=True)
class _Candidates:
    """Rows in order; ``names``: their ids, files and content hashes; ``sets``: their shingles, flat, by ``bounds``."""

    rows: np.ndarray
    names: pl.DataFrame
    bounds: np.ndarray
    sets: np.ndarray

    def place(self, row: int) -> int:
        return int(np.searchsorted(self.rows, row))

    def shingles(self, place: int) -> np.ndarray:
        return np.asarray(self.sets[self.bounds[place] : self.bounds[place + 1]])


def _spill(corpus: Corpus, wanted: np.ndarray, shingle_words: int, spill: IO[bytes]) -> _Candidates:
    """The candidates among a corpus's rows, ``wanted`` (sorted); their sets go to ``spill``."""
    names = [pl.DataFrame(schema=dict.fromkeys(["id", "file", "content_hash"], pl.String))]
    sizes = [0]
    for batch in batches(corpus) if len(wanted) else ():
        own = batch.filter(pl.Series(np.isin(batch["row"].to_numpy(), wanted)))
        for named, sets in _shingle_sets(own, shingle_words):
            names.append(named.select("id", "file", "content_hash"))
            for shingles in sets:
                shingles.tofile(spill)
                sizes.append(len(shingles))
    spill.flush()
    bounds = np.cumsum(sizes)
    stored = np.memmap(spill, np.uint32, "r", shape=(bounds[-1],)) if bounds[-1] else np.zeros(0, dtype=np.uint32)
    return _Candidates(wanted, pl.concat(names), bounds, stored)


def _verify(
    b: Corpus, b_rows: np.ndarray, a_rows: np.ndarray, candidates: _Candidates, shingle_words: int, min_jaccard: float
) -> pl.DataFrame:
    """The best match of each document of ``b`` that has one; ``b_rows, a_rows``: the pairs to compare."""
    order = np.lexsort((a_rows, b_rows))
    b_rows, a_rows = b_rows[order], a_rows[order]
    matches = [pl.DataFrame(schema=_MATCHES)]
    for batch in batches(b) if len(b_rows) else ():
        own = batch.filter(pl.Series(np.isin(batch["row"].to_numpy(), b_rows)))
        for named, sets in _shingle_sets(own, shingle_words):
            found = []
            for row, shingles in zip(named.iter_rows(named=True), sets, strict=True):
                start, stop = np.searchsorted(b_rows, [row["row"], row["row"] + 1])
                same, alike, place = _best(row["content_hash"], shingles, a_rows[start:stop].tolist(), candidates)
                if same or alike >= min_jaccard:
                    identity, file, _ = candidates.names.row(place)
                    found.append((row["id"], row["file"], identity, file, EXACT if same else NEAR, alike))
            matches.append(pl.DataFrame(found, schema=_MATCHES, orient="row"))
    return pl.concat(matches).sort(["jaccard", "kind", "b_file", "b_id"], descending=[True, False, False, False])


def _best(content: str, shingles: np.ndarray, rows: list[int], candidates: _Candidates) -> tuple[bool, float, int]:
    """Whether it is the same text, the similarity and the place of the candidate that is most like a document."""
    best = False, -1.0, -1
    for row in rows:
        place = candidates.place(row)
        same = candidates.names["content_hash"][place] == content
        alike = 1.0 if same else jaccard(shingles, candidates.shingles(place))
        # Of equals the first stays.
        if (same, alike) > best[:2]:
            best = same, alike, place
    return best


def _shingle_sets(batch: pl.DataFrame, shingle_words: int) -> Iterator[tuple[pl.DataFrame, list[np.ndarray]]]:
    """``row, id, file, content_hash`` of a batch that has documents, and their shingles: sorted, each once."""
    if batch.height:
        texts = normalise(batch["text"])
        hashes, offsets = shingle_hashes(texts, shingle_words)
        sets = [np.unique(hashes[offsets[i] : offsets[i + 1]]) for i in range(batch.height)]
        yield batch.select("row", "file", ids(batch), content_hash(texts)), sets


def similarity(text: str, other: str, shingle_words: int) -> float:
    """The exact Jaccard similarity of two texts' word shingles; 0 where one of them has no words."""
    hashes, offsets = shingle_hashes(pl.Series([text, other]), shingle_words)
    return jaccard(np.unique(hashes[: offsets[1]]), np.unique(hashes[offsets[1] :]))


def _half_hashes(texts: pl.Series) -> np.ndarray:
    """64 bits of each content hash: enough to find a match, which is then compared in full."""
    return content_hash(texts).str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64).to_numpy()
