"""The steps of the mix over documents of given sizes, in any layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import polars as pl

from plm_data.engine import Step, run_steps
from plm_data.mix import ranked as ranked_module
from plm_data.mix.plan import EVERYTHING, Plan
from plm_data.mix.planned import PlanMix, read_plan
from plm_data.mix.ranked import Rank, Ranked
from plm_data.mix.select import Bands, Place, Select, read_placed
from plm_data.recipe import PhaseSpec
from plm_data.store import Counts, Output, Store
from plm_data.text.hashing import document_id, partition_of

Documents = dict[str, list[int]]


def phase(tokens: int, mix: Any, **more: Any) -> PhaseSpec:
    return PhaseSpec.model_validate({"segment": "stable", "tokens": tokens, "mix": mix, **more})


def content(source: str, number: int) -> str:
    """A content hash: as even as xxh3's."""
    return document_id("content", f"{source}/{number}")


class Drawn:
    """The steps in a folder. ``rows_a_bucket``: of the ranks; small ones make many buckets of few documents."""

    def __init__(
        self, folder: Path, documents: Documents, partitions: int = 1, rows_a_bucket: int = 500_000, seed: int = 5,
        held_out: float = 0.0, measures: dict[str, list[float | None]] | None = None,
    ):  # fmt: skip
        self.folder, self.partitions, self.seed, self.measures = folder, partitions, seed, measures
        self.store = Store(folder / "store")
        self.ranked: dict[str, Ranked] = {}
        with mock.patch.object(ranked_module, "ROWS_A_BUCKET", rows_a_bucket):
            for source, sizes in documents.items():
                decided, columns = self._decided(source, sizes)
                names = ("value",) if measures else ()
                rank = Rank(source, decided, columns, names, held_out, seed)
                self.ranked[source] = Ranked(self.one(rank), rank.buckets, names)

    def one(self, step: Step) -> Output:
        return run_steps(self.store, [step], step.name, 1)[0]

    def _decided(self, source: str, sizes: list[int]) -> tuple[Output, dict[str, Output]]:
        """Verdicts as ``Decide`` leaves them, the documents in the partitions of their ids; some are dropped."""
        ids = [document_id(source, str(i)) for i in range(len(sizes))]
        frame = pl.DataFrame(
            {
                "id": ids, "content_hash": [content(source, i) for i in range(len(sizes))], "token_count": sizes,
                "verdict": ["kept"] * len(sizes), "value": (self.measures or {}).get(source, [0.0] * len(sizes)),
            },
            schema_overrides={"token_count": pl.Int64, "value": pl.Float64, "id": pl.String, "content_hash": pl.String},
        )  # fmt: skip
        where = pl.Series([partition_of(identity, self.partitions) for identity in ids], dtype=pl.Int64)
        out = self.folder / f"decided-{source}"
        out.mkdir(parents=True)
        dropped = pl.DataFrame(
            {
                "id": ["f" * 32],
                "content_hash": ["f" * 32],
                "token_count": [10**9],
                "verdict": ["dropped"],
                "value": [0.0],
            }
        )
        for partition in range(self.partitions):
            mine = pl.concat([frame.filter(where == partition), dropped.cast(frame.schema)])
            mine.write_parquet(out / f"verdicts-{partition:05d}.parquet")
            mine.write_parquet(out / f"part-{partition:05d}.parquet")
        rows = len(sizes) + self.partitions
        output = Output("decide", source, out, Counts(rows, len(sizes), self.partitions), True, source)
        return output, dict.fromkeys(("documents", "heuristics", "language", "tokens"), output)

    def plan(self, phases: dict[str, PhaseSpec], epochs: float = 1.0) -> tuple[Plan, dict[str, list[float]]]:
        step = PlanMix(
            ranked={name: axis.output for name, axis in self.ranked.items()},
            buckets={name: axis.buckets for name, axis in self.ranked.items()},
            measures=("value",) if self.measures else (), phases=phases, most_epochs=dict.fromkeys(self.ranked, epochs),
        )  # fmt: skip
        return read_plan(self.one(step), phases, self.ranked)

    def rows(
        self, phases: dict[str, PhaseSpec], name: str, epochs: float = 1.0, order_buckets: int = 1
    ) -> pl.DataFrame:
        """The rows of a phase in their order; ``held-out``: the documents that no phase has."""
        plan, bounds = self.plan(phases, epochs)
        takes = plan.get(name, {})
        sources = list(takes) or list(self.ranked)
        order = phases[name].order if name in phases else None
        select = Select(
            phase=name,
            ranked={s: self.ranked[s].output for s in sources},
            buckets={s: self.ranked[s].buckets for s in sources},
            stem="ranked" if takes else "held-out",
            measures=("value",) if self.measures else (),
            pieces={s: [p.values() for p in (takes[s].pieces if takes else (EVERYTHING,))] for s in sources},
            cuts={s: list(take.cut) for s, take in takes.items() if take.cut},
            bands=vars(Bands("value", tuple(bounds[name]), order.descending)) if order else None,
            seed=self.seed,
            order_buckets=order_buckets,
        )
        placed = self.one(Place(self.one(select), order_buckets, self.partitions))
        frames = [read_placed(placed, partition, self.partitions) for partition in range(self.partitions)]
        return pl.concat(frames).sort("position")
