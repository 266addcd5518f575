"""Decisions: thresholds over attributes, then one survivor a duplicate cluster, all told in a ledger.

Nothing here reads a text: a changed threshold re-decides from the columns alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from plm_data.engine import Step
from plm_data.errors import GuardrailError
from plm_data.recipe import Guardrails
from plm_data.rules import RULE_SETS, rule_names
from plm_data.store import Counts, Output
from plm_data.tables import write_parquet

_LEDGER = {
    "id": pl.String, "source": pl.String, "verdict": pl.String, "rule": pl.String, "value": pl.Float64,
    "threshold": pl.Float64, "bound": pl.String, "winner": pl.String,
}  # fmt: skip
EXACT, NEAR = "dedup.exact", "dedup.near"


@dataclass(frozen=True)
class SourceColumns:
    """The outputs that hold one source's columns, and what the recipe says of it."""

    collected: Output
    documents: Output
    heuristics: Output
    language: Output
    tokens: Output


@dataclass(frozen=True)
class Decide(Step):
    """The ledger (one row a document and rule that fired; one row for a document that none did) and the verdicts.

    ``thresholds``: source → ``set.key`` → threshold or None. ``clusters`` covers the sources whose near
    duplicates count. ``ledger.parquet`` and ``verdicts.parquet`` are sorted by source and id.
    """

    name: ClassVar[str] = "decide"
    columns: dict[str, list[Output]]
    clusters: Output
    thresholds: dict[str, dict[str, float | None]]
    priorities: dict[str, int]
    domains: dict[str, str]

    @property
    def partitions(self) -> int:
        return 1

    @property
    def rows_expected(self) -> int:
        return sum(SourceColumns(*outputs).collected.counts.read for outputs in self.columns.values())

    def run(self, partition: int, out: Path) -> Counts:
        sources = sorted(self.columns)
        documents = pl.concat([self._documents(source) for source in sources])
        fired = pl.concat([self._fired(source, documents.filter(pl.col("source") == source)) for source in sources])
        survivors = documents.join(fired.select("id").unique(), on="id", how="anti")
        duplicates = find_duplicates(survivors)
        fired = pl.concat([fired, duplicates.select(list(_LEDGER))])
        rejected = pl.concat([self._rejected(source) for source in sources])

        dropped = fired.select("id").unique()
        kept = documents.join(dropped, on="id", how="anti")
        kept_rows = kept.select("id", "source", verdict=pl.lit("kept")).select(
            *(pl.col(n) if n in ("id", "source", "verdict") else pl.lit(None, t).alias(n) for n, t in _LEDGER.items())
        )
        ledger = pl.concat([fired, rejected.select(list(_LEDGER)), kept_rows]).sort("source", "id", "rule")

        # A document's reason is the rule that comes first in the order of the rules, duplicates last.
        order = {name: i for i, name in enumerate([*rule_names(), EXACT, NEAR])}
        reasons = (
            fired.with_columns(order=pl.col("rule").replace_strict(order, return_dtype=pl.Int32))
            .sort("id", "order")
            .group_by("id", maintain_order=True)
            .agg(reason=pl.col("rule").first(), winner=pl.col("winner").drop_nulls().first())
        )
        verdicts = documents.join(reasons, on="id", how="left").with_columns(
            verdict=pl.when(pl.col("reason").is_null()).then(pl.lit("kept")).otherwise(pl.lit("dropped"))
        )
        verdicts = verdicts.select(
            "id", "source", "domain", "name", "license", "verdict", "reason", "winner", "token_count", "bytes",
            "content_hash", "near_cluster", "near_cluster_size", "detected_language",
        ).sort("source", "id")  # fmt: skip
        for name, frame in (
            ("ledger", ledger),
            ("verdicts", verdicts),
            ("rejected", rejected.sort("source", "id", "rule", "name", "detail")),
        ):
            write_parquet(frame, out / f"{name}.parquet")
        quarantined = rejected.filter(pl.col("verdict") == "quarantined").height
        return Counts(
            read=documents.height + rejected.height,
            kept=kept.height,
            dropped=documents.height - kept.height + rejected.height - quarantined,
            quarantined=quarantined,
        )

    def _documents(self, source: str) -> pl.DataFrame:
        columns = SourceColumns(*self.columns[source])
        base = pl.read_parquet(
            columns.documents.parts(), columns=["id", "name", "license", "content_hash", "bytes"]
        ).with_columns(source=pl.lit(source), domain=pl.lit(self.domains[source]), priority=self.priorities[source])
        language = pl.read_parquet(columns.language.parts()).rename({"language": "detected_language"})
        tokens = pl.read_parquet(columns.tokens.parts(), columns=["id", "token_count"])
        clusters = pl.read_parquet(self.clusters.parts())
        return (
            base.join(pl.read_parquet(columns.heuristics.parts()), on="id", validate="1:1")
            .join(language, on="id", validate="1:1")
            .join(tokens, on="id", validate="1:1")
            .join(clusters, on="id", how="left")
        )

    def _fired(self, source: str, documents: pl.DataFrame) -> pl.DataFrame:
        rows = [pl.DataFrame(schema=_LEDGER)]
        for rules in RULE_SETS:
            for rule in rules.rules:
                threshold = self.thresholds[source].get(f"{rules.name}.{rule.key}")
                if threshold is None:
                    continue
                value = pl.col(rule.column).cast(pl.Float64)
                failing = documents.filter(value < threshold if rule.bound == "min" else value > threshold)
                rows.append(
                    failing.select(
                        "id",
                        "source",
                        verdict=pl.lit("dropped"),
                        rule=pl.lit(f"{rules.name}.{rule.key}"),
                        value=value,
                        threshold=pl.lit(threshold, pl.Float64),
                        bound=pl.lit(rule.bound),
                        winner=pl.lit(None, pl.String),
                    )
                )
        return pl.concat(rows)

    def _rejected(self, source: str) -> pl.DataFrame:
        columns = SourceColumns(*self.columns[source])
        frames = [
            pl.read_parquet(output.parts("rejected")).with_columns(rule=pl.lit(f"{output.step}.") + pl.col("reason"))
            for output in (columns.collected, columns.documents)
        ]
        none = {name: pl.lit(None, _LEDGER[name]) for name in ("value", "threshold", "bound", "winner")}
        return pl.concat(frames).select(
            "id", "verdict", "rule", "name", "detail", source=pl.lit(source), **none
        )  # fmt: skip


def find_duplicates(survivors: pl.DataFrame) -> pl.DataFrame:
    """Ledger rows of the documents that lose to a duplicate.

    ``survivors``: id, source, priority, chars, content_hash, near_cluster (null: near duplicates do not count).
    Exact duplicates first, then near ones among the winners. The winner is the document of the highest priority,
    then the longest, then the one with the smallest id: so it is the same whatever the order of the rows. Each
    loser names the document that is kept in the end, and as value how many documents shared its cluster.
    """
    ranked = survivors.sort(["priority", "chars", "id"], descending=[True, True, False])
    exact = ranked.with_columns(
        winner=pl.col("id").first().over("content_hash"), value=pl.len().over("content_hash").cast(pl.Float64)
    )
    exact_losers = exact.filter(pl.col("winner") != pl.col("id"))
    near = exact.filter((pl.col("winner") == pl.col("id")) & pl.col("near_cluster").is_not_null()).with_columns(
        winner=pl.col("id").first().over("near_cluster"), value=pl.len().over("near_cluster").cast(pl.Float64)
    )
    near_losers = near.filter(pl.col("winner") != pl.col("id"))
    # The winner among exact copies may itself lose to a near duplicate: then that one is the survivor.
    final = near_losers.select(pl.col("id").alias("winner"), pl.col("winner").alias("survivor"))
    exact_losers = exact_losers.join(final, on="winner", how="left").with_columns(
        winner=pl.coalesce("survivor", "winner")
    )
    return pl.concat(
        frame.select(
            "id", "source", verdict=pl.lit("dropped"), rule=pl.lit(rule), value="value", threshold=pl.lit(1.0),
            bound=pl.lit("max"), winner="winner",
        )
        for frame, rule in ((exact_losers, EXACT), (near_losers, NEAR))
    )  # fmt: skip


def check_guardrails(decided: Output, guardrails: Guardrails) -> None:
    """Stop a build that goes wrong: raises ``GuardrailError`` naming the source, the figure and the limit."""
    verdicts = pl.read_parquet(decided.path / "verdicts.parquet")
    rejected = pl.read_parquet(decided.path / "rejected.parquet")
    quarantined = rejected.filter(pl.col("verdict") == "quarantined")
    for source in sorted({*verdicts["source"], *rejected["source"]}):
        rows = verdicts.filter(pl.col("source") == source)
        loss = rows.filter(pl.col("verdict") != "kept").height / max(rows.height, 1)
        if loss > guardrails.max_source_loss:
            worst = rows["reason"].drop_nulls().value_counts(sort=True).head(3)
            named = ", ".join(f"{row['reason']} {row['count']}" for row in worst.to_dicts())
            raise GuardrailError(
                f"source {source}: {loss:.1%} of its {rows.height} documents were dropped, more than "
                f"curate.guardrails.max_source_loss = {guardrails.max_source_loss:.1%}. Costliest rules: {named}. "
                f"Change the thresholds for this source, or the guardrail."
            )
        bad = quarantined.filter(pl.col("source") == source).height
        total = rows.height + rejected.filter(pl.col("source") == source).height
        if bad / total > guardrails.max_quarantined:
            raise GuardrailError(
                f"source {source}: {bad} of {total} documents are quarantined, more than "
                f"curate.guardrails.max_quarantined = {guardrails.max_quarantined:.1%}. "
                f"See {decided.path / 'rejected.parquet'} for the reasons."
            )
    largest = verdicts["near_cluster_size"].max()
    if isinstance(largest, int) and largest > guardrails.max_cluster:
        raise GuardrailError(
            f"a near-duplicate cluster holds {largest} documents, more than curate.guardrails.max_cluster = "
            f"{guardrails.max_cluster}. Raise rows in curate.dedup (a stricter match), or the guardrail."
        )
