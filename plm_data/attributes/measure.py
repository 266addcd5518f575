"""The attribute steps: one row a document, in the documents' own order, beside them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from plm_data.engine import Step
from plm_data.store import Counts, Output
from plm_data.tables import part_file, read_batches, write_parquet


@dataclass(frozen=True)
class Measure(Step):
    """A step that measures every document of a source, partition by partition."""

    documents: Output

    @property
    def partitions(self) -> int:
        return len(self.documents.parts())

    @property
    def rows_expected(self) -> int:
        return self.documents.counts.kept

    @abstractmethod
    def measure(self, texts: pl.Series) -> pl.DataFrame:
        """The attributes of a batch of texts, one row a text."""

    def run(self, partition: int, out: Path) -> Counts:
        frames = [
            self.measure(batch["text"]).insert_column(0, batch["id"])
            for batch in read_batches(self.documents.parts()[partition], ["id", "text"])
        ]
        frame = pl.concat(frames)
        write_parquet(frame, part_file(out, partition))
        return Counts(read=frame.height, kept=frame.height)
