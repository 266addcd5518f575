"""Limits for trials: of a source only so many documents or bytes, drawn by content hash and seed.

All documents stand in one seeded order of their content hashes, and a limit keeps the longest beginning of it that
fits. So no position, partition or worker counts, and what a larger limit keeps holds all that a smaller one does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from plm_data.engine import Step
from plm_data.recipe_sources import SourceSpec
from plm_data.sources.collect import DOCUMENT
from plm_data.store import Counts, Output, write_json
from plm_data.tables import part_file, read_slices, slice_writer
from plm_data.text.hashing import ranks

# Ranks are counted by their first 16 bits; only the bucket in which a limit falls is then looked at row by row.
_BUCKETS, _SHIFT = 1 << 16, 48
_SALT = "limit"
_FILE = "limit.json"


def limits(spec: SourceSpec, min_bytes_per_token: float) -> tuple[int | None, int | None]:
    """Most documents and most bytes that a source may give; None: no limit.

    No text is tokenised yet, so a limit of tokens is one of the bytes that cannot give more.
    """
    sizes = [spec.limit_bytes] if spec.limit_bytes is not None else []
    if spec.limit_tokens is not None:
        sizes.append(int(spec.limit_tokens * min_bytes_per_token))
    return spec.limit_documents, min(sizes, default=None)


@dataclass(frozen=True)
class Limit(Step):
    """Where the order of a source's documents is cut: a pass over their hashes and sizes, and one over a bucket."""

    name: ClassVar[str] = "limit"
    documents: Output
    most_documents: int | None
    most_bytes: int | None
    seed: int

    @property
    def partitions(self) -> int:
        return 1

    @property
    def rows_expected(self) -> int:
        return self.documents.counts.kept

    def run(self, partition: int, out: Path) -> Counts:
        counts, sizes = np.zeros(_BUCKETS, np.int64), np.zeros(_BUCKETS, np.int64)
        for _, rank, size in self._columns():
            bucket = (rank >> np.uint64(_SHIFT)).astype(np.int64)
            np.add.at(counts, bucket, 1)
            np.add.at(sizes, bucket, size)
        whole = int(self._fitting(np.cumsum(counts), np.cumsum(sizes)).sum())
        before = int(counts[:whole].sum()), int(sizes[:whole].sum())
        cut = self._within(whole, *before) if whole < _BUCKETS else (_BUCKETS << _SHIFT, "")
        write_json(out / _FILE, dict(zip(("rank", "last"), cut, strict=True)))
        read = int(counts.sum())
        return Counts(read, read)

    def _columns(self) -> Iterator[tuple[pl.Series, np.ndarray, np.ndarray]]:
        """Ids, ranks (uint64) and sizes in bytes (int64), slice by slice."""
        for part in self.documents.parts():
            for frame in read_slices(part, ["id", "content_hash", "bytes"]):
                yield frame["id"], ranks(self.seed, _SALT, frame["content_hash"]), frame["bytes"].to_numpy()

    def _fitting(self, documents: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Whether so many documents of so many bytes in all are within the limits."""
        fits = np.ones(len(documents), dtype=bool)
        if self.most_documents is not None:
            fits &= documents <= self.most_documents
        if self.most_bytes is not None:
            fits &= size <= self.most_bytes
        return fits

    def _within(self, bucket: int, documents: int, size: int) -> tuple[int, str]:
        """Rank and id of the last document that fits, of a bucket before which so much is kept already."""
        rows: list[tuple[int, str, int]] = []
        for ids, rank, sizes in self._columns():
            here = np.flatnonzero(rank >> np.uint64(_SHIFT) == bucket)
            rows += zip(rank[here].tolist(), ids.gather(here).to_list(), sizes[here].tolist(), strict=True)
        rows.sort()
        numbers = documents + np.arange(1, len(rows) + 1)
        fitting = int(self._fitting(numbers, size + np.cumsum([row[2] for row in rows])).sum())
        # Before the bucket's first rank, if not even its first document fits.
        return rows[fitting - 1][:2] if fitting else (bucket << _SHIFT, "")


@dataclass(frozen=True)
class Sample(Step):
    """One partition's documents up to where ``Limit`` cuts; the others are dropped."""

    name: ClassVar[str] = "sample"
    columns: ClassVar[tuple[str, ...]] = tuple(DOCUMENT)
    documents: Output
    limit: Output
    seed: int

    @property
    def partitions(self) -> int:
        return len(self.documents.parts())

    @property
    def rows_expected(self) -> int:
        return self.documents.counts.kept

    def run(self, partition: int, out: Path) -> Counts:
        cut = json.loads((self.limit.path / _FILE).read_text(encoding="utf-8"))
        told = {"verdict": "dropped", "reason": "limit", "detail": "beyond the limit of its source"}
        beyond = {name: pl.lit(value) for name, value in told.items()}
        read = kept = 0
        with (
            slice_writer(part_file(out, partition)) as write,
            slice_writer(part_file(out, partition, "rejected")) as reject,
        ):
            for frame in read_slices(part_file(self.documents.path, partition), self.columns):
                keep = self._keep(frame, cut["rank"], cut["last"])
                chosen = frame.filter(keep)
                reject(frame.filter(~keep).select("id", "name", **beyond))
                read, kept = read + frame.height, kept + chosen.height
                write(chosen)
        return Counts(read, kept, read - kept)

    def _keep(self, frame: pl.DataFrame, rank: int, last: str) -> pl.Series:
        if rank >= _BUCKETS << _SHIFT:
            return pl.repeat(True, frame.height, dtype=pl.Boolean, eager=True)
        found = pl.Series(ranks(self.seed, _SALT, frame["content_hash"]), dtype=pl.UInt64)
        return (found < rank) | ((found == rank) & (frame["id"] <= last))
