"""Facts of the decisions: what each source gave, where every document went, and what each rule took.

The tables are scanned and summed, by source or by partition; none is held whole.
"""

from __future__ import annotations

from typing import Any, Literal

import polars as pl

from plm_data.build import Build
from plm_data.decisions.ledger import EXACT, NEAR, reason_order

Json = dict[str, Any]

KEPT = "kept"


def _scan(build: Build, source: str, table: Literal["verdicts", "rejected"]) -> pl.LazyFrame:
    return pl.scan_parquet(build.decided[source].parts(table), glob=False)


def source_facts(build: Build) -> list[Json]:
    """One row a source, in the recipe's order: found, refused at the door, read, kept, in documents, bytes, tokens."""
    rows = []
    for name, spec in build.recipe.sources.items():
        sums = (
            _scan(build, name, "verdicts")
            .group_by("verdict")
            .agg(pl.len(), pl.col("bytes").sum(), pl.col("token_count").sum())
            .collect(engine="streaming")
        )
        by_verdict = {"kept": [0, 0, 0], **{verdict: counts for verdict, *counts in sums.iter_rows()}}
        documents, size, tokens = (sum(counts) for counts in zip(*by_verdict.values(), strict=True))
        kept_documents, kept_size, kept_tokens = by_verdict["kept"]
        refused = dict(
            _scan(build, name, "rejected").group_by("verdict").agg(pl.len()).collect(engine="streaming").iter_rows()
        )
        rows.append(
            {
                "name": name,
                "reader": spec.reader,
                "domain": spec.domain,
                "language": spec.language,
                "license": spec.license,
                "priority": spec.priority,
                "found": documents + sum(refused.values()),
                "holds_no_document": refused.get("dropped", 0),
                "quarantined": refused.get("quarantined", 0),
                "documents": documents,
                "bytes": size,
                "tokens": tokens,
                "kept_documents": kept_documents,
                "kept_bytes": kept_size,
                "kept_tokens": kept_tokens,
                "bytes_per_token": size / max(tokens, 1),
            }
        )
    return rows


def flow_facts(build: Build, groups: dict[str, str]) -> list[Json]:
    """Where every document that was found went: (source group, reason) → documents and tokens, kept ones first.

    ``reason``: ``kept``, ``STEP.REASON`` of what was refused before it was a document (it has no tokens), or the rule
    that comes first of those that fired. ``stage`` says which of these: kept, door, rule or duplicate.
    """
    sums: dict[tuple[str, str, str], list[int]] = {}

    def add(source: str, stage: str, reason: str, documents: int, tokens: int) -> None:
        both = sums.setdefault((groups[source], stage, reason), [0, 0])
        both[0] += documents
        both[1] += tokens

    for source in build.recipe.sources:
        read = _scan(build, source, "verdicts").group_by("reason").agg(pl.len(), pl.col("token_count").sum())
        for reason, documents, tokens in read.collect(engine="streaming").iter_rows():
            stage = "kept" if reason is None else "duplicate" if reason in (EXACT, NEAR) else "rule"
            add(source, stage, reason or KEPT, documents, tokens)
        refused = _scan(build, source, "rejected").group_by("rule").agg(pl.len()).collect(engine="streaming")
        for reason, documents in refused.iter_rows():
            add(source, "door", reason, documents, 0)
    order = {name: i for i, name in enumerate([KEPT, *reason_order()])}
    shown = list(dict.fromkeys(groups.values()))
    keys = sorted(sums, key=lambda key: (shown.index(key[0]), order.get(key[2], len(order)), key[2]))
    return [
        {"source": source, "stage": stage, "reason": reason, "documents": n, "tokens": tokens}
        for (source, stage, reason) in keys
        for n, tokens in [sums[source, stage, reason]]
    ]


def rule_hits(build: Build) -> pl.DataFrame:
    """``rule, source, documents, tokens, alone_documents, alone_tokens``: what each rule and duplicate search took.

    ``alone``: of documents that nothing else would have dropped. Of the ledger one partition is held at a time.
    """
    known = list(reason_order())
    frames = []
    for source, output in build.decided.items():
        for ledger, verdicts in zip(output.parts("ledger"), output.parts("verdicts"), strict=True):
            fired = pl.scan_parquet(ledger, glob=False).filter(pl.col("rule").is_in(known)).select("id", "rule")
            sized = fired.join(pl.scan_parquet(verdicts, glob=False).select("id", "token_count"), on="id")
            sized = sized.with_columns(alone=pl.len().over("id") == 1)
            frames.append(
                sized.group_by("rule")
                .agg(
                    documents=pl.len().cast(pl.Int64),
                    tokens=pl.col("token_count").sum(),
                    alone_documents=pl.col("alone").sum().cast(pl.Int64),
                    alone_tokens=pl.col("token_count").filter("alone").sum(),
                )
                .with_columns(source=pl.lit(source))
                .collect()
            )
    return pl.concat(frames).group_by("rule", "source").sum().sort("rule", "source")


def rejected_facts(build: Build) -> list[Json]:
    """What never became a document: source, verdict, ``STEP.REASON``, documents, and the first name of them."""
    grouped = build.table("rejected").group_by("source", "verdict", "rule")
    found = grouped.agg(pl.len().alias("documents"), pl.col("name").min()).collect(engine="streaming")
    return found.sort("source", "verdict", "rule").rename({"name": "example"}).to_dicts()


def license_facts(build: Build) -> list[Json]:
    """Documents and tokens of the kept documents by the licence that each carries, most tokens first."""
    kept = build.table("verdicts").filter(pl.col("verdict") == "kept")
    grouped = kept.group_by("license").agg(pl.len().alias("documents"), pl.col("token_count").sum().alias("tokens"))
    rows = grouped.collect(engine="streaming").sort(["tokens", "license"], descending=[True, False])
    return rows.to_dicts()
