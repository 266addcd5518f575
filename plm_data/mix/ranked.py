"""A source's kept documents in their seeded order, on disk: buckets of ranks, each sorted when it is read.

The rank of a document comes from its content and the seed alone, so another worker, partition or source moves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from plm_data.decisions.columns import SourceColumns
from plm_data.engine import Step
from plm_data.mix.plan import Spot
from plm_data.shuffle import buckets_of, gather_all, scatter, scatter_file, scatter_files
from plm_data.store import Counts, Output
from plm_data.tables import part_file, write_parquet
from plm_data.text.hashing import ranks

# Rows of one bucket, some 100 bytes each.
ROWS_A_BUCKET = 500_000
_ROW = {"id": pa.large_string(), "rank": pa.uint64(), "tokens": pa.int64()}


def row_schema(measures: Sequence[str]) -> pa.Schema:
    """``id, rank, tokens``, and the measures that some phase is ordered by."""
    return pa.schema([*_ROW.items(), *((name, pa.float64()) for name in measures)])


def bucket_of_rank(rank: np.ndarray, buckets: int) -> np.ndarray:
    """int64: the bucket of each rank (uint64); equal ranges of ranks, in their order. At most 2^32 buckets."""
    return (((rank >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)).astype(np.int64)


@dataclass(frozen=True)
class Rank(Step):
    """The kept documents of a source, sent to the buckets of their ranks (``ranked``), the held-out ones apart
    (``held-out``); and what each bucket holds (``sums``: ``bucket, documents, tokens, largest``)."""

    name: ClassVar[str] = "rank"
    source: str
    decided: Output
    columns: dict[str, Output]
    measures: tuple[str, ...]
    held_out: float
    seed: int

    @property
    def partitions(self) -> int:
        return len(self.decided.parts("verdicts"))

    @property
    def buckets(self) -> int:
        """By the documents that the source had before any was dropped, so that a threshold moves no bucket."""
        return buckets_of(self.decided.counts.read, ROWS_A_BUCKET)

    @property
    def rows_expected(self) -> int:
        return self.decided.counts.kept

    def run(self, partition: int, out: Path) -> Counts:
        verdicts = pl.scan_parquet(self.decided.parts("verdicts")[partition]).filter(pl.col("verdict") == "kept")
        kept = verdicts.select("id", "content_hash", tokens="token_count").collect()
        if self.measures:
            columns = SourceColumns(**self.columns)
            kept = kept.join(pl.concat(columns.slices(partition, self.measures)), on="id", how="left")
        kept = kept.with_columns(
            *(pl.col(name).cast(pl.Float64) for name in self.measures),
            rank=pl.Series(ranks(self.seed, f"sample/{self.source}", kept["content_hash"]), dtype=pl.UInt64),
        )
        held = pl.Series(is_held_out(self.seed, self.held_out, kept["content_hash"]), dtype=pl.Boolean)
        schema = row_schema(self.measures)
        rows = {"ranked": kept.filter(~held), "held-out": kept.filter(held)}
        for stem, frame in rows.items():
            buckets = bucket_of_rank(frame["rank"].to_numpy(), self.buckets)
            with scatter(scatter_file(out, partition, stem), schema, self.buckets) as to:
                to.add(frame.select(schema.names), buckets)
            sums = frame.select("tokens", bucket=pl.Series(buckets, dtype=pl.Int64)).group_by("bucket")
            totals = sums.agg(documents=pl.len().cast(pl.Int64), tokens=pl.sum("tokens"), largest=pl.max("tokens"))
            write_parquet(totals.sort("bucket"), part_file(out, partition, f"{stem}-sums"))
        return Counts(read=kept.height, kept=rows["ranked"].height, dropped=rows["held-out"].height)


def is_held_out(seed: int, share: float, content_hash: pl.Series) -> np.ndarray:
    """bool: which documents no phase may have; by the hash of the content alone, so that nothing else moves it."""
    limit = int(Fraction(str(share)) * 2**64)
    drawn = ranks(seed, "held-out", content_hash)
    return drawn < np.uint64(limit) if limit < 2**64 else np.ones(len(drawn), dtype=bool)


@dataclass(frozen=True)
class Ranked:
    """The axis of a source: its ranked documents, of which one bucket at a time is read.

    ``stem``: ``ranked``, or ``held-out`` for the documents that no phase has.
    """

    output: Output
    buckets: int
    measures: tuple[str, ...] = ()
    stem: str = "ranked"

    @cached_property
    def sums(self) -> pl.DataFrame:
        """``bucket, documents, tokens, largest`` of the buckets that hold any, in their order."""
        frame = pl.read_parquet(self.output.parts(f"{self.stem}-sums"))
        return frame.group_by("bucket").agg(pl.sum("documents", "tokens"), pl.max("largest")).sort("bucket")

    @cached_property
    def _starts(self) -> np.ndarray:
        """Where each bucket of ``sums`` starts on the axis, and at last where it ends."""
        return np.concatenate([[0], np.cumsum(self.sums["tokens"].to_numpy(), dtype=np.int64)])

    @property
    def total(self) -> int:
        return int(self._starts[-1])

    @property
    def documents(self) -> int:
        return int(self.sums["documents"].sum())

    @property
    def largest(self) -> int:
        return max(self.sums["largest"].to_list(), default=0)

    def rows(self, bucket: int) -> pl.DataFrame:
        """The rows of a bucket (``row_schema``), by rank and id."""
        files = scatter_files(self.output.path, self.stem)
        return gather_all(files, bucket, self.buckets, row_schema(self.measures)).sort("rank", "id")

    def locate(self, position: int) -> Spot:
        """The document that holds the token at ``position``."""
        index = int(np.searchsorted(self._starts, position, side="right")) - 1
        rows, ends = _ends(self, int(self.sums["bucket"][index]))
        row = int(np.searchsorted(ends, position - int(self._starts[index]), side="right"))
        identity, rank, tokens = rows.row(row)
        return Spot(int(self._starts[index]) + int(ends[row]) - tokens, tokens, (rank, identity))


@lru_cache(maxsize=4)
def _ends(ranked: Ranked, bucket: int) -> tuple[pl.DataFrame, np.ndarray]:
    """``id, rank, tokens`` of a bucket in their order, and where each document ends within it."""
    rows = ranked.rows(bucket).select("id", "rank", "tokens")
    return rows, np.cumsum(rows["tokens"].to_numpy(), dtype=np.int64)
