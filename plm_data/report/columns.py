"""The columns that a build's attribute steps have measured: which they are, what kind, and between what ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import polars as pl
import pyarrow.parquet as pq

from plm_data.build import Build
from plm_data.errors import StoreError
from plm_data.inspect.tables import NOT_MEASURES
from plm_data.report.bins import Extent

# A category is a short text of which few are different; what else is text may be as large as the corpus.
_LABEL_CHARS = 64
_FEW = 20
# What is looked at to tell: so many values, and at most so many row groups where most are null.
_SAMPLED_VALUES, _SAMPLED_GROUPS = 1000, 20


@dataclass(frozen=True, order=True)
class Column:
    """One measure: the step that it comes from, its name, and whether it is a number or a category."""

    step: str
    name: str
    kind: Literal["number", "category"]
    whole: bool


def columns(build: Build) -> list[Column]:
    """Every numeric or categorical column of every attribute step, by step and name; ids and texts are neither."""
    files: dict[str, list[Path]] = {}
    for outputs in build.attributes.values():
        for step, output in outputs.items():
            files.setdefault(step, []).extend(output.parts())
    found = []
    for step in sorted(files):
        for name, dtype in sorted(pl.read_parquet_schema(files[step][0]).items()):
            if name != "id" and name not in NOT_MEASURES and (kind := _kind(dtype, files[step], name)):
                found.append(Column(step, name, kind, dtype.is_integer()))
    return found


def _kind(dtype: pl.DataType, parts: list[Path], name: str) -> Literal["number", "category"] | None:
    if dtype == pl.Boolean or isinstance(dtype, (pl.Enum, pl.Categorical)):
        return "category"
    if dtype.is_numeric():
        return "number"
    return "category" if dtype == pl.String and _are_labels(parts, name) else None


def _are_labels(parts: list[Path], name: str) -> bool:
    """Whether a column of strings holds labels, by some of its first values."""
    values: list[str] = []
    for group in islice(_row_groups(parts, name), _SAMPLED_GROUPS):
        values += group.drop_nulls().head(_SAMPLED_VALUES - len(values)).to_list()
        if any(len(value) > _LABEL_CHARS for value in values):
            return False
        if len(values) >= _SAMPLED_VALUES:
            break
    return bool(values) and len(set(values)) <= max(_FEW, len(values) // 2)


def _row_groups(parts: list[Path], name: str) -> Iterator[pl.Series]:
    for part in parts:
        with pq.ParquetFile(part) as file:
            for number in range(file.metadata.num_row_groups):
                frame = pl.from_arrow(file.read_row_group(number, columns=[name]))
                assert isinstance(frame, pl.DataFrame)
                yield frame[name]


def extents(build: Build, wanted: list[Column]) -> dict[Column, Extent]:
    """The ends of the numeric columns over all sources; a column without a finite value is not there.

    One scan of each step's output, which holds no more of it than Polars' streaming engine does.
    """
    found: dict[Column, Extent] = {}
    for outputs in build.attributes.values():
        for step, output in outputs.items():
            scan = pl.scan_parquet(output.parts(), glob=False)
            mine = [c for c in _held(scan, step, wanted) if c.kind == "number"]
            if not mine:
                continue
            asked = []
            for column in mine:
                value = _finite(column.name)
                asked += [
                    value.min().alias(f"{column.name} low"),
                    value.max().alias(f"{column.name} high"),
                    value.filter(value > 0).min().alias(f"{column.name} positive"),
                ]
            row = scan.select(asked).collect(engine="streaming").row(0, named=True)
            for column in mine:
                low, high, positive = (row[f"{column.name} {end}"] for end in ("low", "high", "positive"))
                if low is not None:
                    found[column] = _joined(found.get(column), Extent(low, high, positive, column.whole))
    return found


def median(build: Build, column: Column) -> float | None:
    """Of a numeric column's finite values over all sources; holds this one column."""
    parts = [
        part
        for outputs in build.attributes.values()
        if column.step in outputs
        for part in outputs[column.step].parts()
        if column.name in pl.read_parquet_schema(part)
    ]
    found = pl.scan_parquet(parts, glob=False).select(_finite(column.name).median()).collect().item()
    return None if found is None else float(found)


def _finite(name: str) -> pl.Expr:
    value = pl.col(name).cast(pl.Float64)
    return value.filter(value.is_finite())


def _held(scan: pl.LazyFrame, step: str, wanted: list[Column]) -> list[Column]:
    names = scan.collect_schema().names()
    return [column for column in wanted if column.step == step and column.name in names]


def _joined(one: Extent | None, other: Extent) -> Extent:
    if one is None:
        return other
    positive = [value for value in (one.positive, other.positive) if value is not None]
    return Extent(
        min(one.low, other.low), max(one.high, other.high), min(positive, default=None), one.whole and other.whole
    )


def frames(build: Build, source: str, wanted: list[Column]) -> Iterator[pl.DataFrame]:
    """The measures of a source beside its verdicts, partition by partition.

    Columns: ``id, kept, token_count, bytes, detected_language`` of the verdicts, and the wanted ones as
    ``step/name``: numbers as float64, categories as strings. A step that the source has not gives none.
    """
    outputs = build.attributes[source]
    verdicts = build.decided[source].parts("verdicts")
    for partition, part in enumerate(verdicts):
        measured: pl.DataFrame | None = None
        for step, output in outputs.items():
            file = output.parts()[partition]
            mine = _held(pl.scan_parquet(file, glob=False), step, wanted)
            if not mine:
                continue
            frame = pl.scan_parquet(file, glob=False).select("id", *(_value(column) for column in mine)).collect()
            if measured is None:
                measured = frame
            elif measured["id"].equals(frame["id"]):
                measured = measured.hstack(frame.drop("id"))
            else:
                raise StoreError(
                    f"{file}: its rows are not those of the other attributes; delete the folder {output.path} "
                    f"and run the same command again."
                )
        told = pl.read_parquet(part, columns=["id", "verdict", "token_count", "bytes", "detected_language"])
        told = told.with_columns(kept=pl.col("verdict") == "kept").drop("verdict")
        yield told if measured is None else measured.join(told, on="id", how="left", maintain_order="left")


def _value(column: Column) -> pl.Expr:
    kind = pl.Float64 if column.kind == "number" else pl.String
    return pl.col(column.name).cast(kind).alias(f"{column.step}/{column.name}")
