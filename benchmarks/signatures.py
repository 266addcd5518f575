"""MinHash signatures beside datasketch's own, from the same shingle hashes."""

from __future__ import annotations

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # a core beside a core

import datasketch
import numpy as np

from benchmarks.common import best, report, texts
from plm_data.dedup.minhash import SCHEME, shingle_hashes, signatures


def run(size: int) -> None:
    """Measure both from the text on; signatures must be equal to the bit first."""
    found = texts(size)

    def peer() -> np.ndarray:
        hashes, offsets = shingle_hashes(found, 5)
        base = datasketch.MinHash(num_perm=112, scheme=SCHEME, hashfunc=int)
        rows = []
        for i in range(len(found)):
            each = base.copy()
            each.update_batch(hashes[offsets[i] : offsets[i + 1]].tolist())
            rows.append(each.hashvalues)
        return np.stack(rows)

    signatures(found, 112, 5)  # compiles
    our_seconds, our_values = best(lambda: signatures(found, 112, 5), 3)
    peer_seconds, peer_values = best(peer, 1)
    if not np.array_equal(our_values, peer_values):
        raise SystemExit("the signatures differ, so there is nothing to compare")
    megabytes = int(found.str.len_bytes().sum()) / 1e6
    report("minhash signatures, 112 permutations", our_seconds, peer_seconds, "datasketch", megabytes, len(found))
