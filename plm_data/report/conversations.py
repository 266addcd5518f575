"""The facts of the phases after the pre-training: conversations and prompts, from stored outputs alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import polars as pl

from plm_data.build import Build
from plm_data.chat.phases import ConversationPhase
from plm_data.decisions.ledger import EXACT, NEAR
from plm_data.errors import PlmError
from plm_data.inspect.tables import Built
from plm_data.report.licences import roll_up
from plm_data.shards import read_manifest
from plm_data.store import Output

Json = dict[str, Any]


def conversation_facts(build: Build) -> list[Json]:
    """One entry a phase after the pre-training, in the recipe's order; of one that is not built only its name.

    Nothing is made, and nothing is asked of a hub for a phase that was never built.
    """
    found = Built(build.recipe, build.home)
    return [_phase(found, name) for name in build.recipe.after]


def _phase(built: Built, name: str) -> Json:
    shards = _shards(built, name)
    if shards is None:
        return {"name": name, "built": False}
    phase, manifest = built.chat(name), read_manifest(shards.path)
    sources = [_source(phase, source) for source in phase.recipe.sources]
    licences = pl.concat([_kept(phase, source) for source in phase.recipe.sources])
    counted = licences.group_by("license").agg(pl.len(), pl.sum("token_count")).collect(engine="streaming")
    return {
        "name": name,
        "built": True,
        "kind": manifest["kind"],
        "segment": manifest["segment"],
        "key": manifest["key"],
        "rows": manifest["rows"],
        "tokens": manifest["tokens"],
        "learned_tokens": manifest.get("targets"),
        "sources": sources,
        "rejected": _rejected(phase),
        "licences": roll_up(counted.sort("license").rows()),
        "conservation": list(_conservation(phase, shards)),
    }


def _shards(built: Built, name: str) -> Output | None:
    if not (built.folder / name / "manifest.json").is_file():
        return None
    try:
        found = built.built(name)
    except PlmError:  # it was built from what is not the recipe or its sources any more
        return None
    return found[2] if found else None


def _kept(phase: ConversationPhase, source: str) -> pl.LazyFrame:
    """``license, turns, token_count, target_count`` of a set's kept rows."""
    verdicts = pl.scan_parquet(phase.decided[source].parts("verdicts"))
    kept = verdicts.filter(pl.col("verdict") == "kept").select("id")
    columns = ["id", "license", "turns", "token_count", "target_count"]
    return pl.scan_parquet(phase.documents[source].parts()).select(columns).join(kept, on="id", how="semi")


def _source(phase: ConversationPhase, source: str) -> Json:
    spec = phase.recipe.sources[source]
    verdicts = pl.scan_parquet(phase.decided[source].parts("verdicts"))
    reasons = dict(verdicts.group_by("reason").agg(pl.len()).collect(engine="streaming").iter_rows())
    sizes = pl.col("token_count")
    found = _kept(phase, source).select(
        pl.len().alias("rows"), sizes.sum().alias("tokens"), pl.col("target_count").sum().alias("learned_tokens"),
        pl.col("turns").sum(), sizes.median().alias("median_tokens"),
        sizes.quantile(0.95, "higher").alias("p95_tokens"), sizes.max().alias("longest"),
    ).collect(engine="streaming")  # fmt: skip
    counts = phase.decided[source].counts
    return {
        "name": source,
        "domain": spec.domain,
        "language": spec.language,
        "license": spec.license,
        "found": counts.read,
        "quarantined": counts.quarantined,
        "exact_duplicates": reasons.get(EXACT, 0),
        "near_duplicates": reasons.get(NEAR, 0),
        **{name: value or 0 for name, value in found.row(0, named=True).items()},
    }


def _rejected(phase: ConversationPhase) -> list[Json]:
    """What cannot be used or may not be: source, verdict, ``STEP.REASON``, rows, and the first name of them."""
    grouped = phase.table("rejected").group_by("source", "verdict", "rule")
    found = grouped.agg(pl.len().alias("rows"), pl.col("name").min().alias("example")).collect(engine="streaming")
    return found.sort("source", "verdict", "rule").to_dicts()


def _conservation(phase: ConversationPhase, shards: Output) -> Iterator[Json]:
    stages = {
        "collect": phase.collected, "converse": phase.normalised, "decontaminate": phase.decontaminated,
        "sample": phase.sampled, "decide": phase.decided, "shards": {"": shards},
    }  # fmt: skip
    for step, outputs in stages.items():
        for source, output in outputs.items():
            of = f"{phase.phase}/{source}" if source else phase.phase
            yield {"step": step, "source": of, **asdict(output.counts.check(f"step {step} of {of}"))}
