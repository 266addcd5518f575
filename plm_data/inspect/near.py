"""What in a built corpus is like a given text."""

from __future__ import annotations

from dataclasses import dataclass

import datasketch
import numpy as np
import polars as pl

from plm_data.build import Build
from plm_data.dedup.minhash import SCHEME, band_keys, has_words, signatures
from plm_data.errors import PlmError
from plm_data.inspect import tables
from plm_data.text.normalise import normalise


@dataclass(frozen=True)
class Near:
    """A document that shares a band with the text; ``jaccard`` is estimated from the signatures."""

    id: str
    source: str
    name: str
    verdict: str
    reason: str | None
    jaccard: float


def near(build: Build, text: str) -> list[Near]:
    """The near duplicates of a text by the recipe's own banding, the likest first.

    They are the documents whose cluster it would join; kept or dropped, and only of sources whose near duplicates
    count. Raises ``PlmError`` for a text without words.
    """
    dedup, (bands, rows) = build.recipe.curate.dedup, build.banding
    wanted = signatures(normalise(pl.Series([text])), dedup.permutations, dedup.shingle_words)
    if not has_words(wanted)[0]:
        raise PlmError("the text has no words, so nothing can be like it; give a text of letters or digits.")
    keys = band_keys(wanted, bands, rows)
    query = _minhash(wanted[0])
    index = datasketch.MinHashLSH(params=(bands, rows), num_perm=dedup.permutations)
    candidates: dict[str, datasketch.MinHash] = {}
    for source in build.recipe.sources:
        for ids, values in tables.signature_batches(build, source):
            # datasketch's index finds what shares a band with the query. A document without a common band key shares
            # none, so leaving it out changes no answer, and the index stays small whatever the corpus.
            for i in np.flatnonzero((band_keys(values, bands, rows) == keys).any(axis=0)).tolist():
                candidates[ids[i]] = _minhash(values[i])
                index.insert(ids[i], candidates[ids[i]])
    found = tables.verdicts(build).filter(pl.col("id").is_in(index.query(query)))
    nearest = [
        Near(identity, source, name, verdict, reason, candidates[identity].jaccard(query))
        for identity, source, name, verdict, reason in found.select("id", "source", "name", "verdict", "reason")
        .collect()
        .iter_rows()
    ]
    return sorted(nearest, key=lambda each: (-each.jaccard, each.id))


def _minhash(signature: np.ndarray) -> datasketch.MinHash:
    return datasketch.MinHash(hashvalues=signature, scheme=SCHEME)
