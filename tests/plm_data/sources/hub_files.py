"""What the tests of the hub's readers share: Parquet files in a repository, and what a reader makes of them."""

from __future__ import annotations

import io
import random

import pyarrow as pa
import pyarrow.parquet as pq

from plm_data.recipe_sources import HubSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.hub import HubReader
from tests.plm_data.sources.hub_server import REVISION

PATH = "owner/corpus"


def parquet(rows: list[dict[str, object]], row_group_size: int = 10, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=row_group_size, **options)
    return sink.getvalue()


def noise(seed: int, characters: int = 400) -> str:
    """A text that snappy does not make smaller."""
    return random.Random(seed).randbytes(characters // 2).hex()


def rows(first: int, count: int) -> list[dict[str, object]]:
    return [
        {"id": f"d{i}", "text": noise(i), "lic": "MIT", "n": i, "lang": "en" if i % 3 else "fr"}
        for i in range(first, first + count)
    ]


def spec(**options: object) -> HubSource:
    common = {
        "reader": "hub", "path": PATH, "revision": REVISION, "domain": "web", "language": "en", "license": "CC0-1.0",
        "priority": 1,
    }  # fmt: skip
    return HubSource.model_validate(common | options)


def read(pieces: int = 1, **options: object) -> list[Raw | Rejected]:
    """The documents of all pieces, each read by a reader of its own as the workers do."""
    source = spec(**options)
    return [item for piece in range(pieces) for item in HubReader("web", source).read(piece, pieces)]


def texts(items: list[Raw | Rejected]) -> dict[str, str]:
    """Name → text; no document may come twice."""
    found = [(item.name, item.text) for item in items if isinstance(item, Raw)]
    assert len(dict(found)) == len(found)
    return dict(found)


def expected(*groups: list[dict[str, object]]) -> dict[str, str]:
    return {str(row["id"]): str(row["text"]) for group in groups for row in group}
