"""The facts as the page shows them: long lists summed under one name, a colour a source, all text made visible."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from plm_data.report.findings import findings
from plm_data.text.printable import printable

Json = dict[str, Any]

# Okabe and Ito's palette: eight colours that people with colour-blindness can tell apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8c8c8c")
_PHASE_KEYS = ("name", "segment", "built", "planned_tokens", "tokens", "shown_tokens", "groups", "domains")
_PHASE_SUMS = ("planned_tokens", "tokens", "documents")
_SOURCE_SUMS = (
    "found", "holds_no_document", "quarantined", "documents", "bytes", "tokens", "kept_documents", "kept_bytes",
    "kept_tokens",
)  # fmt: skip
_RULE_SUMS = ("documents", "tokens", "alone_documents", "alone_tokens")


def visible(value: Any) -> Any:
    """Every text in a JSON-like value with its hidden characters (controls, overrides, zero-width) written out."""
    if isinstance(value, str):
        # Most texts are names, which hide nothing.
        return value if value.isprintable() else printable(value, keep="\n")
    if isinstance(value, dict):
        return {visible(key): visible(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [visible(item) for item in value]
    return value


def view(facts: Json) -> Json:
    """What the page's template and its charts read. Charts get the same rows as the tables beside them."""
    facts = visible(facts)
    groups = facts["groups"]
    pooled = _pooled(facts["sources"], groups)
    shown = {
        **facts,
        "groups": pooled,
        "phases": [_phase(phase, groups, facts["sources"], pooled) for phase in facts["phases"]],
        "rules": [_rule(rule, groups) for rule in facts["rules"]],
        "lengths": {
            **facts["lengths"],
            "by_source": [row for row in facts["lengths"]["by_source"] if groups[row["source"]] == row["source"]],
        },
    }
    return {**shown, "findings": findings(shown)}


def chart_data(shown: Json) -> Json:
    """The part of a view that the charts draw: no excerpt of a text is in it."""
    return {
        "groups": shown["groups"],
        "phases": [{key: phase[key] for key in _PHASE_KEYS} for phase in shown["phases"]],
        "flow": shown["flow"],
        "rules": [
            {key: rule[key] for key in ("rule", "bound", "by_group", "limits", "distribution")}
            for rule in shown["rules"]
        ],
        "duplicates": {key: shown["duplicates"][key] for key in ("sizes", "lost_to", "overlap")},
        "languages": shown["languages"],
        "lengths": shown["lengths"]["distribution"],
        "fertility": shown["fertility"],
        "attributes": shown["attributes"],
    }


def _pooled(sources: Sequence[Json], groups: dict[str, str]) -> list[Json]:
    """One row a group: a source's own, or, last, the sums of those that share a name; with its colour and pattern."""
    rows: dict[str, list[Json]] = {}
    for source in sources:
        rows.setdefault(groups[source["name"]], []).append(source)
    order = sorted(rows, key=lambda name: len(rows[name]) > 1)
    return [_group(name, rows[name], i) for i, name in enumerate(order)]


def _group(name: str, sources: Sequence[Json], position: int) -> Json:
    sums = {key: sum(source[key] for source in sources) for key in _SOURCE_SUMS}
    return {
        "name": name,
        "domain": _common(source["domain"] for source in sources),
        "language": _common(source["language"] for source in sources),
        "license": _common(source["license"] for source in sources),
        **sums,
        "bytes_per_token": sums["bytes"] / max(sums["tokens"], 1),
        "colour": PALETTE[position % len(PALETTE)],
        "pattern": position // len(PALETTE),
    }


def _common(values: Iterable[str]) -> str:
    different = set(values)
    return different.pop() if len(different) == 1 else "various"


def _phase(phase: Json, groups: dict[str, str], sources: Sequence[Json], shown: Sequence[Json]) -> Json:
    pooled: dict[str, Json] = {}
    # In the order of the sources, so that each stands below its own.
    domains: dict[str, int] = {}
    for name in (source["name"] for source in sources if source["name"] in phase["sources"]):
        source = phase["sources"][name]
        row = pooled.setdefault(
            groups[name], {**dict.fromkeys(_PHASE_SUMS, 0), "weight": 0, "epochs": [], "so_far": []}
        )
        for key in _PHASE_SUMS:
            row[key] += source[key] or 0
        row["weight"] += source["weight"]
        row["epochs"].append(source["epochs"])
        row["so_far"].append(source["epochs_so_far"])
        domains[source["domain"]] = domains.get(source["domain"], 0) + _size(phase, source)
    for row in pooled.values():
        # Of sources that are shown together no epoch is true of all.
        row["epochs"] = row["epochs"][0] if len(row["epochs"]) == 1 else None
        row["epochs_so_far"] = row.pop("so_far")[0] if len(row["so_far"]) == 1 else None
    order = [group["name"] for group in shown if group["name"] in pooled]
    return {
        **phase,
        "shown_tokens": phase["tokens"] if phase["built"] else phase["planned_tokens"],
        "groups": [{"name": name, **pooled[name], "shown_tokens": _size(phase, pooled[name])} for name in order],
        "domains": [{"name": name, "shown_tokens": tokens} for name, tokens in domains.items()],
    }


def _size(phase: Json, row: Json) -> int:
    """Realised tokens, or the planned ones of a phase that is not built."""
    return int(row["tokens"] if phase["built"] else row["planned_tokens"])


def _rule(rule: Json, groups: dict[str, str]) -> Json:
    by_group: dict[str, Json] = {}
    limits: dict[str, list[float]] = {}
    for source, hit in rule["by_source"].items():
        row = by_group.setdefault(groups[source], dict.fromkeys(_RULE_SUMS, 0))
        for key in _RULE_SUMS:
            row[key] += hit[key]
    for source, limit in rule["thresholds"].items():
        mine = limits.setdefault(groups[source], [])
        if limit not in mine:
            mine.append(limit)
    return {**rule, "by_group": by_group, "limits": limits}
