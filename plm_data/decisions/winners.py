"""Winners: of the documents that the rules keep, exactly one survivor a duplicate cluster.

The winner is the document of the highest priority, then of the highest declared quality, then the longest, then the
one with the smallest id: the same whatever the order of the rows, the buckets or the workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pyarrow as pa

from plm_data.decisions.judge import CANDIDATES
from plm_data.decisions.ledger import EXACT, LEDGER, NEAR
from plm_data.engine import Step
from plm_data.shuffle import buckets_of, gather_all, scatter, scatter_file, scatter_files
from plm_data.store import Counts, Output
from plm_data.text.hashing import nodes, partitions_of

# Candidates of one bucket, some 200 bytes each.
_CANDIDATES_A_BUCKET = 500_000

_STRING = pa.large_string()
_LOSERS = pa.schema(
    [("id", _STRING), ("source", _STRING), ("rule", _STRING), ("winner", _STRING), ("copies", pa.int64())]
)
# Candidates for their near cluster; one that has lost to an exact copy comes along with its winner.
_ENTRANTS = pa.schema([*CANDIDATES, ("exact_winner", _STRING), ("exact_copies", pa.int64())])


def buckets_for(documents: int) -> int:
    """How many buckets for the candidates among so many documents."""
    return buckets_of(documents, _CANDIDATES_A_BUCKET)


def _ranked(candidates: pl.DataFrame) -> pl.DataFrame:
    """Whoever comes first of a cluster wins it."""
    return candidates.sort(["priority", "quality", "chars", "id"], descending=[True, True, True, False])


def exact_winners(candidates: pl.DataFrame) -> pl.DataFrame:
    """``_ENTRANTS``: each candidate with the winner among its exact copies (null: itself) and how many these are."""
    ranked = _ranked(candidates)
    winner = pl.col("id").first().over("content_hash")
    cluster = pl.col("near_cluster").first().over("content_hash")
    return ranked.with_columns(
        exact_winner=pl.when(winner != pl.col("id")).then(winner),
        exact_copies=pl.len().over("content_hash").cast(pl.Int64),
        # A loser goes where its winner goes, who may itself lose to a near duplicate.
        near_cluster=cluster,
        near_cluster_size=pl.col("near_cluster_size").first().over("content_hash"),
    ).select(_ENTRANTS.names)


def near_winners(entrants: pl.DataFrame) -> pl.DataFrame:
    """Who loses, as ``_LOSERS``; each loser names the document that is kept in the end."""
    ranked = _ranked(entrants)
    contest = ranked.filter(pl.col("exact_winner").is_null() & pl.col("near_cluster").is_not_null())
    contest = contest.select(
        "id", "source", winner=pl.col("id").first().over("near_cluster"),
        copies=pl.len().over("near_cluster").cast(pl.Int64),
    ).filter(pl.col("id") != pl.col("winner"))  # fmt: skip
    near = contest.select("id", "source", rule=pl.lit(NEAR), winner="winner", copies="copies")
    final = contest.select(exact_winner="id", survivor="winner")
    exact = (
        ranked.filter(pl.col("exact_winner").is_not_null())
        .join(final, on="exact_winner", how="left")
        .select(
            "id", "source", rule=pl.lit(EXACT), winner=pl.coalesce("survivor", "exact_winner"), copies="exact_copies"
        )
    )
    return pl.concat([exact, near])


def find_duplicates(candidates: pl.DataFrame) -> pl.DataFrame:
    """Both contests at once, for a corpus whose candidates fit in memory: who loses, as ``_LOSERS``."""
    shared = candidates.filter(
        pl.col("content_hash").is_duplicated() | (pl.col("near_cluster_size").fill_null(1) > 1)
    )  # fmt: skip
    return near_winners(exact_winners(shared))


def ledger_rows(losers: pl.DataFrame) -> pl.DataFrame:
    """Losers as rows of the ledger: the value is how many documents shared the cluster, the threshold 1."""
    return losers.select(
        "id", "source", verdict=pl.lit("dropped"), rule="rule", value=pl.col("copies").cast(pl.Float64),
        threshold=pl.lit(1.0), bound=pl.lit("max"), winner="winner",
    ).cast(LEDGER)  # type: ignore[arg-type]  # fmt: skip


@dataclass(frozen=True)
class ExactWinners(Step):
    """One bucket of contents: the winner of each, then all on to the bucket of their near cluster."""

    name: ClassVar[str] = "exact"
    judged: dict[str, Output]
    buckets: int

    @property
    def partitions(self) -> int:
        return self.buckets

    @property
    def rows_expected(self) -> int:
        return sum(output.counts.kept for output in self.judged.values())

    def run(self, partition: int, out: Path) -> Counts:
        files = [
            file for source in sorted(self.judged) for file in scatter_files(self.judged[source].path, "survivors")
        ]
        candidates = gather_all(files, partition, self.buckets, CANDIDATES)
        found = exact_winners(candidates)
        lost = found["exact_winner"].is_not_null()
        # Who has neither exact nor near copies has won already.
        entrants = found.filter(lost | (pl.col("near_cluster_size").fill_null(1) > 1))
        own = pl.Series(nodes(entrants["id"]), dtype=pl.UInt64)
        bucket = entrants.select(pl.col("near_cluster").fill_null(own))["near_cluster"].to_numpy() % np.uint64(
            self.buckets
        )
        with scatter(scatter_file(out, partition, "entrants"), _ENTRANTS, self.buckets) as rows:
            rows.add(entrants, bucket.astype(np.int64))
        return Counts(read=candidates.height, kept=candidates.height - int(lost.sum()), dropped=int(lost.sum()))


@dataclass(frozen=True)
class NearWinners(Step):
    """One bucket of near clusters: the losers, sent to the partitions of their ids."""

    name: ClassVar[str] = "winners"
    entrants: Output
    buckets: int
    pieces: int

    @property
    def partitions(self) -> int:
        return self.buckets

    def run(self, partition: int, out: Path) -> Counts:
        found = gather_all(scatter_files(self.entrants.path, "entrants"), partition, self.buckets, _ENTRANTS)
        losers = near_winners(found)
        with scatter(scatter_file(out, partition, "losers"), _LOSERS, self.pieces) as rows:
            rows.add(losers, partitions_of(nodes(losers["id"]), self.pieces))
        return Counts(read=found.height, kept=found.height - losers.height, dropped=losers.height)


def read_losers(won: Output, partition: int, pieces: int) -> pl.DataFrame:
    """The losers of one partition, of all sources, as ``_LOSERS``."""
    return gather_all(scatter_files(won.path, "losers"), partition, pieces, _LOSERS)
