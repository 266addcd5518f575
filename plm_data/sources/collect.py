"""Collect: what the readers find, as documents with ids. Normalise: the same documents in their normal form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from plm_data.engine import Step
from plm_data.recipe_sources import SourceSpec
from plm_data.shuffle import gather, scatter, scatter_file, scatter_files
from plm_data.sources import make_reader
from plm_data.sources.base import Reader, Rejected, Watched
from plm_data.sources.python_env import UNKNOWN_LICENSE
from plm_data.store import Counts, Output
from plm_data.tables import SLICE_BYTES, part_file, runs, slice_writer
from plm_data.text.hashing import document_id, partition_of
from plm_data.text.normalise import content_hash, normalise

# More replacement characters than this share of a text mean that its bytes were read in the wrong encoding.
MAX_REPLACEMENT_SHARE = 0.05

_FOUND = pa.schema([(name, pa.large_string()) for name in ("id", "name", "text", "license")])
DOCUMENT = ["id", "name", "text", "license", "content_hash", "bytes"]
_METADATA = pa.schema([(name, pa.large_string()) for name in ("id", "metadata")])
# What a row takes in memory besides its longer strings.
_ROW_BYTES = 400
_REJECTED = pa.schema([(name, pa.string()) for name in ("id", "name", "verdict", "reason", "detail")])


class RejectedRows:
    """Rows that are not kept, written slice by slice: a filter may drop nearly all of a source."""

    def __init__(self, write: Callable[[pa.Table], None]):
        self._write = write
        self._rows: list[tuple[str, str, str, str, str]] = []
        self._bytes = 0
        self.dropped = self.quarantined = 0

    def add(self, identity: str, name: str, verdict: str, reason: str, detail: str) -> None:
        if verdict == "quarantined":
            self.quarantined += 1
        else:
            self.dropped += 1
        self._rows.append((identity, name, verdict, reason, detail))
        self._bytes += _ROW_BYTES + len(name) + len(detail)
        if self._bytes >= SLICE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held; once at least, also if there is nothing."""
        columns = zip(*sorted(self._rows), strict=True) if self._rows else ([] for _ in _REJECTED)
        self._write(pa.table([pa.array(values, pa.string()) for values in columns], schema=_REJECTED))
        self._rows, self._bytes = [], 0


@contextmanager
def rejected_rows(out: Path, partition: int) -> Iterator[RejectedRows]:
    """The file of a partition's rejected rows, whole or not there."""
    with slice_writer(part_file(out, partition, "rejected")) as write:
        rows = RejectedRows(write)
        yield rows
        rows.flush()


@dataclass(frozen=True)
class Collect(Step):
    """Read one source, piece by piece, and send each document to the partition of its id.

    What a reader knows beside a document lies in files of its own (``metadata``: id and a JSON object), which are
    there only if it knows something.
    """

    name: ClassVar[str] = "collect"
    source: str
    spec: SourceSpec
    fingerprint: str
    pieces: int

    @property
    def partitions(self) -> int:
        return self.pieces

    def reader(self) -> Reader:
        """What gives the documents."""
        return make_reader(self.source, self.spec)

    def run(self, partition: int, out: Path) -> Counts:
        kept = size = 0
        columns: tuple[list[str], ...] = ([], [], [], [])
        known: list[dict[str, str]] = []
        with (
            scatter(scatter_file(out, partition, "found"), _FOUND, self.pieces, "lz4") as rows,
            rejected_rows(out, partition) as rejected,
            ExitStack() as stack,
        ):
            write_known: Callable[[pa.Table], None] | None = None

            def flush() -> None:
                nonlocal size, write_known
                if known:
                    write_known = write_known or stack.enter_context(
                        slice_writer(part_file(out, partition, "metadata"))
                    )
                    write_known(pa.Table.from_pylist(known, schema=_METADATA))
                    known.clear()
                table = pa.table([pa.array(values, pa.large_string()) for values in columns], schema=_FOUND)
                rows.add(table, np.array([partition_of(identity, self.pieces) for identity in columns[0]]))
                size = 0
                for values in columns:
                    values.clear()

            reader = self.reader()
            if isinstance(reader, Watched):
                reader.check_unchanged(self.fingerprint)
            for item in reader.read(partition, self.pieces):
                identity = document_id(self.source, item.name)
                if isinstance(item, Rejected):
                    rejected.add(identity, item.name, item.verdict, item.reason, item.detail)
                    continue
                license_name = self.spec.license if item.license == UNKNOWN_LICENSE else item.license
                text = item.text.encode("utf-8", "replace").decode("utf-8")
                for values, value in zip(columns, (identity, item.name, text, license_name), strict=True):
                    values.append(value)
                if item.metadata:
                    known.append({"id": identity, "metadata": json.dumps(item.metadata, ensure_ascii=False)})
                    size += len(known[-1]["metadata"])
                kept, size = kept + 1, size + _ROW_BYTES + len(item.name) + len(text)
                if size >= SLICE_BYTES:
                    flush()
            flush()
        dropped, quarantined = rejected.dropped, rejected.quarantined
        return Counts(kept + dropped + quarantined, kept, dropped, quarantined)


@dataclass(frozen=True)
class Normalise(Step):
    """One partition's documents in their normal form, with the hash of their content and their size in bytes.

    Of documents with one name but other texts, all but one are quarantined.
    """

    name: ClassVar[str] = "normalise"
    collected: Output
    pieces: int

    @property
    def partitions(self) -> int:
        return self.pieces

    @property
    def rows_expected(self) -> int:
        return self.collected.counts.kept

    def run(self, partition: int, out: Path) -> Counts:
        found = scatter_files(self.collected.path, "found")
        best = self._best_of_repeated(found, partition)
        read = kept = 0
        with slice_writer(part_file(out, partition)) as write, rejected_rows(out, partition) as rejected:
            write(self.documents(pl.DataFrame(schema=dict.fromkeys(_FOUND.names, pl.String)), rejected))
            for batch in _batches(gather(found, partition, self.pieces)):
                read += batch.height
                documents = self.documents(_without_repeated(batch, best, rejected), rejected)
                kept += documents.height
                write(documents)
        return Counts(read, kept, rejected.dropped, rejected.quarantined)

    def documents(self, batch: pl.DataFrame, rejected: RejectedRows) -> pl.DataFrame:
        """The documents of a batch; what holds none is added to ``rejected``."""
        frame = batch.with_columns(normalise(batch["text"]))
        frame = frame.with_columns(
            bad=pl.col("text").str.count_matches("\ufffd", literal=True)
            > MAX_REPLACEMENT_SHARE * pl.col("text").str.len_chars(),
            empty=~pl.col("text").str.contains(r"\S"),
        )
        for identity, name, empty in frame.filter(pl.col("bad") | pl.col("empty")).select("id", "name", "empty").rows():
            reason, detail = (
                ("empty", "no text after normalising") if empty else ("broken-encoding", "many replacement characters")
            )
            rejected.add(identity, name, "quarantined", reason, detail)
        kept = frame.filter(~(pl.col("bad") | pl.col("empty")))
        return kept.with_columns(
            content_hash(kept["text"]), bytes=pl.col("text").str.len_bytes().cast(pl.Int64)
        ).select(DOCUMENT)  # fmt: skip

    def _best_of_repeated(self, found: list[Path], partition: int) -> dict[str, str]:
        """Id → hash of the text that keeps it, for the ids that come more than once: the smallest, in any order."""
        counts: Counter[str] = Counter()
        for frame in gather(found, partition, self.pieces):
            counts.update(frame["id"].to_list())
        repeated = [identity for identity, count in counts.items() if count > 1]
        best: dict[str, str] = {}
        for frame in gather(found, partition, self.pieces) if repeated else ():
            rows = frame.filter(pl.col("id").is_in(repeated))
            for identity, digest in zip(rows["id"], content_hash(rows["text"]), strict=True):
                best[identity] = min(digest, best.get(identity, digest))
        return best


def _batches(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The rows of the frames, in batches of about ``SLICE_BYTES`` of text."""
    held: list[pl.DataFrame] = []
    size = 0
    for frame in frames:
        for start, length in runs(frame["text"]):
            held.append(frame.slice(start, length))
            size += int(held[-1]["text"].str.len_bytes().sum())
            if size >= SLICE_BYTES:
                yield pl.concat(held)
                held, size = [], 0
    if held:
        yield pl.concat(held)


def _without_repeated(batch: pl.DataFrame, best: dict[str, str], rejected: RejectedRows) -> pl.DataFrame:
    """The rows that keep their id; an id is struck out of ``best`` once it is taken, so that only one row keeps it."""
    if not best:
        return batch
    keep = np.ones(batch.height, dtype=bool)
    rows = batch.with_row_index("row").filter(pl.col("id").is_in(list(best)))
    for row, identity, name, digest in zip(
        rows["row"], rows["id"], rows["name"], content_hash(rows["text"]), strict=True
    ):
        if best[identity] == digest:
            best[identity] = f"taken {digest}"
            continue
        keep[row] = False
        same = best[identity] == f"taken {digest}"
        verdict, reason, detail = (
            ("dropped", "repeated", "the same text")
            if same
            else ("quarantined", "repeated-name", "another text under a name that is taken")
        )
        rejected.add(identity, name, verdict, reason, detail)
    return batch.filter(pl.Series(keep))
