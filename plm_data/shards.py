"""Phase shards: what the trainer reads, and nothing else.

Parquet, zstd; a row is a document: ``id, text, source, domain, language, license, tokens`` (list of int32, the
end-of-text token last, unless the document is cut), in the phase's final order. ``manifest.json`` counts the rows as
they were written, and each shard's own footer and sources, read back, must say the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from plm_data.attributes.tokens import END_OF_TEXT, load_tokenizer, token_lists
from plm_data.engine import Step
from plm_data.errors import StoreError
from plm_data.mix.select import read_placed
from plm_data.recipe import ContextStage, ShardSpec
from plm_data.rows import gather_rows
from plm_data.shuffle import gather_batches, scatter, scatter_file, scatter_files
from plm_data.store import Counts, Output, file_sha256, write_json
from plm_data.tables import ZSTD_LEVEL, temporary_name

FORMAT = 1
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "text", "source", "domain", "language", "license")]
    + [("tokens", pa.list_(pa.int32()))]
)
# Of the columns of a shard those that a row's source says.
_OF_SOURCE = ("domain", "language")
# Batches of a shard's rows are gathered as they lie; of more than so many, neighbours are joined first.
_MOST_TABLES = 64
# Columns of few different values.
_REPEATED = ["source", "domain", "language", "license"]


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a phase's folder; raises ``StoreError`` if there is none that lists shards."""
    path = folder / "manifest.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        complete = {"phase", "sources"} <= found.keys() and isinstance(found["key"], str)
        counted = [found, *found["shards"]]
        complete = complete and all(isinstance(each[name], int) for each in counted for name in ("rows", "tokens"))
        complete = complete and all(isinstance(s[name], str) for s in found["shards"] for name in ("file", "sha256"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise StoreError(
            f"{path}: no manifest of a phase's shards; expected the folder of a phase that `plm build` made."
        )
    return dict(found)


def shard_file(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.parquet"


def shard_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of a shard's Parquet; the same rows in the same groups always give the same bytes."""
    return pq.ParquetWriter(
        path, schema, compression="zstd", compression_level=ZSTD_LEVEL, store_schema=False, use_dictionary=_REPEATED,
        write_statistics=_REPEATED,
    )  # fmt: skip


@dataclass(frozen=True)
class Fetch(Step):
    """The texts and tokens of a phase's rows, one partition of every source, each sent to its shard.

    ``edited``: the heuristics of the sources whose texts are as C4's line rules edit them.
    """

    name: ClassVar[str] = "fetch"
    schema: ClassVar[pa.Schema] = SCHEMA
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

    @property
    def _fetched_schema(self) -> pa.Schema:
        return pa.schema([*(f for f in self.schema if f.name not in _OF_SOURCE), ("position", pa.int64())])

    def run(self, partition: int, out: Path) -> Counts:
        rows = read_placed(self.placed, partition, self.pieces)
        fetched = 0
        with scatter(scatter_file(out, partition, "fetched"), self._fetched_schema, self.shards) as to:
            for (source,), mine in rows.sort("source").group_by("source", maintain_order=True):
                for table, found in self._fetched(str(source), partition, mine):
                    to.add(table, found["position"].to_numpy() // self.rows_per_shard, found["row"].to_numpy())
                    fetched += found.height
        if fetched != rows.height:
            raise StoreError(
                f"partition {partition}: {rows.height} rows were selected, but the texts of {fetched} were found. "
                f"This is a defect; please report it."
            )
        return Counts(read=rows.height, kept=fetched)

    def finish(self, out: Path) -> dict[str, str]:
        """Nothing is keyed by what lies here until the shards are written."""
        return {file.name: "" for file in scatter_files(out, "fetched")}

    def _fetched(self, source: str, partition: int, rows: pl.DataFrame) -> Iterator[tuple[pa.Table, pl.DataFrame]]:
        """A row group of the source's documents at a time, those without any of the rows left out: a table in which
        the rows lie, and the rows with their numbers in it (``row``)."""
        outputs = [self.documents[source], self.tokens[source]]
        outputs += [self.edited[source]] if source in self.edited else []
        files = [pq.ParquetFile(output.parts()[partition]) for output in outputs]
        try:
            for group in range(files[0].num_row_groups):
                ids = files[0].read_row_group(group, columns=["id"])["id"]
                numbered = pl.DataFrame({"id": pl.Series(ids), "row": np.arange(len(ids))})
                found = numbered.join(rows, on="id", maintain_order="left")
                if found.is_empty():
                    continue
                texts = files[0].read_row_group(group, columns=["text", "license"])
                text = texts["text"]
                if source in self.edited:
                    text = pc.coalesce(files[2].read_row_group(group, columns=["c4_text"])["c4_text"], text)
                tokens = token_lists(files[1].read_row_group(group, columns=["tokens"])["tokens"])
                columns = {"id": ids, "text": text, "license": texts["license"], "tokens": tokens}
                columns |= self.further(files[0], group)
                table = pa.table({**columns, "source": pa.repeat(source, len(ids))})
                yield self._laid_out(table, found)
        finally:
            for file in files:
                file.close()

    def further(self, documents: pq.ParquetFile, group: int) -> dict[str, Any]:
        """The columns of a row group that a shard has beside those of every document."""
        return {}

    def _laid_out(self, table: pa.Table, found: pl.DataFrame) -> tuple[pa.Table, pl.DataFrame]:
        """The table with the rows' positions; what is cut, or comes once more, has a row of its own at the end."""
        moved = found.filter((pl.col("taken") < pl.col("token_count")) | ~pl.col("row").is_first_distinct())
        if moved.height:
            table = pa.concat_tables([table, self._cut(table.take(pa.array(moved["row"].to_numpy())), moved)])
            ends = pl.int_range(table.num_rows - moved.height, table.num_rows, dtype=pl.Int64, eager=True)
            stay = found.join(moved, on="position", how="anti", maintain_order="left")
            found = pl.concat([stay, moved.with_columns(row=ends)])
        positions, schema = np.zeros(table.num_rows, dtype=np.int64), self._fetched_schema
        positions[found["row"].to_numpy()] = found["position"].to_numpy()
        return table.append_column("position", pa.array(positions)).select(schema.names).cast(schema), found

    def _cut(self, table: pa.Table, rows: pl.DataFrame) -> pa.Table:
        """Cut the tokens of the rows that are not taken whole, and their text to what these tokens spell."""
        texts, tokens = table["text"].to_pylist(), table["tokens"].to_pylist()
        for i, (taken, count) in enumerate(rows.select("taken", "token_count").iter_rows()):
            if taken < count:
                tokens[i] = tokens[i][:taken]
                spelt = load_tokenizer(self.tokenizer.path).decode(tokens[i], skip_special_tokens=False)
                # The last tokens may be a part of a character, which decodes as something else.
                same = takewhile(lambda pair: pair[0] == pair[1], zip(spelt, texts[i], strict=False))
                texts[i] = "".join(character for character, _ in same)
        for name, values in (("text", texts), ("tokens", tokens)):
            at = table.schema.get_field_index(name)
            table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
        return table


@dataclass(frozen=True)
class WriteShards(Step):
    """The shards and the manifest of one phase, each shard by itself.

    ``planned``: tokens by source; ``selected``: source → rows, documents, tokens and epochs begun, as
    ``mix.select.selected`` has them, which the shards must hold when they are counted; ``fetched``: where the rows lie.
    """

    name: ClassVar[str] = "shards"
    schema: ClassVar[pa.Schema] = SCHEMA
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
        batches = list(gather_batches(files, partition, self.partitions))
        together = -(-len(batches) // _MOST_TABLES)
        tables = [pa.Table.from_batches(batches[i : i + together]) for i in range(0, len(batches), together)]
        positions = np.concatenate([table["position"].to_numpy() for table in tables])
        order = np.argsort(positions)
        first = partition * self.sizes.rows_per_shard
        if not np.array_equal(positions[order], np.arange(first, first + len(order))):
            raise StoreError(f"shard {partition} of {self.phase} lacks rows. This is a defect; please report it.")
        rows = self._named(gather_rows(tables, [np.arange(table.num_rows) for table in tables], order))
        path = shard_file(out, partition)
        temporary = temporary_name(path)
        with shard_writer(temporary, self.schema) as writer:
            for start in range(0, rows.num_rows, self.sizes.rows_per_group):
                group = rows.slice(start, self.sizes.rows_per_group)
                writer.write_table(group, row_group_size=group.num_rows)
        os.replace(temporary, path)
        write_json(_count_file(out, partition), self.count(path, rows))
        return Counts(read=rows.num_rows, kept=rows.num_rows)

    def _named(self, rows: pa.Table) -> pa.Table:
        """The rows with the domains and languages of their sources, in the order of the columns."""
        names = list(self.domains)
        source = pc.index_in(rows["source"], pa.array(names)).combine_chunks()
        for column, values in (("domain", self.domains), ("language", self.languages)):
            rows = rows.append_column(column, pa.array([values[name] for name in names]).take(source))
        return rows.select(self.schema.names)

    def finish(self, out: Path) -> dict[str, str]:
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
        return {shard["file"]: shard["sha256"] for shard in counted}

    def _manifest(self, out: Path, counted: list[dict[str, Any]], found: dict[str, tuple[int, ...]]) -> dict[str, Any]:
        tokenizer_file = self.tokenizer.path / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        return {
            "format": FORMAT,
            **self.about(counted),
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

    def about(self, counted: list[dict[str, Any]]) -> dict[str, Any]:
        """What a manifest says beside what every one does."""
        return {}

    def count(self, path: Path, rows: pa.Table) -> dict[str, Any]:
        """A shard as it is read back: its rows and tokens, in all and by source, its size and digest."""
        return _counted(path, rows)

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


def _counted(path: Path, rows: pa.Table) -> dict[str, Any]:
    """A shard that was just written: its rows and tokens, in all and by source, its size and digest.

    Its texts and tokens are not decoded again, which takes a fifth of the writing: the columns, the rows and the tokens
    that its footer counts, and its sources, which are read back, must be those of ``rows``.
    """
    lengths = pc.list_value_length(rows["tokens"])
    sizes = pl.DataFrame({"source": pl.Series(rows["source"]), "n": pl.Series(lengths)})
    by_source = sizes.group_by("source").agg(pl.len(), pl.sum("n").cast(pl.Int64)).sort("source")
    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
        # The footer counts a list without tokens as one value.
        at = next(i for i in range(len(file.schema)) if file.schema.column(i).path.startswith("tokens."))
        values = sum(group.column(at).num_values for group in groups)
        found = (file.schema_arrow.names, file.metadata.num_rows, values)
        sources = file.read(columns=["source"], use_threads=False)["source"]
    expected = (rows.schema.names, rows.num_rows, int(sizes["n"].clip(lower_bound=1).sum()))
    if found != expected or not sources.equals(rows["source"]):
        raise StoreError(
            f"{path}: expected the columns, rows and tokens {expected}, found {found}, or other sources; it was not "
            f"written as it should be. Check the disk, and run the same command again."
        )
    return {
        "file": path.name,
        "rows": rows.num_rows,
        "tokens": int(sizes["n"].sum()),
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
