"""From a training row back to its document: its source, name, attributes, duplicates, licence, phase and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from plm_data.build import HELD_OUT, Build
from plm_data.errors import PlmError
from plm_data.inspect import tables
from plm_data.inspect.explain import tell
from plm_data.shards import read_manifest
from plm_data.text.printable import clip, excerpt, printable


def manifest_of(shard: Path) -> dict[str, Any]:
    """The manifest beside a shard; raises ``PlmError`` if the file is no shard of a phase."""
    if not shard.is_file():
        raise PlmError(f"{shard}: no such file; expected a shard, such as build/nano/phase1/shard-00000.parquet.")
    found = read_manifest(shard.parent)
    if shard.name not in {entry["file"] for entry in found["shards"]}:
        raise PlmError(f"{shard.parent}: its manifest does not list {shard.name}; expected a shard of the phase.")
    return found


def read_row(shard: Path, row: int) -> dict[str, Any]:
    """One row of a shard, reading only its row group; raises ``PlmError`` if there is none of this number."""
    try:
        with pq.ParquetFile(shard) as file:
            rows, before = file.metadata.num_rows, 0
            if not 0 <= row < rows:
                raise PlmError(f"{shard}: it has no row {row}; its {rows:,} rows are numbered from 0 to {rows - 1:,}.")
            for group in range(file.num_row_groups):
                height = file.metadata.row_group(group).num_rows
                if row < before + height:
                    return dict(file.read_row_group(group).slice(row - before, 1).to_pylist()[0])
                before += height
    except (OSError, ValueError) as error:
        raise PlmError(f"{shard}: cannot be read as Parquet ({error}).") from error
    raise AssertionError("unreachable: the row groups hold all rows")


def trace(build: Build, shard: Path, row: int) -> Iterator[str]:
    """The story of a row as lines. Raises ``PlmError`` if the shard is not of this build as its recipe stands."""
    manifest, found = manifest_of(shard), read_row(shard, row)
    phase = manifest["phase"]
    shards = [entry["file"] for entry in manifest["shards"]]
    number = shards.index(shard.name)
    position = sum(entry["rows"] for entry in manifest["shards"][:number]) + row
    yield f"row {row:,} of {shard.name}, which is row {position:,} of {phase} ({manifest['segment']})"
    yield f"  tokens    {len(found['tokens']):,}"
    yield f"  source    {found['source']} ({found['domain']}, {found['language']})"
    yield f"  licence   {printable(found['license'])}"
    yield from _epoch(build, phase, manifest["key"], found["id"], position)
    yield excerpt(found["text"], 300, "    | ")
    yield ""
    curation = build.chat(phase) if phase in build.recipe.after else build
    yield "Its document:" if curation is build else "Its conversation:"
    document = tables.verdicts(curation).filter(pl.col("id") == found["id"]).head(1).collect().to_dicts()[0]
    yield tell(build, curation, document)


def _epoch(build: Build, phase: str, key: str, identity: str, position: int) -> Iterator[str]:
    built = build.built(phase) if phase in (*build.all_phases, HELD_OUT) else None
    if built is None or built[2].key != key:
        raise PlmError(
            f"the shard is not of {phase} of {clip(build.recipe.name, 60)} as its recipe stands now; build it again "
            f"with `plm build`, or name its recipe with -r."
        )
    curation = build.chat(phase) if phase in build.recipe.after else build
    rows = tables.placed_rows(curation, built[1], identity).filter(pl.col("position") == position)
    epoch, taken, whole = rows.select("epoch", "taken", "token_count").row(0)
    cut = f"; cut to its first {taken:,} of {whole:,} tokens" if taken < whole else ""
    yield f"  epoch     {epoch + 1} of its source{cut}"
