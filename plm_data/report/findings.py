"""What each chart says, in a sentence: its caption, and what a screen reader says instead of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from page_assets import percent, short
from plm_data.report.measured import OTHER
from plm_data.text.printable import clip

Json = dict[str, Any]

_NAMED = 4
_NAME_CHARS = 40


def findings(shown: Json) -> Json:
    """A sentence for each chart of the page, by its name; of rules and attributes one each."""
    return {
        "phases": _phases(shown["phases"]),
        "flow": _flow(shown),
        "costs": _costs(shown["rules"]),
        "sizes": _sizes(shown["duplicates"]),
        "lost": _pair(shown["duplicates"]["lost_to"], "winner_source", "lost the most documents to duplicates kept in"),
        "overlap": _pair(shown["duplicates"]["overlap"], "other", "has the most documents with a near duplicate in"),
        "languages": _languages(shown["languages"]),
        "lengths": _lengths(shown["lengths"]["by_source"]),
        "epochs": _epochs(shown["phases"]),
        "fertility": _fertility(shown["fertility"]),
        "rules": [_rule(rule) for rule in shown["rules"]],
        "attributes": [_attribute(row) for row in shown["attributes"]],
    }


def _of(part: float, whole: float) -> str:
    return percent(part / whole) if whole else "none"


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more


def _name(name: str) -> str:
    return clip(name, _NAME_CHARS)


def _phases(phases: Sequence[Json]) -> str:
    said = []
    for phase in phases:
        ranked = sorted(phase["groups"], key=lambda row: (-row["shown_tokens"], row["name"]))
        shares = [f"{_name(row['name'])} {_of(row['shown_tokens'], phase['shown_tokens'])}" for row in ranked]
        state = "" if phase["built"] else " planned, not built"
        said.append(
            f"{phase['name']} ({phase['segment']}): {short(phase['shown_tokens'])} tokens{state}: {_listed(shares)}"
        )
    return "; ".join(said[:_NAMED]) + (f"; and {len(said) - _NAMED} more phases" if len(said) > _NAMED else "") + "."


def _flow(shown: Json) -> str:
    flow = shown["flow"]
    found = sum(row["documents"] for row in flow)
    kept = sum(row["documents"] for row in flow if row["stage"] == "kept")
    tokens = sum(row["tokens"] for row in flow)
    kept_tokens = sum(row["tokens"] for row in flow if row["stage"] == "kept")
    return (
        f"{kept:,} of {found:,} documents found are kept ({_of(kept, found)}), with {_of(kept_tokens, tokens)} of the "
        f"tokens. A document counts under the first rule that dropped it."
    )


def _costs(rules: Sequence[Json]) -> str:
    taking = [rule for rule in rules if rule["documents"]]
    if not taking:
        return "No rule dropped anything."
    worst = taking[0]
    return (
        f"{worst['rule']} is the costliest: it fired on {worst['documents']:,} documents with {short(worst['tokens'])} "
        f"tokens, of which {_of(worst['alone_tokens'], worst['tokens'])} nothing else would have dropped."
    )


def _sizes(duplicates: Json) -> str:
    dropped = f"{duplicates['exact']:,} exact and {duplicates['near']:,} near duplicates are dropped"
    if not duplicates["clusters"]:
        return f"{dropped}; there is no cluster of near duplicates."
    largest = f"the largest of {duplicates['largest_cluster']:,} documents"
    return f"{dropped}; clusters of near duplicates: {duplicates['clusters']:,}, {largest}."


def _pair(rows: Sequence[Json], other: str, what: str) -> str:
    if not rows:
        return "No two sources share a duplicate."
    worst = max(rows, key=lambda row: row["documents"])
    there = "itself" if worst["source"] == worst[other] else _name(worst[other])
    return f"{_name(worst['source'])} {what} {there}: {worst['documents']:,}."


def _languages(rows: Sequence[Json]) -> str:
    by_language: dict[str, int] = {}
    for row in rows:
        by_language[row["detected"]] = by_language.get(row["detected"], 0) + row["kept_documents"]
    total = sum(by_language.values())
    ranked = sorted(by_language, key=lambda name: (name == OTHER, -by_language[name], name))
    return (
        "Detected in the kept documents: " + _listed([f"{_name(n)} {_of(by_language[n], total)}" for n in ranked]) + "."
    )


def _lengths(rows: Sequence[Json]) -> str:
    kept = [row for row in rows if row["which"] == "kept"]
    middle = [f"{_name(row['source'])} {row['quantiles'][2]:,}" for row in kept]
    return f"Median tokens of a kept document: {_listed(middle)}." if kept else "No document is kept."


def _epochs(phases: Sequence[Json]) -> str:
    last: dict[str, float] = {}
    for phase in phases:
        last.update({row["name"]: row["epochs_so_far"] for row in phase["groups"] if row["epochs_so_far"] is not None})
    if not last:
        return "No phase uses a source that is shown by itself."
    most = max(last, key=lambda name: (last[name], name))
    return f"After all phases {_name(most)} is used the most: {last[most]:.2f} epochs."


def _fertility(fertility: Json) -> str:
    rows = [row for row in fertility["by_source"] if row["bytes_per_token"]]
    if not rows:
        return "There is no token."
    best, worst = (pick(rows, key=lambda row: (row["bytes_per_token"], row["source"])) for pick in (max, min))
    return (
        f"A token holds the most bytes in {_name(best['source'])} ({best['bytes_per_token']:.2f}) and the fewest in "
        f"{_name(worst['source'])} ({worst['bytes_per_token']:.2f})."
    )


def _rule(rule: Json) -> str:
    if rule["distribution"] is None:
        return ""
    counted = sum(sum(row["documents"]) for row in rule["distribution"]["by_source"].values())
    if not rule["documents"]:
        return f"None of {counted:,} documents is beyond the threshold."
    return (
        f"{rule['documents']:,} of {counted:,} documents ({_of(rule['documents'], counted)}), with "
        f"{short(rule['tokens'])} tokens, are beyond the threshold; {rule['alone_documents']:,} of them by this rule "
        f"alone."
    )


def _attribute(row: Json) -> str:
    missing = f" {row['missing']:,} documents have none." if row["missing"] else ""
    if row["kind"] == "number":
        if row["median"] is None:
            return f"No value.{missing}"
        return f"From {row['min']:,.6g} to {row['max']:,.6g}, the median is {row['median']:,.6g}.{missing}"
    counts = {each["value"]: sum(sums["documents"] for sums in each["by_source"].values()) for each in row["values"]}
    top = [f"{_name(value)} {_of(counts[value], row['documents'])}" for value in counts]
    return f"{row['different']:,} values: {_listed(top)}.{missing}"
