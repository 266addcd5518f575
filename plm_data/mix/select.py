"""Select: the rows of a phase, drawn from the ranked documents by its plan. Place: each row's position in the phase.

An order is a 64-bit number drawn evenly, so equal ranges of it are equal buckets, each sorted by itself: a seeded
permutation of the whole phase in the memory of one bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from plm_data.engine import Step
from plm_data.mix.plan import Piece
from plm_data.mix.ranked import Ranked, bucket_of_rank
from plm_data.shuffle import gather_all, scatter, scatter_file, scatter_files
from plm_data.store import Counts, Output
from plm_data.tables import part_file, write_parquet
from plm_data.text.hashing import mixed, nodes, partitions_of

_STRING = pa.large_string()
_ROW = {"id": _STRING, "source": _STRING, "epoch": pa.int64(), "token_count": pa.int64(), "taken": pa.int64()}
_SELECTED = pa.schema([*_ROW.items(), ("order", pa.uint64())])
PLACED = pa.schema([*_ROW.items(), ("position", pa.int64())])


@dataclass(frozen=True)
class Bands:
    """A curriculum's bands: ``bounds``, ascending, are the least values of all bands but the first."""

    by: str
    bounds: tuple[float, ...]
    descending: bool

    def of(self, values: pl.Series) -> np.ndarray:
        """uint64: the band of each value, 0 first; a missing value counts as the lowest."""
        band = np.searchsorted(np.array(self.bounds), values.fill_null(-np.inf).to_numpy(), side="right")
        return (len(self.bounds) - band if self.descending else band).astype(np.uint64)


@dataclass(frozen=True)
class Select(Step):
    """A phase's rows: ``id, source, epoch, token_count`` (of the document), ``taken`` (of these) and ``order``.

    ``stem``: of the ranked files; ``pieces``: by source, as ``Piece``s in plain values; ``cuts``: source → the id of
    the document that is cut, and its tokens that are taken. ``sums`` say what was selected of each source.
    """

    name: ClassVar[str] = "select"
    phase: str
    ranked: dict[str, Output]
    buckets: dict[str, int]
    stem: str
    measures: tuple[str, ...]
    pieces: dict[str, list[list[Any]]]
    cuts: dict[str, list[Any]]
    bands: dict[str, Any] | None
    seed: int
    order_buckets: int

    @property
    def partitions(self) -> int:
        return max(self.buckets.values())

    def _axis(self, source: str) -> Ranked:
        return Ranked(self.ranked[source], self.buckets[source], self.measures, self.stem)

    @property
    def rows_expected(self) -> int:
        return sum(self._axis(source).documents for source in self.pieces)

    def run(self, partition: int, out: Path) -> Counts:
        read = kept = 0
        sums: list[tuple[str, int, int, int, int]] = []
        sizes = np.zeros(self.order_buckets, dtype=np.int64)
        with scatter(scatter_file(out, partition, "selected"), _SELECTED, self.order_buckets) as to:
            for source in sorted(self.pieces):
                axis = self._axis(source)
                read += int(axis.sums.filter(pl.col("bucket") == partition)["documents"].sum())
                found = [rows for rows in self._rows(source, axis, partition) if rows.height]
                if not found:
                    continue
                rows = pl.concat(found)
                bucket = bucket_of_rank(rows["order"].to_numpy(), self.order_buckets)
                sizes += np.bincount(bucket, minlength=self.order_buckets)
                to.add(rows, bucket)
                documents = rows["id"].n_unique()
                kept += documents
                sums.append((source, rows.height, documents, int(rows["taken"].sum()), int(rows["epoch"].max()) + 1))  # type: ignore[arg-type]
        schema = {"source": pl.String, "rows": pl.Int64, "documents": pl.Int64, "tokens": pl.Int64, "epochs": pl.Int64}
        write_parquet(pl.DataFrame(sums, schema=schema, orient="row"), part_file(out, partition, "sums"))
        write_parquet(pl.DataFrame({"rows": sizes}), part_file(out, partition, "sizes"))
        return Counts(read=read, kept=kept, dropped=read - kept)

    def _rows(self, source: str, axis: Ranked, bucket: int) -> Iterator[pl.DataFrame]:
        """What the phase takes of one bucket of a source, piece by piece."""
        if bucket >= axis.buckets:
            return
        all_pieces = [Piece.of(values) for values in self.pieces[source]]
        pieces = [piece for piece in all_pieces if _touches(piece, bucket, axis.buckets)]
        if not pieces:
            return
        ranked = axis.rows(bucket)
        # What is cut is the end of the last piece, which is of the last epoch.
        cut, taken = self.cuts.get(source, [None, 0])
        last = all_pieces[-1].epoch
        for piece in pieces:
            rows = ranked.filter(_within(piece))
            is_cut = pl.col("id") == pl.lit(cut if piece.epoch == last else None, pl.String)
            yield rows.select(
                "id", source=pl.lit(source), epoch=pl.lit(piece.epoch, pl.Int64), token_count="tokens",
                taken=pl.when(is_cut).then(pl.lit(taken, pl.Int64)).otherwise("tokens"),
                order=pl.Series(self._order(rows, piece.epoch), dtype=pl.UInt64),
            )  # fmt: skip

    def _order(self, rows: pl.DataFrame, epoch: int) -> np.ndarray:
        order = mixed(rows["rank"].to_numpy(), self.seed, f"order/{self.phase}/{epoch}")
        if self.bands is None:
            return order
        bands = Bands(**self.bands)
        count = np.uint64(len(bands.bounds) + 1)
        return bands.of(rows[bands.by]) * np.uint64(2**64 // int(count)) + order // count


def _touches(piece: Piece, bucket: int, buckets: int) -> bool:
    """Whether a piece has documents in a bucket of ranks."""
    ends = [piece.first[0], piece.stop[0] if piece.stop else 2**64 - 1]
    first, last = bucket_of_rank(np.array(ends, dtype=np.uint64), buckets).tolist()
    return bool(first <= bucket <= last)


def _within(piece: Piece) -> pl.Expr:
    def before(key: tuple[int, str]) -> pl.Expr:
        rank = pl.lit(key[0], pl.UInt64)
        return (pl.col("rank") < rank) | ((pl.col("rank") == rank) & (pl.col("id") < key[1]))

    return ~before(piece.first) & (before(piece.stop) if piece.stop else pl.lit(True))


def selected(selection: Output) -> dict[str, tuple[int, int, int, int]]:
    """Source → rows, documents, tokens, and epochs begun of a phase, for the sources that it has any of."""
    sums = pl.read_parquet(selection.parts("sums")).group_by("source").agg(
        pl.sum("rows", "documents", "tokens"), pl.max("epochs")
    )  # fmt: skip
    return {row[0]: row[1:] for row in sums.sort("source").iter_rows()}


@dataclass(frozen=True)
class Place(Step):
    """One bucket of a phase's order, sorted: each row (``PLACED``) with its position, sent to its partition."""

    name: ClassVar[str] = "place"
    selection: Output
    order_buckets: int
    pieces: int

    @property
    def partitions(self) -> int:
        return self.order_buckets

    def run(self, partition: int, out: Path) -> Counts:
        rows = gather_all(
            scatter_files(self.selection.path, "selected"), partition, self.order_buckets, _SELECTED
        ).sort("order", "id", "epoch")  # fmt: skip
        before = pl.concat(
            pl.read_parquet(part)["rows"].head(partition) for part in self.selection.parts("sizes")
        ).sum()  # fmt: skip
        placed = rows.with_columns(position=pl.int_range(pl.len(), dtype=pl.Int64) + before).select(PLACED.names)
        with scatter(scatter_file(out, partition, "placed"), PLACED, self.pieces) as to:
            to.add(placed, partitions_of(nodes(placed["id"]), self.pieces))
        return Counts(read=rows.height, kept=rows.height)


def read_placed(placed: Output, partition: int, pieces: int) -> pl.DataFrame:
    """The phase's rows whose documents lie in a partition, as ``PLACED``."""
    return gather_all(scatter_files(placed.path, "placed"), partition, pieces, PLACED)
