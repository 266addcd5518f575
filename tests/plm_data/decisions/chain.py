"""The decision steps over hand-made columns, as a build runs them: Judge, ExactWinners, NearWinners, Decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from plm_data.decisions.judge import Judge
from plm_data.decisions.ledger import rule_columns
from plm_data.decisions.verdicts import Decide
from plm_data.decisions.winners import ExactWinners, NearWinners
from plm_data.engine import run_steps
from plm_data.store import Counts, Output, Store, digest
from plm_data.tables import part_file, write_parquet
from plm_data.text.hashing import partition_of

_MEASURES = sorted({*rule_columns(), "chars"} - {"language_match"})
_REJECTED = dict.fromkeys(["id", "name", "verdict", "reason", "detail"], pl.String)


def named(name: str) -> str:
    """The id that a name of at most eight letters stands for; ids are in the order of their names."""
    return (name.encode().hex() + "00" + digest(name))[:32]


def name_of(identity: str) -> str:
    return bytes.fromhex(identity).split(b"\0")[0].decode()


def content(text: str) -> str:
    return digest(text)[:32]


def cluster(name: str) -> int:
    return int(digest(name)[:16], 16)


@dataclass(frozen=True)
class Documents:
    """One source's outputs before the decision; ``columns`` by the names that ``SourceColumns`` gives them."""

    collected: Output
    columns: dict[str, Output]


@dataclass(frozen=True)
class Decided:
    """What the last step made, by source; ids in the tables are names again."""

    outputs: dict[str, Output]

    def table(self, name: str) -> pl.DataFrame:
        frames = {source: pl.read_parquet(output.parts(name)) for source, output in self.outputs.items()}
        # Each source tells of its own documents alone.
        assert all(set(frame["source"]) <= {source} for source, frame in frames.items())
        frame = pl.concat(frames.values())
        back = pl.col("id", "winner") if "winner" in frame.columns else pl.col("id")
        return frame.with_columns(back.map_elements(name_of, pl.String))

    def kept(self) -> set[str]:
        return set(self.table("verdicts").filter(pl.col("verdict") == "kept")["id"])

    def losers(self) -> dict[str, tuple[str, str]]:
        """Document → the rule of its duplicates by which it lost, and to whom."""
        lost = self.table("ledger").filter(pl.col("rule").str.starts_with("dedup."))
        return {row[0]: (row[1], row[2]) for row in lost.select("id", "rule", "winner").iter_rows()}


def _write(folder: Path, step: str, frames: Sequence[pl.DataFrame], rejected: Sequence[pl.DataFrame] = ()) -> Output:
    out = folder / step
    out.mkdir(parents=True)
    for piece, frame in enumerate(frames):
        # More than one row group, so that slices have to go together.
        write_parquet(frame, part_file(out, piece), row_group_rows=2)
    for piece, frame in enumerate(rejected):
        write_parquet(frame, part_file(out, piece, "rejected"))
    kept, refused = (sum(frame.height for frame in each) for each in (frames, rejected))
    return Output(step, step, out, Counts(kept + refused, kept, 0, refused), False, content=str(out))


def make_columns(
    folder: Path, documents: list[dict], near: bool = True, pieces: int = 1, rejected: list[dict] | None = None
) -> Documents:
    """One source's columns; a document has an ``id`` (a name), and what it does not say is 0.

    ``content`` and ``cluster`` are any strings that say who are copies of each other; a document without is alone.
    """
    rows = [
        {
            "id": named(d["id"]), "name": d["id"], "license": "MIT", "content_hash": content(d.get("content", d["id"])),
            "bytes": 10, "language": "en", "language_match": float(d.get("language_match", 0)), "token_count": 5,
            "near_cluster": cluster(d.get("cluster", d["id"])), "near_cluster_size": d.get("size", 1),
            **{name: float(d.get(name, 0)) for name in _MEASURES}, "chars": int(d.get("chars", 10)),
        }
        for d in documents
    ]  # fmt: skip
    schema = {
        **dict.fromkeys(["id", "name", "license", "content_hash", "language"], pl.String), "bytes": pl.Int64,
        "language_match": pl.Float64, "token_count": pl.Int64, "near_cluster": pl.UInt64, "near_cluster_size": pl.Int64,
        **dict.fromkeys(_MEASURES, pl.Float64), "chars": pl.Int64,
    }  # fmt: skip
    frames = [
        pl.DataFrame([row for row in rows if partition_of(row["id"], pieces) == piece], schema=schema)
        for piece in range(pieces)
    ]
    refused = [
        pl.DataFrame(
            [
                {**row, "id": named(row["name"])}
                for row in rejected or []
                if partition_of(named(row["name"]), pieces) == piece
            ],
            schema=_REJECTED,
        )
        for piece in range(pieces)
    ]

    def part(step: str, *columns: str) -> Output:
        return _write(folder, step, [frame.select("id", *columns) for frame in frames])

    none = [frame.clear() for frame in refused]
    collected = _write(folder, "collect", [frame.select("id") for frame in frames], refused)
    texts = [frame.select("id", "name", "license", "content_hash", "bytes") for frame in frames]
    columns = {
        "documents": _write(folder, "normalise", texts, none), "heuristics": part("heuristics", *_MEASURES),
        "language": part("language", "language", "language_match"), "tokens": part("tokens", "token_count"),
    }  # fmt: skip
    if near:
        columns["near"] = part("near", "near_cluster", "near_cluster_size")
    return Documents(collected, columns)


def decide(
    folder: Path,
    sources: dict[str, list[dict]],
    thresholds: dict[str, float | None] | None = None,
    *,
    priorities: dict[str, int] | None = None,
    exact_only: Sequence[str] = (),
    quality: str | None = None,
    pieces: int = 1,
    buckets: int = 1,
    rejected: dict[str, list[dict]] | None = None,
) -> Decided:
    """Decide over the documents of some sources, whose columns are made by ``make_columns``."""  # fmt: skip
    sizes: dict[str, int] = {}
    for source, documents in sources.items():
        for document in documents if source not in exact_only else ():
            own = document.get("cluster", document["id"])
            sizes[own] = sizes.get(own, 0) + 1
    made = {
        source: make_columns(
            folder / source, [{"size": sizes.get(d.get("cluster", d["id"]), 1), **d} for d in documents],
            source not in exact_only, pieces, (rejected or {}).get(source),
        )
        for source, documents in sources.items()
    }  # fmt: skip
    store = Store(folder / "store")
    judging = [
        Judge(
            source=source, columns=each.columns, thresholds=thresholds or {},
            priority=(priorities or {}).get(source, 1), quality=quality, buckets=buckets,
        )
        for source, each in made.items()
    ]  # fmt: skip
    judged = dict(zip(made, run_steps(store, judging, "judge"), strict=True))
    exact = run_steps(store, [ExactWinners(judged=judged, buckets=buckets)], "exact")[0]
    won = run_steps(store, [NearWinners(entrants=exact, buckets=buckets, pieces=pieces)], "winners")[0]
    deciding = [
        Decide(
            source=source, domain="web", through=(each.collected, each.columns["documents"]), columns=each.columns,
            judged=judged[source], won=won,
        )
        for source, each in made.items()
    ]  # fmt: skip
    return Decided(dict(zip(made, run_steps(store, deciding, "decide"), strict=True)))
