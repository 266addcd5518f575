"""Judge: the rules' verdict on each document of a source, and the survivors sent on to meet their duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from plm_data.decisions.columns import SourceColumns
from plm_data.decisions.ledger import LEDGER, fails_any, fired, rule_columns
from plm_data.engine import Step
from plm_data.shuffle import scatter, scatter_file
from plm_data.store import Counts, Output
from plm_data.tables import part_file, slice_writer
from plm_data.text.hashing import nodes

_STRING = pa.large_string()
CANDIDATES = pa.schema(
    [("id", _STRING), ("source", _STRING), ("priority", pa.int64()), ("quality", pa.float64()), ("chars", pa.int64()),
     ("content_hash", _STRING), ("near_cluster", pa.uint64()), ("near_cluster_size", pa.int64())]
)  # fmt: skip


def quality_of(column: str | None) -> pl.Expr:
    """The declared quality of a document: a measure, higher is better, or lower after a ``-``; 0 without one."""
    if column is None:
        return pl.lit(0.0)
    value = pl.col(column.removeprefix("-")).cast(pl.Float64)
    return -value if column.startswith("-") else value


@dataclass(frozen=True)
class Judge(Step):
    """The rules that fire (``fired``, ledger rows) and the survivors, sent to the bucket of their content's hash."""

    name: ClassVar[str] = "judge"
    source: str
    columns: dict[str, Output]
    thresholds: dict[str, float | None]
    priority: int
    quality: str | None
    buckets: int

    @property
    def _columns(self) -> SourceColumns:
        return SourceColumns(**self.columns)

    @property
    def partitions(self) -> int:
        return len(self._columns.documents.parts())

    @property
    def rows_expected(self) -> int:
        return self._columns.documents.counts.kept

    def run(self, partition: int, out: Path) -> Counts:
        names = ["chars", "content_hash", "near_cluster", "near_cluster_size", *rule_columns()]
        if self.quality:
            names.append(self.quality.removeprefix("-"))
        read = kept = 0
        with (
            slice_writer(part_file(out, partition, "fired")) as write,
            scatter(scatter_file(out, partition, "survivors"), CANDIDATES, self.buckets) as rows,
        ):
            write(pl.DataFrame(schema=LEDGER))
            for found in self._columns.slices(partition, list(dict.fromkeys(names))):
                documents = found.with_columns(
                    source=pl.lit(self.source),
                    priority=pl.lit(self.priority, pl.Int64),
                    quality=quality_of(self.quality),
                )
                write(fired(documents, self.thresholds))
                survivors = documents.filter(~fails_any(self.thresholds)).select(CANDIDATES.names)
                rows.add(survivors, bucket_of(survivors["content_hash"], self.buckets))
                read, kept = read + documents.height, kept + survivors.height
        return Counts(read=read, kept=kept, dropped=read - kept)


def bucket_of(content_hash: pl.Series, buckets: int) -> np.ndarray:
    """int64: the bucket in which all documents of one content meet."""
    return (nodes(content_hash) % np.uint64(buckets)).astype(np.int64)
