"""Facts of the duplicates: how large their clusters are, which sources share them, and the largest of all."""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from plm_data.build import Build
from plm_data.decisions.ledger import EXACT, NEAR

Json = dict[str, Any]

_LARGEST = 5


def duplicate_facts(build: Build, groups: dict[str, str]) -> Json:
    """Counts, sizes, who lost to whom, who overlaps with whom, and the largest clusters of near duplicates.

    Only rows of documents that have a duplicate are held, and of them ids and numbers alone.
    """
    ledger, verdicts = build.table("ledger"), build.table("verdicts")
    lost = ledger.filter(pl.col("rule").is_in([EXACT, NEAR])).select("id", "source", "rule", "winner")
    counts = dict(lost.group_by("rule").agg(pl.len()).collect(engine="streaming").iter_rows())
    clustered = verdicts.filter(pl.col("near_cluster_size") > 1)
    sizes = clustered.group_by("near_cluster_size").agg(pl.len()).collect(engine="streaming").sort("near_cluster_size")
    clusters = {size: documents // size for size, documents in sizes.iter_rows()}
    return {
        "exact": counts.get(EXACT, 0),
        "near": counts.get(NEAR, 0),
        "clusters": sum(clusters.values()),
        "largest_cluster": max(clusters, default=1),
        "sizes": {"near": _by_size(clusters), "exact": _by_size(_exact_clusters(ledger))},
        "lost_to": _lost_to(lost, verdicts, groups),
        "overlap": _overlap(clustered, groups),
        "largest": _largest(clustered, groups),
    }


def _exact_clusters(ledger: pl.LazyFrame) -> dict[int, int]:
    """Size → clusters of equal texts among the documents that the rules keep: each has one loser less than copies."""
    copies = ledger.filter(pl.col("rule") == EXACT).group_by("value").agg(pl.len()).collect(engine="streaming")
    return {int(size): losers // (int(size) - 1) for size, losers in copies.sort("value").iter_rows()}


def _by_size(clusters: dict[int, int]) -> list[Json]:
    """Clusters and documents by size: 2, 3 to 4, 5 to 8, and so on by doubling."""
    rows: dict[int, list[int]] = {}
    for size, number in clusters.items():
        row = rows.setdefault((size - 1).bit_length(), [0, 0])
        row[0] += number
        row[1] += number * size
    return [
        {"size_from": 2 ** (k - 1) + 1, "size_to": 2**k, "clusters": rows[k][0], "documents": rows[k][1]}
        for k in sorted(rows)
    ]


def _lost_to(lost: pl.LazyFrame, verdicts: pl.LazyFrame, groups: dict[str, str]) -> list[Json]:
    """Documents and tokens that one source lost because another source's document stayed."""
    winners = verdicts.select(pl.col("id").alias("winner"), pl.col("source").alias("winner_source"))
    sized = verdicts.select("id", "token_count")
    between = (
        lost.join(winners, on="winner")
        .join(sized, on="id")
        .group_by("source", "winner_source")
        .agg(
            exact=(pl.col("rule") == EXACT).sum().cast(pl.Int64),
            near=(pl.col("rule") == NEAR).sum().cast(pl.Int64),
            tokens=pl.col("token_count").sum(),
        )
        .collect(engine="streaming")
    )
    shown = between.with_columns(pl.col("source", "winner_source").replace(groups))
    summed = shown.group_by("source", "winner_source").sum().sort("source", "winner_source")
    return summed.with_columns(documents=pl.col("exact") + pl.col("near")).to_dicts()


def _overlap(clustered: pl.LazyFrame, groups: dict[str, str]) -> list[Json]:
    """Documents of ``source`` that are in a cluster with another document, of the source ``other``."""
    members = clustered.with_columns(pl.col("source").replace(groups)).group_by("near_cluster", "source")
    counted = members.agg(documents=pl.len().cast(pl.Int64)).collect(engine="streaming").lazy()
    pairs = counted.join(counted.rename({"documents": "others"}), on="near_cluster", suffix="_other")
    # A document is no duplicate of itself.
    pairs = pairs.filter((pl.col("source") != pl.col("source_other")) | (pl.col("documents") > 1))
    summed = pairs.group_by("source", other="source_other").agg(
        pl.col("documents").sum(), clusters=pl.len().cast(pl.Int64)
    )
    return summed.collect().sort("source", "other").to_dicts()


def _largest(clustered: pl.LazyFrame, groups: dict[str, str]) -> list[Json]:
    """The largest clusters, with their members by source and the id of the document to show: who stayed, or the
    first where none did."""
    names = (
        clustered.group_by("near_cluster")
        .agg(pl.col("near_cluster_size").max())
        .collect(engine="streaming")
        .sort(["near_cluster_size", "near_cluster"], descending=[True, False])
        .head(_LARGEST)["near_cluster"]
    )
    members = clustered.filter(pl.col("near_cluster").is_in(names.to_list()))
    rows = members.select("near_cluster", "id", "source", "verdict", "token_count").collect().sort("id")
    found = []
    for cluster in names:
        mine = rows.filter(pl.col("near_cluster") == cluster)
        stayed = mine.filter(pl.col("verdict") == "kept")
        shown = (stayed if stayed.height else mine).row(0, named=True)
        found.append(
            {
                "documents": mine.height,
                "tokens": int(mine["token_count"].sum()),
                "kept": stayed.height,
                "by_source": dict(sorted(Counter(groups[source] for source in mine["source"]).items())),
                "id": shown["id"],
                "source": shown["source"],
            }
        )
    return found
