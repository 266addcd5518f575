"""Phase shards: what the trainer reads, and nothing else.

Parquet, zstd; a row is a document: ``id, text, source, domain, language, license, tokens`` (list of int32, the
end-of-text token last), in the phase's final order. ``manifest.json`` counts what was written by reading the
shards back.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer

from plm_data.attributes.tokens import END_OF_TEXT
from plm_data.engine import Step
from plm_data.errors import StoreError
from plm_data.recipe import ShardSpec
from plm_data.store import Counts, Output, file_sha256, write_json
from plm_data.tables import read_slices, write_parquet

FORMAT = 1
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "text", "source", "domain", "language", "license")]
    + [("tokens", pa.list_(pa.int32()))]
)


@dataclass(frozen=True)
class WriteShards(Step):
    """The shards and the manifest of one phase.

    ``edited``: the heuristics of the sources whose texts are as C4's line rules edit them.

    The phase's order is cut into shards first; each document then goes to its shard's bucket on disk, and each
    bucket is sorted and written by itself. So memory holds one part of a source and one shard, never a phase.
    """

    name: ClassVar[str] = "shards"
    recipe: str
    phase: str
    segment: str
    selection: Output
    planned: dict[str, int]
    documents: dict[str, Output]
    edited: dict[str, Output]
    tokens: dict[str, Output]
    domains: dict[str, str]
    languages: dict[str, str]
    tokenizer: Output
    sizes: ShardSpec

    @property
    def partitions(self) -> int:
        return 1

    def run(self, partition: int, out: Path) -> Counts:
        selection = pl.read_parquet(self.selection.path / "selection.parquet")
        selection = selection.with_columns(shard=pl.col("position") // self.sizes.rows_per_shard)
        buckets = out / "buckets.tmp"
        shutil.rmtree(buckets, ignore_errors=True)
        buckets.mkdir()
        for source in self.planned:
            self._fill_buckets(source, selection.filter(pl.col("source") == source), buckets)
        shards = []
        for number in range(-(-selection.height // self.sizes.rows_per_shard)):
            frame = pl.read_parquet(sorted(buckets.glob(f"{number:05d}-*.parquet"))).sort("position")
            table = frame.select(SCHEMA.names).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(SCHEMA)
            path = out / f"shard-{number:05d}.parquet"
            write_parquet(table, path, self.sizes.rows_per_group)
            shards.append(path)
        shutil.rmtree(buckets)
        manifest = self._manifest(shards, selection)
        write_json(out / "manifest.json", manifest)
        return Counts(read=selection.height, kept=manifest["rows"])

    def _fill_buckets(self, source: str, selection: pl.DataFrame, buckets: Path) -> None:
        for number in range(len(self.documents[source].parts())):
            rows = pl.concat(
                documents.join(tokens, on="id", validate="1:1").join(selection, on="id")
                for documents, tokens in self._slices(source, number)
            ).with_columns(domain=pl.lit(self.domains[source]), language=pl.lit(self.languages[source]))
            for (shard,), bucket in rows.group_by("shard"):
                bucket.drop("shard").write_parquet(buckets / f"{shard:05d}-{source}-{number:05d}.parquet")

    def _slices(self, source: str, partition: int) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Texts and tokens of a partition, slice by slice."""
        documents = read_slices(self.documents[source].parts()[partition], ["id", "text", "license"])
        tokens = read_slices(self.tokens[source].parts()[partition], ["id", "tokens"])
        if source not in self.edited:
            yield from zip(documents, tokens, strict=True)
            return
        edits = read_slices(self.edited[source].parts()[partition], ["id", "c4_text"])
        for whole, edit, ids in zip(documents, edits, tokens, strict=True):
            texts = whole.join(edit, on="id", validate="1:1", maintain_order="left")
            yield texts.with_columns(text=pl.coalesce("c4_text", "text")).drop("c4_text"), ids

    def _manifest(self, shards: list[Path], selection: pl.DataFrame) -> dict[str, Any]:
        """Count by reading back, and refuse shards that are not what was selected."""
        entries, counted = [], []
        for path in shards:
            frame = pl.read_parquet(path, columns=["source", "tokens"]).with_columns(n=pl.col("tokens").list.len())
            counted.append(frame.drop("tokens"))
            entries.append(
                {"file": path.name, "rows": frame.height, "tokens": int(frame["n"].sum()), "sha256": file_sha256(path)}
            )
            if pq.read_schema(path).names != SCHEMA.names:
                raise StoreError(f"{path}: expected the columns {', '.join(SCHEMA.names)}.")
        rows = pl.concat(counted)
        written = dict(rows.group_by("source").agg(pl.col("n").sum()).iter_rows())
        chosen = dict(selection.group_by("source").agg(pl.col("token_count").sum()).iter_rows())
        if written != chosen or rows.height != selection.height:
            raise StoreError(
                f"phase {self.phase}: the shards hold {rows.height} rows and {written} tokens, but {selection.height} "
                f"rows and {chosen} tokens were selected. This is a defect; please report it."
            )
        tokenizer_file = self.tokenizer.path / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        return {
            "format": FORMAT,
            "recipe": self.recipe,
            "phase": self.phase,
            "segment": self.segment,
            "key": self.key(),
            "rows": rows.height,
            "tokens": int(rows["n"].sum()),
            "tokenizer": {
                "vocab_size": tokenizer.get_vocab_size(),
                "sha256": file_sha256(tokenizer_file),
                "end_of_text": tokenizer.token_to_id(END_OF_TEXT),
            },
            "sources": {
                source: {
                    "documents": rows.filter(pl.col("source") == source).height,
                    "tokens": int(written.get(source, 0)),
                    "planned_tokens": planned,
                    "unique_documents": selection.filter(pl.col("source") == source)["id"].n_unique(),
                }
                for source, planned in sorted(self.planned.items())
            },
            "shards": entries,
        }
