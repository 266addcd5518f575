"""Guardrails: limits in the recipe that stop a build which goes wrong."""

from __future__ import annotations

import polars as pl

from plm_data.errors import GuardrailError
from plm_data.recipe import Guardrails
from plm_data.store import Output

# Where the recipe says the largest share that may be quarantined.
QUARANTINE_KEY = "curate.guardrails.max_quarantined"


def check_guardrails(decided: dict[str, Output], guardrails: Guardrails, quarantine_key: str = QUARANTINE_KEY) -> None:
    """Raises ``GuardrailError`` naming the source, the figure and the limit. ``decided``: by source."""
    for source in sorted(decided):
        _check_source(source, decided[source], guardrails, quarantine_key)
    largest = max(
        (pl.scan_parquet(output.parts("verdicts")).select(pl.col("near_cluster_size").max()).collect().item() or 1)
        for output in decided.values()
    )
    if largest > guardrails.max_cluster:
        raise GuardrailError(
            f"a near-duplicate cluster holds {largest} documents, more than curate.guardrails.max_cluster = "
            f"{guardrails.max_cluster}. Raise rows in curate.dedup (a stricter match), set curate.dedup.min_jaccard "
            f"(each pair is checked before it counts), or raise the guardrail."
        )


def _check_source(source: str, decided: Output, guardrails: Guardrails, quarantine_key: str) -> None:
    verdicts = pl.scan_parquet(decided.parts("verdicts"))
    counted = verdicts.group_by("reason").agg(pl.len().alias("documents")).collect().sort("documents", descending=True)
    total = int(counted["documents"].sum())
    lost = counted.filter(pl.col("reason").is_not_null())
    loss = int(lost["documents"].sum()) / max(total, 1)
    if loss > guardrails.max_source_loss:
        named = ", ".join(f"{reason} {count}" for reason, count in lost.head(3).iter_rows())
        raise GuardrailError(
            f"source {source}: {loss:.1%} of its {total} documents were dropped, more than "
            f"curate.guardrails.max_source_loss = {guardrails.max_source_loss:.1%}. Costliest rules: {named}. "
            f"Change the thresholds for this source, or the guardrail."
        )
    rejected = pl.scan_parquet(decided.parts("rejected"))
    by_verdict = dict(rejected.group_by("verdict").agg(pl.len()).collect().iter_rows())
    bad, read = by_verdict.get("quarantined", 0), total + sum(by_verdict.values())
    if bad / max(read, 1) > guardrails.max_quarantined:
        raise GuardrailError(
            f"source {source}: {bad} of {read} documents are quarantined, more than "
            f"{quarantine_key} = {guardrails.max_quarantined:.1%}. "
            f"See {decided.path}/rejected-*.parquet for the reasons."
        )
