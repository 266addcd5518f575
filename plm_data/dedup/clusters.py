"""The duplicate steps: signatures of each source, then clusters over all sources.

The cluster is an attribute of every document; which of its members survives is decided later, among those
that the rules keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from plm_data.attributes.measure import Measure
from plm_data.dedup.components import Components
from plm_data.dedup.minhash import band_keys, has_words, signatures
from plm_data.engine import Step
from plm_data.store import Counts, Output
from plm_data.tables import part_file, read_batches, write_parquet


@dataclass(frozen=True)
class Sign(Measure):
    """The MinHash signature (uint32) of each document."""

    name: ClassVar[str] = "signatures"
    permutations: int
    shingle_words: int

    def measure(self, texts: pl.Series) -> pl.DataFrame:
        values = signatures(texts, self.permutations, self.shingle_words)
        return pl.DataFrame({"signature": pl.Series(values, dtype=pl.Array(pl.UInt32, self.permutations))})


@dataclass(frozen=True)
class Cluster(Step):
    """Connected components of the documents that share a band, over all sources.

    A cluster is named by the smallest id in it, so that no order, layout or worker count can change it.
    Memory: 17 bytes a document and one band's keys; the keys of all bands lie on disk.
    """

    name: ClassVar[str] = "clusters"
    signatures: dict[str, Output]
    bands: int
    rows: int

    @property
    def partitions(self) -> int:
        return 1

    @property
    def rows_expected(self) -> int:
        return sum(output.counts.kept for output in self.signatures.values())

    def run(self, partition: int, out: Path) -> Counts:
        n = self.rows_expected
        spill = out / "bands.tmp"
        keys = np.memmap(spill, dtype=np.uint64, mode="w+", shape=(self.bands, max(n, 1)))
        member = np.zeros(n, dtype=bool)
        ids, start = [], 0
        for source in sorted(self.signatures):
            for part in self.signatures[source].parts():
                for batch in read_batches(part, ["id", "signature"], rows=65_536):
                    if batch.height == 0:
                        continue
                    flat = batch["signature"].explode().to_numpy()
                    signature = flat.reshape(batch.height, -1).astype(np.uint32, copy=False)
                    stop = start + len(signature)
                    keys[:, start:stop] = band_keys(signature, self.bands, self.rows)
                    member[start:stop] = has_words(signature)
                    ids.append(batch["id"])
                    start = stop
        components = Components(n)
        members = np.flatnonzero(member)
        for band in range(self.bands):
            components.join_equal(np.asarray(keys[band, :n])[members], members)
        del keys
        spill.unlink()
        frame = pl.DataFrame({"id": pl.concat(ids) if ids else pl.Series([], dtype=pl.String)}).with_columns(
            label=pl.Series(components.labels()),
        )
        frame = frame.select(
            "id",
            near_cluster=pl.col("id").min().over("label"),
            near_cluster_size=pl.len().over("label").cast(pl.Int64),
        ).sort("id")
        write_parquet(frame, part_file(out, 0))
        return Counts(read=n, kept=frame.height)
