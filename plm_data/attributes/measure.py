"""The attribute steps: one row a document, in the documents' own order and row groups, beside them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from plm_data.engine import Step
from plm_data.store import Counts, Output
from plm_data.tables import part_file, read_slices, slice_writer


@dataclass(frozen=True)
class DocumentStep(Step):
    """A step over every document of a source, partition by partition."""

    documents: Output

    @property
    def partitions(self) -> int:
        return len(self.documents.parts())

    @property
    def rows_expected(self) -> int:
        return self.documents.counts.kept


@dataclass(frozen=True)
class Measure(DocumentStep):
    """A step whose columns come from the texts alone, slice by slice."""

    @abstractmethod
    def measure(self, texts: pl.Series) -> pl.DataFrame:
        """The attributes of a batch of texts, one row a text."""

    def run(self, partition: int, out: Path) -> Counts:
        rows = 0
        with slice_writer(part_file(out, partition)) as write:
            for documents in read_slices(self.documents.parts()[partition], ["id", "text"]):
                rows += documents.height
                write(self.measure(documents["text"]).insert_column(0, documents["id"]))
        return Counts(read=rows, kept=rows)
