"""The mix: how many tokens each phase takes of each source, and which documents these are.

Each source has one seeded order of its documents, repeated without end. The phases take consecutive stretches
of it, in the recipe's order: so no document comes twice before its source is used up, and epochs count across
all phases. A document belongs to the stretch in which its middle lies; so a phase is within one document of
its plan for every source.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import polars as pl

from plm_data.engine import Step
from plm_data.errors import RecipeError
from plm_data.recipe import PhaseSpec, Recipe
from plm_data.store import Counts, Output
from plm_data.tables import write_parquet
from plm_data.text.hashing import rank_hash

_KEPT = ["id", "source", "content_hash", "token_count"]


def quotas(phase: PhaseSpec) -> dict[str, int]:
    """Tokens of each source in a phase; they sum to the budget exactly (largest remainders)."""
    # Weights may miss 1 by a rounding error, which a large budget would make into tokens.
    weights = {name: Fraction(str(share)) for name, share in phase.mix.items()}
    exact = {name: weight / sum(weights.values()) * phase.tokens for name, weight in weights.items()}
    whole = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_remainder[: phase.tokens - sum(whole.values())]:
        whole[name] += 1
    return whole


def stretches(recipe: Recipe) -> dict[str, dict[str, tuple[int, int]]]:
    """Phase → source → the stretch ``[start, stop)`` of the source's endless order that the phase takes."""
    used = dict.fromkeys(recipe.sources, 0)
    plan: dict[str, dict[str, tuple[int, int]]] = {}
    for name, phase in recipe.phases.items():
        plan[name] = {}
        for source, quota in quotas(phase).items():
            plan[name][source] = (used[source], used[source] + quota)
            used[source] += quota
    return plan


def check_supply(recipe: Recipe, supply: dict[str, int], measured: bool) -> None:
    """Raise ``RecipeError`` if a source cannot give what the phases ask of it.

    ``supply``: tokens of one epoch by source; a source that is missing has no known bound. ``measured``: whether
    these are counted tokens or an upper bound from before any work. The error names the limiting source, the
    largest feasible budget (all phases scaled alike) and the epochs that the recipe's budget would take.
    """
    needed = {source: 0 for source in recipe.sources}
    for phase in recipe.phases.values():
        for source, quota in quotas(phase).items():
            needed[source] += quota
    total = sum(phase.tokens for phase in recipe.phases.values())
    short = {s: n for s, n in needed.items() if s in supply and n > supply[s] * recipe.max_epochs}
    if not short:
        return
    limiting = max(short, key=lambda source: (needed[source] / max(supply[source], 1), source))
    tokens = supply[limiting]
    feasible = int(total * Fraction(str(recipe.max_epochs)) * tokens / needed[limiting])
    kind = "has" if measured else "can give at most"
    epochs = f"{needed[limiting] / tokens:.2f}" if tokens else "infinitely many"
    raise RecipeError(
        f"the phases of {recipe.name} ask {needed[limiting]:,} tokens of the source {limiting!r}, which {kind} "
        f"{tokens:,} tokens{'' if measured else ' before curation'}; with max_epochs = {recipe.max_epochs:g} that is "
        f"too little. The largest feasible budget with this mix is {feasible:,} of the {total:,} tokens asked for; "
        f"this budget would take {epochs} epochs of {limiting!r}. Lower the budgets or the weight of {limiting!r}, "
        f"or raise max_epochs."
    )


def kept_documents(decided: dict[str, Output], seed: int, held_out: float, for_training: bool) -> pl.DataFrame:
    """The verdicts' rows of the kept documents: those for the phases, or the held-out ones.

    A document is held out by the hash of its content alone, so nothing else in the recipe moves it; duplicates of
    it are gone already.
    """
    parts = [part for source in sorted(decided) for part in decided[source].parts("verdicts")]
    verdicts = pl.scan_parquet(parts).filter(pl.col("verdict") == "kept").select(_KEPT).collect()
    limit = int(Fraction(str(held_out)) * 2**64)
    out = pl.Series(
        [rank_hash(seed, "held-out", value) < limit for value in verdicts["content_hash"]], dtype=pl.Boolean
    )
    return verdicts.filter(~out if for_training else out)


def supply_of(decided: dict[str, Output], seed: int, held_out: float) -> dict[str, int]:
    """Tokens of one epoch by source that has any: of the kept documents that are not held out."""
    kept = kept_documents(decided, seed, held_out, for_training=True)
    return dict(kept.group_by("source").agg(pl.col("token_count").sum()).sort("source").iter_rows())


@dataclass(frozen=True)
class Select(Step):
    """The documents of one phase, in their final order: ``id, source, epoch, token_count, position``.

    ``stretches`` None: the held-out documents instead, all of them.
    """

    name: ClassVar[str] = "select"
    decided: dict[str, Output]
    phase: str
    stretches: dict[str, tuple[int, int]] | None
    held_out: float
    seed: int

    @property
    def partitions(self) -> int:
        return 1

    @property
    def rows_expected(self) -> int:
        return sum(output.counts.kept for output in self.decided.values())

    def run(self, partition: int, out: Path) -> Counts:
        training = self.stretches is not None
        documents = kept_documents(self.decided, self.seed, self.held_out, training)
        taken = pl.concat(
            take(documents.filter(pl.col("source") == source), source, start, stop, self.seed)
            for source, (start, stop) in sorted((self.stretches or _everything(documents)).items())
        )
        order = [
            rank_hash(self.seed, f"order/{self.phase}", f"{identity}/{epoch}")
            for identity, epoch in taken.select("id", "epoch").iter_rows()
        ]
        selection = (
            taken.with_columns(order=pl.Series(order, dtype=pl.UInt64)).sort("order", "id", "epoch").drop("order")
        )
        selection = selection.with_row_index("position").with_columns(pl.col("position").cast(pl.Int64))
        write_parquet(selection, out / "selection.parquet")
        kept = selection["id"].n_unique()
        return Counts(read=self.rows_expected, kept=kept, dropped=self.rows_expected - kept)


def _everything(documents: pl.DataFrame) -> dict[str, tuple[int, int]]:
    """The stretch of each source that holds each of its documents once."""
    totals = documents.group_by("source").agg(pl.col("token_count").sum())
    return {source: (0, total) for source, total in totals.iter_rows()}


def take(documents: pl.DataFrame, source: str, start: int, stop: int, seed: int) -> pl.DataFrame:
    """The documents whose middle lies in ``[start, stop)`` of the source's endless order, with their epochs from 0."""
    ranks = [rank_hash(seed, f"sample/{source}", value) for value in documents["content_hash"]]
    ordered = documents.with_columns(rank=pl.Series(ranks, dtype=pl.UInt64)).sort("rank", "id")
    ends = pl.col("token_count").cum_sum()
    ordered = ordered.select(
        "id", "source", "token_count", middle=ends - pl.col("token_count") + pl.col("token_count") // 2
    )
    total = int(documents["token_count"].sum())
    frames = [
        ordered.filter((pl.col("middle") >= start - epoch * total) & (pl.col("middle") < stop - epoch * total))
        .drop("middle")
        .with_columns(epoch=pl.lit(epoch, pl.Int64))
        for epoch in (range(start // total, (stop - 1) // total + 1) if total and stop > start else ())
    ]
    empty = ordered.drop("middle").clear().with_columns(epoch=pl.lit(0, pl.Int64))
    return pl.concat([empty, *frames])
