"""The steps around our deduplication that make of it what datatrove's pipelines are: documents in, survivors out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from benchmarks.corpus import Corpus
from plm_data.attributes.measure import DocumentStep
from plm_data.dedup.clusters import Bands, Cluster, Match, NearClusters, Sign, buckets_for
from plm_data.engine import Step, run_steps
from plm_data.store import Counts, Output, Store
from plm_data.tables import part_file, read_slices, slice_writer, write_parquet
from plm_data.text.normalise import hashes_of


def documents(made: Corpus) -> Output:
    """A corpus as the output of a step that has run."""
    folder = made.folder / "files"
    name = made.folder.name
    return Output("documents", name, folder, Counts(made.documents, made.documents), reused=True, content=name)


@dataclass(frozen=True)
class Hash(DocumentStep):
    """The content hash of each document: what normalising does with texts that it holds, here read from Parquet."""

    name: ClassVar[str] = "benchmark-hash"

    def run(self, partition: int, out: Path) -> Counts:
        rows = 0
        with (
            slice_writer(part_file(out, partition)) as write,
            pq.ParquetFile(self.documents.parts()[partition]) as file,
        ):
            for group in range(file.metadata.num_row_groups):
                table = file.read_row_group(group, columns=["id", "text"])
                texts = table["text"].combine_chunks()
                _, offsets, data = texts.buffers()
                bounds = np.frombuffer(offsets, dtype=np.int32)[: len(texts) + 1]
                hashes = hashes_of(np.frombuffer(data, dtype=np.uint8), bounds)
                write(table.select(["id"]).append_column("content_hash", hashes.to_arrow()))
                rows += table.num_rows
        return Counts(rows, rows)


@dataclass(frozen=True)
class FirstOf(Step):
    """The ids that survive: of the documents that agree in a column, the one of the smallest id."""

    name: ClassVar[str] = "benchmark-first"
    labelled: Output
    column: str

    @property
    def partitions(self) -> int:
        return 1

    @property
    def rows_expected(self) -> int:
        return self.labelled.counts.kept

    def run(self, partition: int, out: Path) -> Counts:
        frame = pl.read_parquet(self.labelled.parts(), columns=["id", self.column])
        kept = frame.group_by(self.column).agg(pl.col("id").min()).select(pl.col("id").sort())
        write_parquet(kept, part_file(out, 0))
        return Counts(frame.height, kept.height, frame.height - kept.height)


@dataclass(frozen=True)
class Keep(DocumentStep):
    """The documents that survive, as Parquet."""

    name: ClassVar[str] = "benchmark-keep"
    survivors: Output

    def run(self, partition: int, out: Path) -> Counts:
        ids = pl.read_parquet(self.survivors.parts())
        read = kept = 0
        with slice_writer(part_file(out, partition)) as write:
            for documents in read_slices(self.documents.parts()[partition], ["id", "text"]):
                stay = documents.join(ids, on="id", how="semi")
                write(stay)
                read, kept = read + documents.height, kept + stay.height
        return Counts(read, kept, read - kept)


def near_clusters(store: Store, source: Output, bands: int, rows: int, shingle_words: int, workers: int) -> Output:
    """Each document's near cluster, by the steps of a build."""

    def one(step: Step) -> Output:
        return run_steps(store, [step], step.name, workers)[0]

    pieces, buckets = len(source.parts()), buckets_for(source.counts.kept * bands)
    signed = one(Sign(documents=source, permutations=bands * rows, shingle_words=shingle_words))
    banded = one(Bands(signatures=signed, bands=bands, rows=rows, buckets=buckets))
    matched = one(Match(bands={"corpus": banded}, signatures={"corpus": signed}, buckets=buckets))
    clustered = one(Cluster(matched=matched, pieces=pieces))
    return one(NearClusters(signatures=signed, clusters=clustered, pieces=pieces))


def kept_ids(kept: Output) -> list[str]:
    """The ids of the surviving documents, sorted."""
    found: list[str] = pl.read_parquet(kept.parts(), columns=["id"])["id"].sort().to_list()
    return found
