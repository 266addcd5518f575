"""Two builds beside each other: whether their shards are the same to the byte, and if not, where they part."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from plm_data.errors import StoreError
from plm_data.locking.verify import Lineage, content_of, phase_folders, store_of
from plm_data.shards import WriteShards, read_manifest
from plm_data.store import file_sha256
from plm_data.text.printable import clip

_EXCERPT = 60


def first_difference(a: Path, b: Path) -> list[str]:
    """Where two builds' phases first differ, as lines for people: the shard, row and column, and the step behind it.

    Nothing if all shards are the same to the byte; the shards are hashed anew.
    """
    one, two = ({folder.name: folder for folder in phase_folders(build)} for build in (a, b))
    for phase in sorted({*one, *two}):
        if phase not in one or phase not in two:
            return [f"{phase}: only {a if phase in one else b} has it"]
        if found := list(_phase(one[phase], two[phase])):
            return [f"{phase}: {found[0]}", *found[1:], *_origin(one[phase], two[phase])]
    return []


def _phase(a: Path, b: Path) -> Iterator[str]:
    lists = [[shard["file"] for shard in read_manifest(folder)["shards"]] for folder in (a, b)]
    for one, two in zip_longest(*lists):
        if one is None or two is None:
            yield f"{len(lists[0])} shards and {len(lists[1])} shards"
            return
        for path in (a / one, b / two):
            if not path.is_file():
                yield f"{path.name}: {path} is not there"
                return
        if file_sha256(a / one) != file_sha256(b / two):
            yield from _shard(a / one, b / two)
            return


def _shard(a: Path, b: Path) -> Iterator[str]:
    for path in (a, b):
        try:
            with pq.ParquetFile(path) as file:
                for _ in file.iter_batches(256):
                    pass
        except (OSError, pa.ArrowException) as error:
            yield f"{path.name}: {path} is broken: {' '.join(str(error).split())}"
            return
    rows = 0
    with pq.ParquetFile(a) as one, pq.ParquetFile(b) as two:
        if one.schema_arrow != two.schema_arrow:
            yield f"{a.name}: the columns are not of the same names and types"
            return
        for x, y in zip_longest(one.iter_batches(256), two.iter_batches(256)):
            if x is None or y is None or x.num_rows != y.num_rows:
                yield f"{a.name} has {one.metadata.num_rows:,} rows and {two.metadata.num_rows:,} rows"
                return
            if not x.equals(y):
                yield from _row(a.name, rows, pl.DataFrame(x), pl.DataFrame(y))
                return
            rows += x.num_rows
    yield f"{a.name}: the rows are the same, but the files' bytes are not"


def _row(name: str, before: int, a: pl.DataFrame, b: pl.DataFrame) -> Iterator[str]:
    for i, (x, y) in enumerate(zip(a.iter_rows(named=True), b.iter_rows(named=True), strict=True)):
        for column in x:
            if x[column] != y.get(column):
                yield f"{name}, row {before + i:,}, column {column!r}"
                for side, row in (("first ", x), ("second", y)):
                    yield f"  {side}  {clip(str(row.get(column)), _EXCERPT)}"
                return


def _origin(a: Path, b: Path) -> Iterator[str]:
    """The earliest steps whose outputs differ, and what was otherwise about them."""
    try:
        sides = [_depths(folder) for folder in (a, b)]
    except StoreError as error:
        yield f"At which step they part is not known: {error}"
        return
    both = {content for side in sides for content in side} - (sides[0].keys() & sides[1].keys())
    apart = [sorted((side[content][0], side[content][1]["name"], content) for content in both & side.keys())
             for side in sides]  # fmt: skip
    if not apart[0] or not apart[1]:
        return
    depth, name, _ = min(apart[0][0], apart[1][0])
    yield f"They part at the step {name}:"
    records = [
        {_of(side[content][1]): side[content][1] for d, n, content in found if (d, n) == (depth, name)}
        for side, found in zip(sides, apart, strict=True)
    ]
    for of in sorted({*records[0], *records[1]}):
        x, y = (side.get(of) for side in records)
        if x is None or y is None:
            yield f"  {of}: only one has it"
            continue
        said = ["code"] if x["code"] != y["code"] else []
        for part in ("libraries", "fields"):
            one, two = x.get(part, {}), y.get(part, {})
            said += sorted(key for key in {*one, *two} if one.get(key) != two.get(key))
        yield f"  {of}: " + (f"{', '.join(said)} differ" if said else "made from the same, it gave other bytes")


def _of(record: dict[str, Any]) -> str:
    return str(record["fields"].get("source", record["name"]))


def _depths(folder: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """Content → how far from the sources an output is, and its record."""
    store = store_of(folder.parent)
    lineage = Lineage(store)
    lineage.add(store / WriteShards.name / read_manifest(folder)["key"][:16])
    depths: dict[Path, int] = {}

    def depth(each: Path) -> int:
        if each not in depths:
            depths[each] = 0  # a record that was tampered with may name itself
            depths[each] = 1 + max((depth(before) for before in lineage.inputs[each]), default=0)
        return depths[each]

    return {content_of(record): (depth(each), record) for each, record in lineage.records.items()}
