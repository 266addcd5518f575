"""The facts of a build, as they are in ``report.json``; the page and the terminal table are views of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import polars as pl

from plm_data.build import Build
from plm_data.decisions.ledger import EXACT, NEAR
from plm_data.recipe import Recipe, thresholds
from plm_data.report.phases import phase_facts
from plm_data.rules import RULE_SETS
from plm_data.store import Output, digest
from plm_data.tables import read_slices
from plm_data.text.hashing import rank_hash

_EXCERPT_CHARS = 280

Json = dict[str, Any]


def gather(build: Build) -> Json:
    """Everything the report says, from stored outputs alone; rows are counted anew from the shards' manifests."""
    verdicts, ledger, rejected = (build.table(name).collect() for name in ("verdicts", "ledger", "rejected"))
    built = build.built_phases()
    phases = [phase_facts(build, name, built[name][2] if name in built else None) for name in build.recipe.phases]
    steps = list(_conservation(build, built))
    return {
        "recipe": build.recipe.name,
        "description": build.recipe.description,
        "seed": build.recipe.seed,
        "recipe_digest": recipe_digest(build.recipe),
        "fingerprint": digest([build.decided[name].content for name in sorted(build.decided)]),
        "phases": phases,
        "sources": _sources(build, verdicts, rejected),
        "rules": _rules(build, ledger, verdicts),
        "duplicates": _duplicates(ledger, verdicts),
        "rejected": _rejected(rejected),
        "held_out": {"share": build.recipe.held_out, "tokens": sum(build.held_out_tokens().values())},
        "licenses": _licenses(verdicts),
        "conservation": steps,
        "problems": list(_problems(phases, steps, build)),
        "notes": [
            f"{phase['name']} is not built yet: plm build {build.recipe.name} --phase {phase['name']}"
            for phase in phases
            if not phase["built"]
        ],
    }


def recipe_digest(recipe: Recipe) -> str:
    """Hash of a recipe's content, to tell whether a report is of the recipe as it stands."""
    return digest(recipe.model_dump(mode="json"))


def _sources(build: Build, verdicts: pl.DataFrame, rejected: pl.DataFrame) -> list[Json]:
    rows = []
    for name, spec in build.recipe.sources.items():
        mine = verdicts.filter(pl.col("source") == name)
        kept = mine.filter(pl.col("verdict") == "kept")
        refused = rejected.filter(pl.col("source") == name)
        rows.append(
            {
                "name": name,
                "reader": getattr(spec, "reader", ""),
                "domain": spec.domain,
                "language": spec.language,
                "license": spec.license,
                "priority": spec.priority,
                "found": mine.height + refused.height,
                "holds_no_document": refused.filter(pl.col("verdict") == "dropped").height,
                "quarantined": refused.filter(pl.col("verdict") == "quarantined").height,
                "documents": mine.height,
                "bytes": int(mine["bytes"].sum()),
                "tokens": int(mine["token_count"].sum()),
                "kept_documents": kept.height,
                "kept_bytes": int(kept["bytes"].sum()),
                "kept_tokens": int(kept["token_count"].sum()),
                "bytes_per_token": mine["bytes"].sum() / max(int(mine["token_count"].sum()), 1),
            }
        )
    return rows


def _rules(build: Build, ledger: pl.DataFrame, verdicts: pl.DataFrame) -> list[Json]:
    """Each rule that removed something: what it hit, and what it alone removed; the costliest first."""
    limits = {source: thresholds(build.recipe, source) for source in build.recipe.sources}
    meanings = {f"{s.name}.{r.key}": (r, s) for s in RULE_SETS for r in s.rules}
    fired = ledger.filter(pl.col("verdict") == "dropped", pl.col("rule").is_not_null()).join(
        verdicts.select("id", "token_count"), on="id"
    )
    fired = fired.with_columns(alone=pl.len().over("id") == 1)
    rows: list[Json] = []
    picks: dict[str, Json] = {}
    shown = ["id", "source", "value", "threshold", "bound", "winner"]
    for (name,), hits in fired.group_by("rule", maintain_order=True):
        candidates = hits.select(shown).to_dicts()
        picks[str(name)] = min(candidates, key=lambda row: rank_hash(build.recipe.seed, "example", row["id"]))
        rule, rules = meanings.get(str(name), (None, None))
        by_source = hits.group_by("source").agg(pl.len().alias("documents"), pl.col("token_count").sum())
        rows.append(
            {
                "rule": name,
                "meaning": f"{rule.bound}imum {rule.meaning}" if rule else "one survivor a cluster",
                "source_of_rule": rules.source if rules else "MinHash, Broder 1997" if name == NEAR else "content hash",
                "documents": hits.height,
                "tokens": int(hits["token_count"].sum()),
                "alone_documents": int(hits["alone"].sum()),
                "alone_tokens": int(hits.filter("alone")["token_count"].sum()),
                "by_source": {
                    source: {"documents": n, "tokens": tokens, "threshold": limits[source].get(str(name))}
                    for source, n, tokens in by_source.sort("source").iter_rows()
                },
            }
        )
    _add_examples(build, rows, picks)
    return sorted(rows, key=lambda row: (-row["tokens"], row["rule"]))


def _add_examples(build: Build, rows: list[Json], picks: dict[str, Json]) -> None:
    """Give each rule the document picked for it, with the start of its text; one pass over each source."""
    wanted: dict[str, set[str]] = {}
    for pick in picks.values():
        wanted.setdefault(pick["source"], set()).add(pick["id"])
    texts: dict[str, tuple[str, str]] = {}
    for source, ids in wanted.items():
        for part in build.documents[source].parts():
            for batch in read_slices(part, ["id", "name", "text"]):
                for identity, name, text in batch.filter(pl.col("id").is_in(list(ids))).iter_rows():
                    texts[identity] = (name, text[:_EXCERPT_CHARS])
    for row in rows:
        pick = picks[row["rule"]]
        name, excerpt = texts[pick["id"]]
        row["example"] = {**pick, "name": name, "excerpt": excerpt}


def _duplicates(ledger: pl.DataFrame, verdicts: pl.DataFrame) -> Json:
    sizes = verdicts.filter(pl.col("near_cluster_size") > 1).unique("near_cluster")["near_cluster_size"]
    counts = dict(ledger.filter(pl.col("rule").is_in([EXACT, NEAR])).group_by("rule").len().iter_rows())
    between = (
        ledger.filter(pl.col("rule").is_in([EXACT, NEAR]))
        .join(verdicts.select(pl.col("id").alias("winner"), pl.col("source").alias("winner_source")), on="winner")
        .group_by("source", "winner_source")
        .len()
        .sort("source", "winner_source")
    )
    return {
        "exact": counts.get(EXACT, 0),
        "near": counts.get(NEAR, 0),
        "clusters": len(sizes),
        "largest_cluster": max(sizes.to_list(), default=1),
        "lost_to": [{"source": a, "winner_source": b, "documents": n} for a, b, n in between.iter_rows()],
    }


def _rejected(rejected: pl.DataFrame) -> list[Json]:
    grouped = rejected.group_by("source", "verdict", "rule").agg(pl.len().alias("documents"), pl.col("name").min())
    return grouped.sort("source", "verdict", "rule").rename({"name": "example"}).to_dicts()


def _licenses(verdicts: pl.DataFrame) -> list[Json]:
    kept = verdicts.filter(pl.col("verdict") == "kept")
    grouped = kept.group_by("license").agg(pl.len().alias("documents"), pl.col("token_count").sum().alias("tokens"))
    return grouped.sort(["tokens", "license"], descending=[True, False]).to_dicts()


def _conservation(build: Build, built: dict[str, tuple[Output, Output, Output]]) -> Iterable[Json]:
    """Every step's rows: in = kept + dropped + quarantined, as the engine asserted when the step ran."""

    def line(step: str, source: str, output: Output) -> Json:
        counts = asdict(output.counts.check(f"step {step} of {source}"))
        return {"step": step, "source": source, **counts}

    for source, output in build.collected.items():
        yield line("collect", source, output)
    for source, output in build.documents.items():
        yield line("normalise", source, output)
    yield line("tokenizer", "all", build.tokenizer)
    for source, outputs in build.attributes.items():
        for step, output in outputs.items():
            yield line(step, source, output)
    for source, output in build.decided.items():
        yield line("decide", source, output)
    for phase, (selection, placed, shards) in built.items():
        yield line("select", phase, selection)
        yield line("place", phase, placed)
        yield line("shards", phase, shards)


def _problems(phases: list[Json], steps: list[Json], build: Build) -> Iterable[str]:
    for phase in phases:
        for name, source in phase["sources"].items() if phase["built"] else ():
            # A source is within one document of its plan; more than that is a defect.
            if abs(source["tokens"] - source["planned_tokens"]) > source["largest_document"]:
                yield (
                    f"{phase['name']} holds {source['tokens']:,} tokens of {name}, planned were "
                    f"{source['planned_tokens']:,}: more than one document apart"
                )
    for source in build.recipe.sources:
        if not any(source in phase["sources"] for phase in phases):
            yield f"the source {source} is in no phase's mix"
    quarantined = sum(step["quarantined"] for step in steps if step["step"] in ("collect", "normalise"))
    if quarantined:
        yield f"{quarantined} documents are quarantined; see below"
