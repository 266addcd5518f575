"""Collect: what the readers find, as documents with ids. Normalise: the same documents in their normal form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl
import pyarrow as pa

from plm_data.engine import Step
from plm_data.recipe import SourceSpec
from plm_data.sources import make_reader
from plm_data.sources.base import Rejected
from plm_data.sources.python_env import UNKNOWN_LICENSE
from plm_data.store import Counts, Output
from plm_data.tables import part_file, read_batches, write_parquet
from plm_data.text.hashing import document_id
from plm_data.text.normalise import content_hash, normalise

# More replacement characters than this share of a text mean that its bytes were read in the wrong encoding.
_MAX_REPLACEMENT_SHARE = 0.05

_DOCUMENT = pa.schema([(name, pa.string()) for name in ("id", "name", "text", "license")])
_REJECTED = pa.schema([(name, pa.string()) for name in ("id", "name", "verdict", "reason", "detail")])


def _write_rejected(out: Path, partition: int, rows: list[dict[str, str]]) -> tuple[int, int]:
    """Write what was not kept; returns how many were dropped and how many quarantined."""
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]), schema=_REJECTED)
    write_parquet(table, part_file(out, partition, "rejected"))
    quarantined = sum(row["verdict"] == "quarantined" for row in rows)
    return len(rows) - quarantined, quarantined


@dataclass(frozen=True)
class Collect(Step):
    """Read one source. Of documents with one name but other texts, all but one are quarantined."""

    name: ClassVar[str] = "collect"
    source: str
    spec: SourceSpec
    fingerprint: str
    pieces: int

    @property
    def partitions(self) -> int:
        return self.pieces

    def run(self, partition: int, out: Path) -> Counts:
        documents: dict[str, dict[str, str]] = {}
        rejected: list[dict[str, str]] = []
        read = 0
        for item in make_reader(self.source, self.spec).read(partition, self.pieces):
            read += 1
            identity = document_id(self.source, item.name)
            if isinstance(item, Rejected):
                rejected.append({"id": identity, **vars(item)})
                continue
            text = item.text.encode("utf-8", "replace").decode("utf-8")
            license_name = self.spec.license if item.license == UNKNOWN_LICENSE else item.license
            row = {"id": identity, "name": item.name, "text": text, "license": license_name}
            if (other := documents.get(identity)) is None:
                documents[identity] = row
            elif other["text"] == text:
                rejected.append({"id": identity, **vars(Rejected(item.name, "dropped", "repeated", "the same text"))})
            else:
                # The smaller text stays, so that the order of the rows does not decide.
                documents[identity] = min(other, row, key=lambda each: each["text"])
                reason = Rejected(item.name, "quarantined", "repeated-name", "another text under a name that is taken")
                rejected.append({"id": identity, **vars(reason)})
        table = pa.Table.from_pylist([documents[key] for key in sorted(documents)], schema=_DOCUMENT)
        write_parquet(table, part_file(out, partition))
        dropped, quarantined = _write_rejected(out, partition, rejected)
        return Counts(read, len(documents), dropped, quarantined)


@dataclass(frozen=True)
class Normalise(Step):
    """The documents in their normal form, with the hash of their content and their size in bytes."""

    name: ClassVar[str] = "normalise"
    collected: Output

    @property
    def partitions(self) -> int:
        return len(self.collected.parts())

    @property
    def rows_expected(self) -> int:
        return self.collected.counts.kept

    def run(self, partition: int, out: Path) -> Counts:
        frames, rejected, read = [], [], 0
        for batch in read_batches(self.collected.parts()[partition], _DOCUMENT.names):
            read += batch.height
            frame = batch.with_columns(text=normalise(pl.col("text"))).with_columns(
                bad=pl.col("text").str.count_matches("\ufffd", literal=True)
                > _MAX_REPLACEMENT_SHARE * pl.col("text").str.len_chars(),
                empty=pl.col("text").str.strip_chars() == "",
            )
            for row in frame.filter(pl.col("bad") | pl.col("empty")).select("id", "name", "empty").to_dicts():
                reason, detail = (
                    ("empty", "no text after normalising")
                    if row["empty"]
                    else ("broken-encoding", "many replacement characters")
                )
                rejected.append(
                    {"id": row["id"], "name": row["name"], "verdict": "quarantined", "reason": reason, "detail": detail}
                )
            kept = frame.filter(~(pl.col("bad") | pl.col("empty"))).drop("bad", "empty")
            frames.append(
                kept.with_columns(content_hash(kept["text"]), bytes=pl.col("text").str.len_bytes().cast(pl.Int64))
            )
        documents = pl.concat(frames)
        write_parquet(documents, part_file(out, partition))
        dropped, quarantined = _write_rejected(out, partition, rejected)
        return Counts(read, documents.height, dropped, quarantined)
