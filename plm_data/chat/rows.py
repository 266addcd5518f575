"""Rows of files as conversations: Parquet, JSON Lines, and JSON that is one list of objects."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import orjson
import pyarrow as pa

from plm_data.chat.conversation import Conversation
from plm_data.chat.forms import convert
from plm_data.recipe_conversations import COLUMNS, Form
from plm_data.sources.base import Raw
from plm_data.sources.file_bytes import BrokenFile
from plm_data.sources.file_formats import Columns, Reason
from plm_data.store import digest

_BLANK = b" \t\r\n"
_AFTER_ITEM = re.compile(r"[\s,]*")
_WANTED = tuple(dict.fromkeys(name for required, optional in COLUMNS.values() for name in (*required, *optional)))


@dataclass(frozen=True)
class Rows(Columns):
    """A row is a conversation, whose text is its JSON (``Conversation.to_json``). ``names``: column of the form → the
    set's."""

    form: Form | None = None
    names: tuple[tuple[str, str], ...] = ()

    def complaint(self, schema: pa.Schema) -> tuple[str, str] | None:
        if self.form is None:
            return None
        names = dict(self.names)
        for name in COLUMNS[self.form][0]:
            if (column := names.get(name, name)) not in schema.names:
                return "form", f"has no column {column!r}; its columns are {', '.join(schema.names)}"
        return None

    def stored(self, schema: pa.Schema) -> list[str]:
        names = dict(self.names)
        wanted = {self.id, *(names.get(name, name) for name in _WANTED)}
        return [name for name in schema.names if name in wanted]

    def divisible(self, path: str) -> bool:
        """JSON may be one list, which is read from its beginning."""
        return not path.lower().endswith(".json")

    def items(self, blocks: Iterable[bytes], label: str) -> Iterator[tuple[int, Raw | Reason]]:
        """The rows of JSON Lines by their lines, or of a list of objects by their places in it, from 1."""
        start = b""
        blocks = iter(blocks)
        while not start.strip(_BLANK) and (block := next(blocks, b"")):
            start += block
        if not start.lstrip(_BLANK).startswith(b"["):
            yield from super().items(chain([start], blocks), label)
            return
        rows, number = list_items(chain([start], blocks), self.max_line), 0
        while True:
            number += 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except ValueError as error:
                raise BrokenFile(f"{label}:row {number}", str(error)[:200]) from error
            yield number, self.row(row) if isinstance(row, dict) else ("not-an-object", "expected a list of objects")

    def parse(self, line: bytes | int) -> Raw | Reason | None:
        if isinstance(line, int):
            return "too-long", f"a row of {line:,} bytes; max_row_bytes is {self.max_bytes:,}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return ("not-json", f"character {error.pos + 1} of the line: {error.msg}") if line.strip() else None
        return self.row(row) if isinstance(row, dict) else ("not-an-object", "expected an object")

    def documents(self, batch: pa.RecordBatch, names: list[str], refusals: list[str | None]) -> Iterator[Raw | Reason]:
        try:
            rows: Iterable[dict[str, Any] | None] = batch.to_pylist()
        except UnicodeDecodeError:  # which row has it is found row by row
            rows = (_utf8_row(batch.slice(number, 1)) for number in range(batch.num_rows))
        for row, refusal in zip(rows, refusals, strict=True):
            if refusal is None:
                yield ("invalid-utf8", "bytes that are not UTF-8") if row is None else self.row(row)

    def row(self, row: dict[str, Any]) -> Raw | Reason:
        """A row as a document, or why it is none."""
        identity = None if self.id is None else row.get(self.id)
        found = convert(row, self.form, dict(self.names))
        if not isinstance(found, Conversation):
            return found
        try:
            text = found.to_json()
        except TypeError:  # half of a surrogate pair, which JSON can spell
            return "invalid-utf8", "a character that UTF-8 does not have"
        if 4 * len(text) > self.max_bytes and (size := len(text.encode())) > self.max_bytes:
            return "too-long", f"a conversation of {size:,} bytes; max_row_bytes is {self.max_bytes:,}"
        name = str(identity) if isinstance(identity, (str, int)) and not isinstance(identity, bool) else digest(text)
        return Raw(name, text, self.default_license)


def _utf8_row(one: pa.RecordBatch) -> dict[str, Any] | None:
    """The only row of a batch; None if a text in it is not UTF-8."""
    try:
        return dict(one.to_pylist()[0])
    except UnicodeDecodeError:
        return None


def list_items(blocks: Iterable[bytes], limit: int) -> Iterator[Any]:
    """The items of a JSON list, in the memory of a block and an item; raises ``ValueError`` where it is none."""
    decoder, more = json.JSONDecoder(), iter(_decoded(blocks))
    text, at, begun = "", 0, False
    while True:
        at = _AFTER_ITEM.match(text, at).end() if begun else len(text) - len(text.lstrip())  # type: ignore[union-attr]
        if at < len(text) and not begun:
            at, begun = at + 1, True  # the bracket
            continue
        if text.startswith("]", at):
            return
        why = "it ends within the list"
        try:
            # A number may go on in the next block; an object ends where it ends.
            item, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            why = str(error)
        else:
            yield item
            continue
        block = next(more, "") if len(text) - at <= limit else ""
        if not block:
            raise ValueError(f"its list of rows cannot be read on: {why}")
        text, at = text[at:] + block, 0


def _decoded(blocks: Iterable[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for block in blocks:
        if text := decoder.decode(block):
            yield text
