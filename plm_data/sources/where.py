"""A source's ``where``: which rows of a Parquet file it means, told from the footer where it can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plm_data.recipe_keys import Condition, kind_of
from plm_data.text.printable import clip


@dataclass(frozen=True)
class Filter:
    """The conditions of a source, all of which a row must meet.

    Values are compared exactly, a whole number with a fraction too; texts by their code points. A null and a NaN
    meet no condition.
    """

    conditions: dict[str, Condition]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.conditions)

    def complaint(self, schema: pa.Schema) -> str | None:
        """Why the conditions cannot be asked of a file with this schema, as what the file has or has not."""
        for column, condition in self.conditions.items():
            if column not in schema.names:
                return no_column(column, schema)
            type_, wanted = schema.field(column).type, kind_of(condition.values[0])
            if _kind(type_) != wanted:
                return (
                    f"has the type {type_} in the column {column!r}, which cannot be compared with the {wanted} "
                    f"{condition.values[0]!r}"
                )
        return None

    def rules_out(self, group: pq.RowGroupMetaData) -> str | None:
        """Why no row of a row group can pass, as its statistics tell; None if some may."""
        for i in range(group.num_columns):
            chunk = group.column(i)
            condition = self.conditions.get(chunk.path_in_schema)
            # A dot may be in a column's own name, or lead to a field within another column.
            if condition is None or "." in chunk.path_in_schema or (bounds := _bounds(chunk)) is None:
                continue
            if not _may_meet(condition, *bounds):
                return f"column {chunk.path_in_schema!r} is {_shown(bounds[0])} to {_shown(bounds[1])} in the row group"
        return None

    def refusals(self, cells: dict[str, Sequence[Any]], rows: int) -> list[str | None]:
        """Of each row why it is dropped: the first condition that it fails; None if it passes. ``cells``: by column."""
        why: list[str | None] = [None] * rows
        for column, condition in self.conditions.items():
            for row, value in enumerate(cells[column]):
                if why[row] is None and not _meets(condition, value):
                    why[row] = f"column {column!r} is {_shown(value)}"
        return why


def no_column(column: str, schema: pa.Schema) -> str:
    return f"has no column {column!r}; its columns are {', '.join(schema.names)}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return clip(repr(value[:60]), 60)
    return "null" if value is None else repr(value)


def _kind(type_: pa.DataType) -> str | None:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if pa.types.is_boolean(type_):
        return "boolean"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_):
        return "number"
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return "text" if any(is_one(type_) for is_one in texts) else None


def _meets(condition: Condition, value: Any) -> bool:
    # A NaN is not equal to itself, and a comparison with it is false.
    if value is None or value != value:
        return False
    return (
        (condition.equals is None or value == condition.equals)
        and (condition.min is None or value >= condition.min)
        and (condition.max is None or value <= condition.max)
        and (not condition.in_ or value in condition.in_)
    )


def _bounds(chunk: pq.ColumnChunkMetaData) -> tuple[Any, Any] | None:
    """The least and the greatest value of a column chunk; a bound of a text may be cut short, and is one still."""
    statistics = chunk.statistics
    if statistics is None or not statistics.has_min_max:
        return None
    try:
        low: Any = statistics.min
        high: Any = statistics.max
    except UnicodeDecodeError:
        return None
    # Bytes have no order that a text could be compared by; and a NaN that was counted in bounds nothing.
    return None if isinstance(low, bytes) or not low <= high else (low, high)


def _may_meet(condition: Condition, low: Any, high: Any) -> bool:
    wanted = condition.in_ if condition.equals is None else (condition.equals,)
    return (
        (condition.min is None or high >= condition.min)
        and (condition.max is None or low <= condition.max)
        and (not wanted or any(low <= value <= high for value in wanted))
    )
