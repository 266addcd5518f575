"""Verdicts: the ledger, and one row a document with what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from plm_data.decisions.columns import SourceColumns
from plm_data.decisions.ledger import LEDGER, reason_order
from plm_data.decisions.winners import ledger_rows, read_losers
from plm_data.engine import Step
from plm_data.store import Counts, Output
from plm_data.tables import part_file, write_parquet


@dataclass(frozen=True)
class Decide(Step):
    """One source's ledger, verdicts and rejected rows (``ledger``, ``verdicts``, ``rejected`` parts), sorted by id.

    ``through``: the outputs that its documents came through, from Collect on, each with the rows that it rejected.
    """

    name: ClassVar[str] = "decide"
    source: str
    domain: str
    through: tuple[Output, ...]
    columns: dict[str, Output]
    judged: Output
    won: Output

    @property
    def partitions(self) -> int:
        return len(SourceColumns(**self.columns).documents.parts())

    @property
    def rows_expected(self) -> int:
        return self.through[0].counts.read

    def run(self, partition: int, out: Path) -> Counts:
        columns = SourceColumns(**self.columns)
        base = pl.concat(
            columns.slices(
                partition,
                [
                    "name",
                    "license",
                    "content_hash",
                    "bytes",
                    "language",
                    "token_count",
                    "near_cluster",
                    "near_cluster_size",
                ],
            )
        )
        losers = read_losers(self.won, partition, len(columns.documents.parts())).filter(
            pl.col("source") == self.source
        )
        fired = pl.concat(
            [pl.read_parquet(part_file(self.judged.path, partition, "fired")).cast(LEDGER), ledger_rows(losers)]  # type: ignore[arg-type]
        )
        rejected = self._rejected(partition)
        kept_rows = base.join(fired, on="id", how="anti").select(
            "id", source=pl.lit(self.source), verdict=pl.lit("kept"),
            **{name: pl.lit(None, LEDGER[name]) for name in ("rule", "value", "threshold", "bound", "winner")},
        )  # fmt: skip
        ledger = pl.concat([fired, rejected.select(list(LEDGER)), kept_rows]).sort("id", "rule")
        reasons = (
            fired.with_columns(order=pl.col("rule").replace_strict(reason_order(), return_dtype=pl.Int32))
            .sort("id", "order")
            .group_by("id", maintain_order=True)
            .agg(reason=pl.col("rule").first(), winner=pl.col("winner").drop_nulls().first())
        )
        verdicts = base.join(reasons, on="id", how="left").select(
            "id", "name", "license", "reason", "winner", "token_count", "bytes", "content_hash", "near_cluster",
            "near_cluster_size", source=pl.lit(self.source), domain=pl.lit(self.domain),
            verdict=pl.when(pl.col("reason").is_null()).then(pl.lit("kept")).otherwise(pl.lit("dropped")),
            detected_language="language",
        ).sort("id")  # fmt: skip
        rejected = rejected.sort("id", "rule", "name", "detail")
        for name, frame in (("ledger", ledger), ("verdicts", verdicts), ("rejected", rejected)):
            write_parquet(frame, part_file(out, partition, name))
        quarantined = rejected.filter(pl.col("verdict") == "quarantined").height
        return Counts(
            read=base.height + rejected.height,
            kept=kept_rows.height,
            dropped=base.height - kept_rows.height + rejected.height - quarantined,
            quarantined=quarantined,
        )

    def _rejected(self, partition: int) -> pl.DataFrame:
        frames = [
            pl.read_parquet(part_file(output.path, partition, "rejected")).with_columns(
                rule=pl.lit(f"{output.step}.") + pl.col("reason")
            )
            for output in self.through
        ]
        none = {name: pl.lit(None, LEDGER[name]) for name in ("value", "threshold", "bound", "winner")}
        return pl.concat(frames).select("id", "verdict", "rule", "name", "detail", source=pl.lit(self.source), **none)
