"""What the tests of the reader of local files share."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from plm_data.recipe_sources import FilesSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.files import FilesReader

GOOD = [{"id": f"d{i}", "text": f"text {i} é\n", "lic": "MIT" if i % 2 else None} for i in range(40)]


def spec(*paths: str, **options: object) -> FilesSource:
    common = {"reader": "files", "domain": "web", "language": "en", "license": "CC0-1.0", "priority": 1}
    return FilesSource.model_validate(common | {"paths": paths} | options)


def read(*paths: str, pieces: int = 1, **options: object) -> list[Raw | Rejected]:
    source = spec(*paths, **options)
    return [item for piece in range(pieces) for item in FilesReader("web", source).read(piece, pieces)]


def refused(items: list[Raw | Rejected]) -> list[tuple[str, str]]:
    assert all(item.verdict == "quarantined" for item in items if isinstance(item, Rejected))
    return [(item.name, item.reason) for item in items if isinstance(item, Rejected)]


def documents(items: list[Raw | Rejected]) -> list[tuple[str, str]]:
    return [(item.name, item.text) for item in items if isinstance(item, Raw)]


def lines(rows: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


def write_good(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    data = lines(GOOD)
    for suffix in ("jsonl", "ndjson", "json"):
        (folder / f"a.{suffix}").write_bytes(data)
        (folder / f"a.{suffix}.gz").write_bytes(gzip.compress(data))
        (folder / f"a.{suffix}.zst").write_bytes(zstd(data))
    pq.write_table(pa.Table.from_pylist(GOOD), folder / "a.parquet", row_group_size=7)


def parquet(path: Path, texts: pa.Array, ids: pa.Array | None = None, **options: object) -> None:
    pq.write_table(pa.table({"text": texts} if ids is None else {"text": texts, "id": ids}), path, **options)
