"""The columns of one source, which lie in the outputs of several steps, row beside row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import polars as pl
import pyarrow.parquet as pq

from plm_data.errors import StoreError
from plm_data.store import Output
from plm_data.tables import read_slices


@dataclass(frozen=True)
class SourceColumns:
    """The outputs that hold one source's columns. ``near`` is None where near duplicates do not count."""

    documents: Output
    heuristics: Output
    language: Output
    tokens: Output
    near: Output | None = None

    def _outputs(self) -> list[Output]:
        return [output for field in fields(self) if (output := getattr(self, field.name)) is not None]

    def _wanted(self, names: Iterable[str]) -> list[tuple[Output, list[str]]]:
        """The outputs that hold any of the columns, each with those that it holds; documents first."""
        left, wanted = list(names), []
        for output in self._outputs():
            held = pq.read_schema(output.parts()[0]).names
            mine = [name for name in left if name in held]
            left = [name for name in left if name not in mine]
            wanted.append((output, mine))
        missing = [name for name in left if name not in _NEAR]
        if missing:
            raise StoreError(f"no step has the columns {', '.join(missing)}; this is a defect, please report it.")
        return [(output, mine) for output, mine in wanted if mine or output is self.documents]

    def slices(self, partition: int, names: Sequence[str]) -> Iterator[pl.DataFrame]:
        """``id`` and some columns of a partition, slice by slice."""
        wanted = self._wanted([name for name in names if name != "id"])
        parts = [read_slices(output.parts()[partition], ["id", *mine]) for output, mine in wanted]
        for frames in zip(*parts, strict=True):
            for frame, (output, _) in zip(frames, wanted, strict=True):
                if not frame["id"].equals(frames[0]["id"]):
                    raise StoreError(
                        f"{output.parts()[partition]}: its rows are not those of {self.documents.parts()[partition]}; "
                        f"delete the folder {output.path} and run the same command again."
                    )
            yield _complete(
                pl.concat([frames[0], *(frame.drop("id") for frame in frames[1:])], how="horizontal"), names
            )

    def all(self, names: Sequence[str]) -> pl.DataFrame:
        """Some columns of every document, read at once: for questions about a whole corpus, not for building one."""
        frames = []
        for output, mine in self._wanted(names):
            frames.append(pl.read_parquet(output.parts(), columns=mine, glob=False))
        return _complete(pl.concat(frames, how="horizontal"), names)


_NEAR = {"near_cluster": pl.UInt64, "near_cluster_size": pl.Int64}


def _complete(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """A source whose near duplicates do not count has nulls for its clusters."""
    missing = [name for name in names if name not in frame.columns]
    return frame.with_columns(pl.lit(None, _NEAR[name]).alias(name) for name in missing).select(
        *dict.fromkeys([*(["id"] if "id" in frame.columns else []), *names])
    )
