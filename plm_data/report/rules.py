"""Facts of the rules: what each took, how its column is spread about its threshold, and who is nearest to it."""

from __future__ import annotations

from typing import Any

import polars as pl

from plm_data.decisions.ledger import EXACT, NEAR
from plm_data.report.samples import Shown
from plm_data.report.survey import RuleSurvey, Survey
from plm_data.rules import RULE_SETS

Json = dict[str, Any]

_DUPLICATES = {
    EXACT: ("a text that another document has too; one of them stays", "content hash"),
    NEAR: ("a text of which a near duplicate stays", "MinHash, Broder 1997"),
}
_SOURCE_OF = {rules.name: rules.source for rules in RULE_SETS}


def rule_facts(hits: pl.DataFrame, found: Survey, shown: Shown) -> list[Json]:
    """Every rule with a threshold in some source, and the searches for duplicates; the costliest first.

    ``hits``: as from ``decided.rule_hits``. ``by_source`` has the sources in which a rule took something,
    ``thresholds`` those in which it is on.
    """
    rows = [
        {
            "rule": name,
            "set": name.partition(".")[0],
            "bound": each.rule.bound,
            "column": each.rule.column,
            "meaning": f"{each.rule.bound}imum {each.rule.meaning}",
            "source_of_rule": _SOURCE_OF[name.partition(".")[0]],
            **_taken(hits, name, each.limits),
            "thresholds": each.limits,
            "distribution": each.histogram.facts(),
            "samples": _samples(name, each, shown),
        }
        for name, each in found.rules.items()
    ]
    for name, (meaning, source) in _DUPLICATES.items():
        rows.append(
            {
                "rule": name,
                "set": "dedup",
                "bound": None,
                "column": None,
                "meaning": meaning,
                "source_of_rule": source,
                **_taken(hits, name, {}),
                "thresholds": {},
                "distribution": None,
                "samples": None,
            }
        )
    return sorted(rows, key=lambda row: (-row["tokens"], -row["documents"], row["rule"]))


def _taken(hits: pl.DataFrame, name: str, limits: dict[str, float]) -> Json:
    mine = hits.filter(pl.col("rule") == name)
    sums = ("documents", "tokens", "alone_documents", "alone_tokens")
    return {
        **{column: int(mine[column].sum()) for column in sums},
        "by_source": {
            row["source"]: {
                **{column: row[column] for column in sums},
                "threshold": limits.get(row["source"]),
            }
            for row in mine.iter_rows(named=True)
        },
    }


def _samples(name: str, each: RuleSurvey, shown: Shown) -> Json:
    return {
        "dropped": [shown.sample(name, near) for near in each.nearest("dropped")],
        "kept": [shown.sample(name, near) for near in each.nearest("kept")],
    }


def wanted_samples(found: Survey) -> list[tuple[str, str]]:
    """Source and id of every sample of the rules."""
    return [
        (near.source, near.id)
        for each in found.rules.values()
        for near in [*each.nearest("dropped"), *each.nearest("kept")]
    ]
