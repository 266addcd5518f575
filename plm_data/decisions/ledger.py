"""The ledger: one row a document and rule that fired; one row for a document that none did."""

from __future__ import annotations

import polars as pl

from plm_data.rules import RULE_SETS, rule_names

LEDGER = {
    "id": pl.String, "source": pl.String, "verdict": pl.String, "rule": pl.String, "value": pl.Float64,
    "threshold": pl.Float64, "bound": pl.String, "winner": pl.String,
}  # fmt: skip
EXACT, NEAR = "dedup.exact", "dedup.near"


def reason_order() -> dict[str, int]:
    """A document's reason is the rule that comes first in the order of the rules, duplicates last."""
    return {name: i for i, name in enumerate([*rule_names(), EXACT, NEAR])}


def failing(thresholds: dict[str, float | None]) -> dict[str, tuple[pl.Expr, str, str, float]]:
    """``set.key`` of each rule that has a threshold → whether a document fails it, its column, bound and threshold."""
    found: dict[str, tuple[pl.Expr, str, str, float]] = {}
    for rules in RULE_SETS:
        for rule in rules.rules:
            name = f"{rules.name}.{rule.key}"
            threshold = thresholds.get(name)
            if threshold is not None:
                value = pl.col(rule.column)
                fails = value < threshold if rule.bound == "min" else value > threshold
                found[name] = (fails, rule.column, rule.bound, threshold)
    return found


def fails_any(thresholds: dict[str, float | None]) -> pl.Expr:
    """Whether a document fails any rule."""
    return pl.any_horizontal(pl.lit(False), *(fails for fails, *_ in failing(thresholds).values()))


def fired(documents: pl.DataFrame, thresholds: dict[str, float | None]) -> pl.DataFrame:
    """Ledger rows of every rule that fires; ``documents`` has ``id``, ``source`` and the rules' columns."""
    rows = [pl.DataFrame(schema=LEDGER)]
    for name, (fails, column, bound, threshold) in failing(thresholds).items():
        rows.append(
            documents.filter(fails).select(
                "id", "source", verdict=pl.lit("dropped"), rule=pl.lit(name), value=pl.col(column).cast(pl.Float64),
                threshold=pl.lit(threshold, pl.Float64), bound=pl.lit(bound), winner=pl.lit(None, pl.String),
            )
        )  # fmt: skip
    return pl.concat(rows)


def rule_columns() -> list[str]:
    """The columns that the rules read."""
    return list(dict.fromkeys(rule.column for rules in RULE_SETS for rule in rules.rules))
