"""Phase shards: what the trainer reads, and nothing else.

Parquet, zstd; a row is a document: ``id, text, source, domain, language, license, tokens`` (list of int32, the
end-of-text token last, unless the document is cut), in the phase's final order. ``manifest.json`` counts what was
written by reading the shards back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from plm_data.attributes.tokens import END_OF_TEXT, load_tokenizer
from plm_data.engine import Step
from plm_data.errors import StoreError
from plm_data.mix.select import read_placed
from plm_data.recipe import ContextStage, ShardSpec
from plm_data.shuffle import gather, scatter, scatter_file, scatter_files
from plm_data.store import Counts, Output, file_sha256, write_json
from plm_data.tables import ZSTD_LEVEL, temporary_name

FORMAT = 1
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "text", "source", "domain", "language", "license")]
    + [("tokens", pa.list_(pa.int32()))]
)
_STRING = pa.large_string()
_FETCHED = pa.schema(
    [("id", _STRING), ("source", _STRING), ("position", pa.int64()), ("text", _STRING), ("license", _STRING),
     ("tokens", pa.large_list(pa.int32()))]
)  # fmt: skip
# Columns of few different values.
_REPEATED = ["source", "domain", "language", "license"]


def shard_file(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.parquet"


def shard_writer(path: Path) -> pq.ParquetWriter:
    """A writer of a shard's Parquet; the same rows in the same groups always give the same bytes."""
    return pq.ParquetWriter(
        path, SCHEMA, compression="zstd", compression_level=ZSTD_LEVEL, store_schema=False, use_dictionary=_REPEATED,
        write_statistics=_REPEATED,
    )  # fmt: skip


@dataclass(frozen=True)
class Fetch(Step):
    """The texts and tokens of a phase's rows, one partition of every source, each sent to its shard.

    ``edited``: the heuristics of the sources whose texts are as C4's line rules edit them.
    """

    name: ClassVar[str] = "fetch"
    placed: Output
    pieces: int
    documents: dict[str, Output]
    edited: dict[str, Output]
    tokens: dict[str, Output]
    tokenizer: Output
    rows_per_shard: int
    shards: int

    @property
    def partitions(self) -> int:
        return self.pieces

    @property
    def rows_expected(self) -> int:
        return self.placed.counts.kept

    def run(self, partition: int, out: Path) -> Counts:
        rows = read_placed(self.placed, partition, self.pieces)
        fetched = 0
        with scatter(scatter_file(out, partition, "fetched"), _FETCHED, self.shards, "lz4") as to:
            for (source,), mine in rows.sort("source").group_by("source", maintain_order=True):
                for found in self._fetched(str(source), partition, mine):
                    shard = found["position"].to_numpy() // self.rows_per_shard
                    to.add(found.select(_FETCHED.names), shard)
                    fetched += found.height
        if fetched != rows.height:
            raise StoreError(
                f"partition {partition}: {rows.height} rows were selected, but the texts of {fetched} were found. "
                f"This is a defect; please report it."
            )
        return Counts(read=rows.height, kept=fetched)

    def _fetched(self, source: str, partition: int, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Text and tokens of the rows, a row group of the source's documents at a time; one without any is skipped."""
        files = [(self.documents[source], ["text", "license"]), (self.tokens[source], ["tokens"])]
        if source in self.edited:
            files.append((self.edited[source], ["c4_text"]))
        opened = [(pq.ParquetFile(output.parts()[partition], memory_map=True), names) for output, names in files]
        try:
            for group in range(opened[0][0].num_row_groups):
                ids = _column(opened[0][0], group, ["id"])["id"]
                wanted = pl.DataFrame({"id": ids, "row": np.arange(len(ids))}).join(
                    rows, on="id", maintain_order="left"
                )
                if wanted.is_empty():
                    continue
                chosen = wanted["row"].to_numpy()
                columns = [_column(file, group, names)[chosen] for file, names in opened]
                found = pl.concat([wanted, *columns], how="horizontal")
                if source in self.edited:
                    found = found.with_columns(text=pl.coalesce("c4_text", "text"))
                yield self._cut(found)
        finally:
            for file, _ in opened:
                file.close()

    def _cut(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Cut the tokens of the rows that are not taken whole, and their text to what these tokens spell."""
        cut = np.flatnonzero((rows["taken"] < rows["token_count"]).to_numpy())
        if not len(cut):
            return rows
        tokenizer = load_tokenizer(self.tokenizer.path)
        texts = rows["text"].clone()
        for row in cut.tolist():
            spelt = tokenizer.decode(rows["tokens"][row].head(rows["taken"][row]).to_list(), skip_special_tokens=False)
            # The last tokens may be a part of a character, which decodes as something else.
            same = takewhile(lambda pair: pair[0] == pair[1], zip(spelt, texts[row], strict=False))
            texts = texts.scatter(row, "".join(character for character, _ in same))
        return rows.with_columns(texts, tokens=pl.col("tokens").list.head("taken"))


def _column(file: pq.ParquetFile, group: int, names: Sequence[str]) -> pl.DataFrame:
    frame = pl.from_arrow(file.read_row_group(group, columns=list(names)))
    assert isinstance(frame, pl.DataFrame)
    return frame.select(names)


@dataclass(frozen=True)
class WriteShards(Step):
    """The shards and the manifest of one phase, each shard by itself.

    ``planned``: tokens by source; ``selected``: source → rows, documents, tokens and epochs begun, as
    ``mix.select.selected`` has them, which the shards must hold when they are counted; ``fetched``: where the rows lie.
    """

    name: ClassVar[str] = "shards"
    unkeyed: ClassVar[frozenset[str]] = frozenset({"fetched"})
    recipe: str
    phase: str
    segment: str
    placed: Output
    documents: dict[str, Output]
    edited: dict[str, Output]
    tokens: dict[str, Output]
    planned: dict[str, int]
    selected: dict[str, tuple[int, int, int, int]]
    domains: dict[str, str]
    languages: dict[str, str]
    tokenizer: Output
    sizes: ShardSpec
    context: tuple[ContextStage, ...]
    fetched: Output | None = None

    @property
    def rows(self) -> int:
        return sum(rows for rows, *_ in self.selected.values())

    @property
    def partitions(self) -> int:
        return -(-self.rows // self.sizes.rows_per_shard)

    @property
    def rows_expected(self) -> int:
        return self.rows

    def run(self, partition: int, out: Path) -> Counts:
        if self.fetched is None:
            raise StoreError(f"the rows of {self.phase} are not fetched. This is a defect; please report it.")
        files = scatter_files(self.fetched.path, "fetched")
        rows = pl.concat(gather(files, partition, self.partitions)).sort("position")
        first = partition * self.sizes.rows_per_shard
        if not rows["position"].equals(pl.int_range(first, first + rows.height, eager=True).alias("position")):
            raise StoreError(f"shard {partition} of {self.phase} lacks rows. This is a defect; please report it.")
        path = shard_file(out, partition)
        temporary = temporary_name(path)
        with shard_writer(temporary) as writer:
            for group in rows.iter_slices(self.sizes.rows_per_group):
                writer.write_table(self._table(group), row_group_size=group.height)
        os.replace(temporary, path)
        write_json(_count_file(out, partition), _counted(path))
        return Counts(read=rows.height, kept=rows.height)

    def _table(self, rows: pl.DataFrame) -> pa.Table:
        named = rows.select(
            "id", "text", "source", pl.col("source").replace_strict(self.domains).alias("domain"),
            pl.col("source").replace_strict(self.languages).alias("language"), "license", "tokens",
        )  # fmt: skip
        return named.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(SCHEMA)

    def finish(self, out: Path) -> None:
        """Write the manifest from the shards' counts; refuse shards that are not what was selected."""
        files = [_count_file(out, number) for number in range(self.partitions)]
        counted = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        found = {
            source: tuple(sum(shard["sources"].get(source, [0, 0])[i] for shard in counted) for i in range(2))
            for source in self.planned
        }
        chosen = {source: (rows, tokens) for source, (rows, _, tokens, _) in self.selected.items()}
        if found != {source: chosen.get(source, (0, 0)) for source in self.planned}:
            raise StoreError(
                f"phase {self.phase}: the shards hold rows and tokens {found}, but {chosen} were selected. "
                f"This is a defect; please report it."
            )
        write_json(out / "manifest.json", self._manifest(out, counted, found))

    def _manifest(self, out: Path, counted: list[dict[str, Any]], found: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        tokenizer_file = self.tokenizer.path / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "phase": self.phase,
            "segment": self.segment,
            "key": self.key(),
            "rows": sum(shard["rows"] for shard in counted),
            "tokens": sum(shard["tokens"] for shard in counted),
            "tokenizer": {
                "vocab_size": tokenizer.get_vocab_size(),
                "sha256": file_sha256(tokenizer_file),
                "end_of_text": tokenizer.token_to_id(END_OF_TEXT),
            },
            "sources": {
                source: {
                    "documents": rows,
                    "tokens": tokens,
                    "planned_tokens": self.planned[source],
                    "unique_documents": self.selected[source][1] if source in self.selected else 0,
                }
                for source, (rows, tokens) in sorted(found.items())
            },
            "stages": list(self._stages(out, counted)),
            "shards": [{k: v for k, v in shard.items() if k != "sources"} for shard in counted],
        }

    def _stages(self, out: Path, counted: list[dict[str, Any]]) -> Iterator[dict[str, int]]:
        """Sequence lengths in turn, each with the tokens that it is trained on: to the end of a document."""
        total, begun, reached = sum(shard["tokens"] for shard in counted), 0.0, 0
        for stage in self.context:
            begun += stage.share
            end = total if stage is self.context[-1] else _document_end(out, counted, round(total * begun))
            yield {"sequence_length": stage.length, "tokens": end - reached}
            reached = end


def _count_file(out: Path, number: int) -> Path:
    # A marker by its name, so that it goes when the output is committed, and not before.
    return out / f"{number:05d}.count.done.json"


def _counted(path: Path) -> dict[str, Any]:
    """A shard as it is read back: its rows and tokens, in all and by source, its size and digest."""
    rows = pl.read_parquet(path, columns=["source", "tokens"]).select("source", n=pl.col("tokens").list.len())
    by_source = rows.group_by("source").agg(pl.len(), pl.sum("n").cast(pl.Int64)).sort("source")
    if pq.read_schema(path).names != SCHEMA.names:
        raise StoreError(f"{path}: expected the columns {', '.join(SCHEMA.names)}.")
    return {
        "file": path.name,
        "rows": rows.height,
        "tokens": int(rows["n"].sum()),
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "sources": {source: [count, tokens] for source, count, tokens in by_source.iter_rows()},
    }


def _document_end(out: Path, counted: list[dict[str, Any]], target: int) -> int:
    """Where the first document ends, in tokens of the phase, at or after ``target``."""
    before = 0
    for shard in counted:
        if before + shard["tokens"] >= target:
            sizes = pl.read_parquet(out / shard["file"], columns=["tokens"])["tokens"].list.len().to_numpy()
            ends = before + np.cumsum(sizes, dtype=np.int64)
            return int(ends[np.searchsorted(ends, target)])
        before += shard["tokens"]
    return before
