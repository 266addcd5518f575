"""The near-duplicate steps: signatures of each source, then over all sources the bands they share, the clusters
these make, and each document's cluster as an attribute.

Which member of a cluster survives is decided later, among those that the rules keep. Every step works on one
partition or one bucket at a time, so memory does not grow with the corpus; documents are known by the first 64 bits
of their ids, so nothing depends on their order or on how they are laid out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from plm_data.attributes.measure import DocumentStep
from plm_data.dedup import verify
from plm_data.dedup.components import components, forest
from plm_data.dedup.minhash import band_keys, has_words, shingle_hashes, signatures_of
from plm_data.engine import Step
from plm_data.shuffle import buckets_of, gather_all, scatter, scatter_file, scatter_files
from plm_data.store import Counts, Output
from plm_data.tables import part_file, read_slices, slice_writer
from plm_data.text.hashing import nodes, partitions_of

# Band keys of one bucket, and cluster members of one: 16 and 24 bytes each, and some copies while they are sorted.
_KEYS_A_BUCKET = 2_000_000

_KEYS = pa.schema([("key", pa.uint64()), ("node", pa.uint64())])
_STARS = pa.schema([("node", pa.uint64()), ("cluster", pa.uint64())])
_MEMBERS = pa.schema([("node", pa.uint64()), ("cluster", pa.uint64()), ("size", pa.int64())])


@dataclass(frozen=True)
class Sign(DocumentStep):
    """The MinHash signature of each document: a fixed-size binary column of ``permutations`` little-endian uint32.

    ``keep_shingles``: also keep each document's set of shingle hashes, for the Jaccard check of pairs.
    """

    name: ClassVar[str] = "signatures"
    permutations: int
    shingle_words: int
    keep_shingles: bool = False

    def run(self, partition: int, out: Path) -> Counts:
        rows = 0
        with (
            slice_writer(part_file(out, partition), noise=["signature"]) as write,
            verify.shingle_writer(out, partition, self.keep_shingles) as keep,
        ):
            for documents in read_slices(self.documents.parts()[partition], ["id", "text"]):
                rows += documents.height
                hashes, offsets = shingle_hashes(documents["text"], self.shingle_words)
                write(_signature_table(documents["id"], signatures_of(hashes, offsets, self.permutations)))
                keep(nodes(documents["id"]), hashes, offsets)
        return Counts(read=rows, kept=rows)


def _signature_table(ids: pl.Series, values: np.ndarray) -> pa.Table:
    kind = pa.binary(4 * values.shape[1])
    buffer = pa.py_buffer(np.ascontiguousarray(values, dtype="<u4"))
    column = pa.FixedSizeBinaryArray.from_buffers(kind, len(values), [None, buffer])
    return pa.table({"id": ids.to_arrow(compat_level=pl.CompatLevel.oldest()), "signature": column})


def read_signatures(part: Path) -> Iterator[tuple[pl.Series, np.ndarray]]:
    """Ids and signatures (uint32 ``[n, permutations]``) of a part of ``Sign``'s output, by its row groups."""
    with pq.ParquetFile(part) as file:
        for group in range(file.metadata.num_row_groups):
            table = file.read_row_group(group, columns=["id", "signature"]).combine_chunks()
            column = table["signature"].chunk(0)
            values = np.frombuffer(column.buffers()[1], "<u4").reshape(len(column), -1)
            ids = pl.from_arrow(table["id"])
            assert isinstance(ids, pl.Series)
            yield ids, values


@dataclass(frozen=True)
class _SignatureStep(Step):
    """A step over every signature of a source, partition by partition."""

    signatures: Output

    @property
    def partitions(self) -> int:
        return len(self.signatures.parts())

    @property
    def rows_expected(self) -> int:
        return self.signatures.counts.kept


@dataclass(frozen=True)
class Bands(_SignatureStep):
    """The band keys of one source's documents, each sent to its bucket: equal keys meet there."""

    name: ClassVar[str] = "bands"
    bands: int
    rows: int
    buckets: int

    def run(self, partition: int, out: Path) -> Counts:
        read = 0
        with scatter(scatter_file(out, partition, "keys"), _KEYS, self.buckets) as rows:
            for ids, signature in read_signatures(self.signatures.parts()[partition]):
                read += len(ids)
                members = has_words(signature)
                keys = band_keys(signature[members], self.bands, self.rows).ravel()
                table = pa.table([keys, np.tile(nodes(ids)[members], self.bands)], schema=_KEYS)
                rows.add(table, (keys % np.uint64(self.buckets)).astype(np.int64))
        return Counts(read=read, kept=read)


def buckets_for(rows: int) -> int:
    """How many buckets for so many band keys, or cluster members."""
    return buckets_of(rows, _KEYS_A_BUCKET)


@dataclass(frozen=True)
class Match(Step):
    """The documents that share a band, bucket by bucket, as edges of their components.

    ``min_jaccard``: a pair counts only if its shingle sets are so similar; ``signatures`` must hold the shingles.
    """

    name: ClassVar[str] = "match"
    bands: dict[str, Output]
    signatures: dict[str, Output]
    buckets: int
    min_jaccard: float | None = None

    @property
    def partitions(self) -> int:
        return self.buckets

    def run(self, partition: int, out: Path) -> Counts:
        files = [file for source in sorted(self.bands) for file in scatter_files(self.bands[source].path, "keys")]
        frame = gather_all(files, partition, self.buckets, _KEYS).sort("key", "node")
        key, node = frame["key"].to_numpy(), frame["node"].to_numpy()
        if self.min_jaccard is None:
            same = key[1:] == key[:-1]
            edges = np.stack([node[1:][same], node[:-1][same]], axis=1)
        else:
            folders = [self.signatures[source].path for source in sorted(self.signatures)]
            edges = verify.verified_pairs(key, node, folders, self.min_jaccard)
        np.save(out / f"edges-{partition:05d}.npy", forest(edges))
        return Counts(read=len(key), kept=len(key))


@dataclass(frozen=True)
class Cluster(Step):
    """Connected components over all buckets' edges: the members of every cluster of two or more documents, with its
    name (its smallest node) and size, sent to the partitions of their ids. Counts are of the edges."""

    name: ClassVar[str] = "clusters"
    matched: Output
    pieces: int

    @property
    def partitions(self) -> int:
        return 1

    def run(self, partition: int, out: Path) -> Counts:
        files = sorted(self.matched.path.glob("edges-*.npy"))
        total = sum(len(np.load(file, mmap_mode="r")) for file in files)
        buckets = buckets_for(total)
        stars = out / "stars.tmp"
        with scatter(stars, _STARS, buckets) as rows:
            for part in components((np.load(file) for file in files), out / "components.tmp"):
                bucket = (part[:, 1] % np.uint64(buckets)).astype(np.int64)
                rows.add(pa.table([part[:, 0], part[:, 1]], schema=_STARS), bucket)
        with scatter(scatter_file(out, 0, "members"), _MEMBERS, self.pieces) as rows:
            for bucket_number in range(buckets):
                frame = gather_all([stars], bucket_number, buckets, _STARS)
                members = pl.concat([frame, frame.select(node="cluster", cluster="cluster").unique()])
                members = members.with_columns(size=pl.len().over("cluster").cast(pl.Int64)).sort("node")
                rows.add(members, partitions_of(members["node"].to_numpy(), self.pieces))
        stars.unlink()
        shutil.rmtree(out / "components.tmp", ignore_errors=True)
        return Counts(read=total, kept=total)


@dataclass(frozen=True)
class NearClusters(_SignatureStep):
    """Each document's cluster and its size, as columns beside the documents: ``near_cluster`` (uint64, the first 64
    bits of the smallest id in it) and ``near_cluster_size``; a document alone is its own cluster."""

    name: ClassVar[str] = "near"
    clusters: Output
    pieces: int

    def run(self, partition: int, out: Path) -> Counts:
        members = gather_all(scatter_files(self.clusters.path, "members"), partition, self.pieces, _MEMBERS)
        rows = 0
        with slice_writer(part_file(out, partition)) as write:
            for documents in read_slices(self.signatures.parts()[partition], ["id"]):
                rows += documents.height
                found = documents.with_columns(node=pl.Series(nodes(documents["id"]), dtype=pl.UInt64)).join(
                    members, on="node", how="left", maintain_order="left"
                )
                write(
                    found.select(
                        "id",
                        near_cluster=pl.coalesce("cluster", "node"),
                        near_cluster_size=pl.coalesce("size", pl.lit(1, pl.Int64)),
                    )
                )
        return Counts(read=rows, kept=rows)
