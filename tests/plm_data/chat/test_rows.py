"""Rows of JSON, JSON Lines and Parquet; a list of objects is read in the memory of one of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plm_data.chat.conversation import Conversation
from plm_data.chat.rows import Rows, list_items
from plm_data.sources.base import Raw
from plm_data.sources.file_bytes import BrokenFile
from plm_data.sources.where import Filter

ROWS = Rows("", "id", None, "MIT", 10_000, Filter({}))
ROW = {"id": 7, "prompt": "Why?", "response": "So."}


def blocks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]), st.booleans())
def test_a_list_is_read_as_json_reads_it(items: list[Any], size: int, indent: int | None, plain: bool) -> None:
    # A number alone may be cut in two by a block; rows are objects.
    rows = [{"row": item} for item in items]
    data = json.dumps(rows, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        return
    assert list(list_items(blocks(b"  " + data + b"\n", size), 1 << 20)) == rows


@pytest.mark.parametrize(
    "data", [b'[{"a": 1}', b'[{"a": 1}, {"a"', b'[{"a": 1} x', b"[" * 5000, b'[{"a": "' + b"x" * 300]
)
def test_a_broken_list_is_an_error_after_its_sound_rows(data: bytes) -> None:
    rows = list_items(blocks(data, 16), 200)
    if data.startswith(b'[{"a": 1}'):
        assert next(rows) == {"a": 1}
    with pytest.raises(ValueError, match="cannot be read on"):
        list(rows)


def test_lines_and_a_list_give_the_same() -> None:
    lines = b"\n".join(
        json.dumps(row).encode() for row in (ROW, {"id": "b", **{k: ROW[k] for k in ("prompt", "response")}})
    )
    found = list(ROWS.items(blocks(lines, 7), "x.json"))
    listed = list(ROWS.items(blocks(b"[" + lines.replace(b"\n", b",") + b"]", 7), "x.json"))
    assert found == listed and [number for number, _ in found] == [1, 2]
    first = found[0][1]
    assert (
        isinstance(first, Raw) and first.name == "7" and Conversation.from_json(first.text).turns[0] == ("user", "Why?")
    )
    assert list(ROWS.items(iter([b""]), "x.json")) == []


@pytest.mark.parametrize(
    "line, reason",
    [
        (b"{", "not-json"),
        (b"7", "not-an-object"),
        (b'{"prompt": "Why?"}', "unknown-form"),
        (json.dumps({**ROW, "response": "x" * 20_000}).encode(), "too-long"),
        (b'{"prompt": "\\ud800", "response": "So."}', "not-json"),
    ],
)
def test_a_bad_line_has_its_reason(line: bytes, reason: str) -> None:
    (number, found), (after, fine) = ROWS.items(iter([line + b"\n" + json.dumps(ROW).encode()]), "x.jsonl")
    assert (number, after) == (1, 2) and isinstance(fine, Raw)
    assert not isinstance(found, Raw) and found[0] == reason


def test_in_a_list_too() -> None:
    data = b'[7, {"prompt": "\\ud800", "response": "So."}, ' + json.dumps(ROW).encode() + b"]"
    found = [item for _, item in ROWS.items(iter([data]), "x.json")]
    assert [item if isinstance(item, Raw) else item[0] for item in found[:2]] == ["not-an-object", "invalid-utf8"]
    assert isinstance(found[2], Raw)
    with pytest.raises(BrokenFile) as error:
        list(ROWS.items(iter([data[:-5]]), "x.json"))
    assert error.value.where == "x.json:row 3"


def test_parquet_rows_and_bytes_that_are_no_text() -> None:
    text = pa.array(["Why?", "How?"]).cast(pa.binary())
    broken = pa.Array.from_buffers(
        pa.string(), 2, pa.array([b"\xff\xfe", b"fine"]).buffers()
    )  # fmt: skip
    batch = pa.record_batch({"prompt": text.cast(pa.string()), "response": broken})
    found = list(ROWS.documents(batch, ["prompt", "response"], [None, None]))
    assert not isinstance(found[0], Raw) and found[0][0] == "invalid-utf8" and isinstance(found[1], Raw)
    assert list(ROWS.documents(batch, ["prompt", "response"], ["dropped", "dropped"])) == []


def test_a_declared_form_must_be_served_by_a_parquet_file() -> None:
    schema = pa.schema([("query", pa.string()), ("response", pa.string())])
    form = Rows("", "id", None, "MIT", 10_000, Filter({}), "prompt-response")
    assert form.complaint(schema) == ("form", "has no column 'prompt'; its columns are query, response")
    renamed = Rows("", "id", None, "MIT", 10_000, Filter({}), "prompt-response", (("prompt", "query"),))
    assert renamed.complaint(schema) is None and renamed.stored(schema) == ["query", "response"]
