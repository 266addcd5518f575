"""Rows of Arrow tables, gathered in any order: texts and token lists are copied once, by compiled code.

Arrow's own ``take`` first joins what lies in pieces and then builds columns of varying length value by value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numba import njit


def gather_rows(tables: Sequence[pa.Table], numbers: Sequence[np.ndarray], order: np.ndarray) -> pa.Table:
    """The rows ``numbers[i]`` (int64) of each ``tables[i]``, one after another and then in ``order``, in one chunk.

    ``order``: int64, a permutation of all these rows. The tables have one schema.
    """
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    places = np.split(place, np.cumsum([len(rows) for rows in numbers])[:-1])
    schema = tables[0].schema
    columns = []
    for field in schema:
        pieces = [_whole(table[field.name]) for table in tables]
        if all(_is_plain(piece) for piece in pieces):
            columns.append(_gathered(field.type, pieces, numbers, places, len(order)))
        else:
            taken = [piece.take(pa.array(rows)) for piece, rows in zip(pieces, numbers, strict=True)]
            columns.append(pa.concat_arrays(taken).take(pa.array(order)))
    return pa.table(columns, schema=schema)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; without a copy where it is one already."""
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _is_plain(column: pa.Array) -> bool:
    """Whether rows are stretches of one buffer, and none is null."""
    kind = column.type
    if column.null_count:
        return False
    if kind == pa.list_(pa.int32()):
        return bool(column.values.null_count == 0)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _gathered(
    kind: pa.DataType,
    pieces: Sequence[pa.Array],
    numbers: Sequence[np.ndarray],
    places: Sequence[np.ndarray],
    count: int,
) -> pa.Array:
    parts = [_stretches(piece) for piece in pieces]
    sizes = np.empty(count, dtype=np.int64)
    for (offsets, _), rows, place in zip(parts, numbers, places, strict=True):
        sizes[place] = offsets[rows + 1] - offsets[rows]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    out = np.empty(int(bounds[-1]), dtype=parts[0][1].dtype)
    for (offsets, values), rows, place in zip(parts, numbers, places, strict=True):
        _copy(offsets, values, rows, bounds, place, out)
    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), pa.array(out), type=kind)
    width = np.int64 if pa.types.is_large_string(kind) else np.int32
    return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(bounds.astype(width)), pa.py_buffer(out)])


def _stretches(column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Where each row of a column starts (int64, ``[rows + 1]``), and the values that these count."""
    buffers = column.buffers()
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    offsets = np.frombuffer(buffers[1], dtype=width)[column.offset : column.offset + len(column) + 1].astype(np.int64)
    if pa.types.is_list(column.type):
        values = column.values  # all of the buffer, from which the offsets count
        return offsets, values.to_numpy(zero_copy_only=True)
    return offsets, np.frombuffer(buffers[2], dtype=np.uint8) if buffers[2] is not None else np.empty(0, np.uint8)


@njit(cache=True, nogil=True)
def _copy(
    offsets: np.ndarray, values: np.ndarray, rows: np.ndarray, bounds: np.ndarray, place: np.ndarray, out: np.ndarray
) -> None:
    for i in range(len(rows)):
        start, end = offsets[rows[i]], offsets[rows[i] + 1]
        at = bounds[place[i]]
        out[at : at + end - start] = values[start:end]
