"""Rows gathered by compiled code are those that Arrow takes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from plm_data.rows import gather_rows

SCHEMA = pa.schema(
    [("text", pa.string()), ("large", pa.large_string()), ("tokens", pa.list_(pa.int32())), ("n", pa.int64()),
     ("maybe", pa.string())]
)  # fmt: skip
row_ = st.fixed_dictionaries(
    {
        "text": st.text(max_size=20), "large": st.text(max_size=20), "n": st.integers(0, 99),
        "tokens": st.lists(st.integers(0, 2**31 - 1), max_size=9), "maybe": st.none() | st.text(max_size=5),
    }
)  # fmt: skip


@given(st.lists(st.lists(row_, max_size=8), min_size=1, max_size=4), st.data())
def test_any_rows_of_any_tables_in_any_order(pieces: list[list[dict]], data: st.DataObject) -> None:
    tables, numbers = [], []
    for piece in pieces:
        # Slices and chunks lie otherwise in their buffers than whole columns.
        whole = pa.concat_tables([pa.Table.from_pylist(part, SCHEMA) for part in (piece[:3], piece[3:])])
        start = data.draw(st.integers(0, len(piece)))
        table = whole.slice(start) if data.draw(st.booleans()) else whole
        tables.append(table)
        rows = st.lists(st.integers(0, table.num_rows - 1), max_size=10) if table.num_rows else st.just([])
        numbers.append(np.array(data.draw(rows), dtype=np.int64))
    chosen = [table.take(pa.array(rows)) for table, rows in zip(tables, numbers, strict=True)]
    count = sum(len(rows) for rows in numbers)
    order = np.array(data.draw(st.permutations(range(count))), dtype=np.int64)
    found = gather_rows(tables, numbers, order)
    expected = pa.concat_tables(chosen).take(pa.array(order))
    assert found.schema == SCHEMA and found.to_pylist() == expected.to_pylist()
    found.validate(full=True)
