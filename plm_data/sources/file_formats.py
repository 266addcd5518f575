"""The formats of files: the documents of one stretch of a file, in memory that its size does not move."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plm_data.sources.base import Raw, Rejected
from plm_data.sources.data_files import DataFile
from plm_data.sources.file_bytes import (
    BLOCK,
    BrokenFile,
    LineCounter,
    aligned,
    container,
    decompressed,
    opened,
    split_lines,
    stretch,
    without_bom,
)
from plm_data.sources.python_env import UNKNOWN_LICENSE
from plm_data.sources.remote import SMALL_BLOCK, Remote
from plm_data.sources.where import Filter, no_column
from plm_data.store import digest

# Arrow decodes a batch whole: few rows bound the memory where texts are long, and cost no speed.
_BATCH_ROWS, _BATCH_BYTES = 128, 8 << 20

Reason = tuple[str, str]
"""Why a row is quarantined: the reason and its detail."""


@dataclass(frozen=True)
class Unit:
    """What one piece reads at a time: a Parquet row group, a byte range of a plain JSONL file, or a whole file."""

    file: DataFile
    start: int = 0
    stop: int = 0
    rows_before: int = 0


@dataclass(frozen=True)
class _Other:
    """A value that is neither text nor number, by the name of its type."""

    type: str


@dataclass(frozen=True)
class _TooLong:
    size: int


_MISSING = _Other("missing")


def _describe(value: Any) -> str:
    if isinstance(value, _Other):
        return value.type
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


@dataclass(frozen=True)
class Columns:
    """Which columns a document is made of, and what is too long for one."""

    text: str
    id: str | None
    license: str | None
    default_license: str
    max_bytes: int
    where: Filter

    def complaint(self, schema: pa.Schema) -> tuple[str, str] | None:
        """The recipe's key that a Parquet file with this schema cannot serve, and what the file has or has not."""
        for key, column in (("text", self.text), ("license_column", self.license)):
            if column is not None and column not in schema.names:
                return key, no_column(column, schema)
        what = self.where.complaint(schema)
        return ("where", what) if what else None

    def stored(self, schema: pa.Schema) -> list[str]:
        """The columns that must be read of a Parquet file with this schema."""
        wanted = dict.fromkeys((self.text, self.id, self.license, *self.where.columns))
        return [name for name in wanted if name is not None and name in schema.names]

    @property
    def max_line(self) -> int:
        """A line may be twice its text: escapes and the other columns take room too."""
        return 2 * self.max_bytes + BLOCK

    def document(self, text: Any, identity: Any, license_name: Any) -> Raw | Reason:
        """A row as a document, or why it is none. Bytes stand for what is not UTF-8."""
        if isinstance(text, bytes) or isinstance(identity, bytes) or isinstance(license_name, bytes):
            return "invalid-utf8", "bytes that are not UTF-8"
        if isinstance(text, str):
            # No character takes more than four bytes.
            if 4 * len(text) > self.max_bytes and (size := len(text.encode())) > self.max_bytes:
                text = _TooLong(size)
        elif not isinstance(text, _TooLong):
            return "no-text", f"column {self.text!r}: {_describe(text)}"
        if isinstance(text, _TooLong):
            return "too-long", f"a text of {text.size:,} bytes; max_document_bytes is {self.max_bytes:,}"
        if identity is None:
            identity = digest(text)
        elif isinstance(identity, int) and not isinstance(identity, bool):
            identity = str(identity)
        elif not isinstance(identity, str):
            return "bad-id", f"column {self.id!r}: {_describe(identity)}; expected a string or an integer"
        if self.license is None:
            return Raw(identity, text, self.default_license)
        return Raw(identity, text, str(license_name or UNKNOWN_LICENSE))

    def divisible(self, path: str) -> bool:
        """Whether a stretch of a file of lines can be read without what lies before."""
        return True

    def items(self, blocks: Iterable[bytes], label: str) -> Iterator[tuple[int, Raw | Reason]]:
        """What is in each line that is not blank, with its number among these lines. ``label``: of the file."""
        for number, line in enumerate(split_lines(blocks, self.max_line), 1):
            if (item := self.parse(line)) is not None:
                yield number, item

    def parse(self, line: bytes | int) -> Raw | Reason | None:
        """The document in a line of JSON; None for a blank line. A number is the size of a line not held."""
        if isinstance(line, int):
            return "too-long", f"a line of {line:,} bytes; max_document_bytes is {self.max_bytes:,}"
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            return _not_json(line, error)
        if not isinstance(row, dict):
            return "not-an-object", f"{_describe(row)} where an object is expected"
        identity = None if self.id is None else row.get(self.id)
        if isinstance(identity, float):
            identity = _exact(line, self.id, identity)
        license_name = None if self.license is None else row.get(self.license)
        return self.document(row.get(self.text, _MISSING), identity, license_name)

    def documents(self, batch: pa.RecordBatch, names: list[str], refusals: list[str | None]) -> Iterator[Raw | Reason]:
        """The rows of a Parquet batch, of the stored columns ``names``, that are not refused."""
        passed = [why is None for why in refusals]
        mask = None if all(passed) else pa.array(passed)

        def cells(name: str | None, convert: Callable[[pa.Array], list[Any]]) -> list[Any]:
            if name not in names:
                return [None] * sum(passed)
            column = _plain(batch.column(name))
            return convert(column if mask is None else column.filter(mask))

        texts = cells(self.text, lambda column: _texts(column, self.max_bytes))
        licenses = cells(self.license, lambda column: _cells(column, any_type=True))
        return map(self.document, texts, cells(self.id, _cells), licenses)


def _not_json(line: bytes, error: orjson.JSONDecodeError) -> Reason | None:
    if not line.strip():
        return None
    try:
        line.decode()
    except UnicodeDecodeError as undecodable:
        return "invalid-utf8", f"byte {undecodable.start + 1} of the line: {undecodable.reason}"
    reason = "invalid-utf8" if "surrogate" in error.msg else "not-json"
    return reason, f"character {error.pos + 1} of the line: {error.msg}"


def _exact(line: bytes, column: str | None, value: float) -> int | float:
    """orjson takes an integer beyond 64 bits for a float; it is told apart here."""
    try:
        return json.loads(line)[column]
    except (ValueError, RecursionError):
        return value


def read_unit(
    unit: Unit, columns: Columns, footers: Callable[[DataFile], pq.FileMetaData], lines_before: LineCounter,
    salvage: bool,
) -> Iterator[Raw | Rejected]:  # fmt: skip
    """The documents of a unit; raises ``BrokenFile`` where it breaks off.

    ``salvage``: up to the last byte that a broken file gives, which takes a second pass over it.
    """
    file = unit.file
    if file.kind == "parquet":
        yield from _read_row_group(unit, footers(file), columns)
        return
    if file.codec:
        blocks, begin = decompressed(file.path, file.codec, file.label, salvage), 0
    else:
        begin, end = aligned(file.path, unit.start, unit.stop)
        blocks = stretch(file.path, begin, end)
    if begin == 0:
        yield from read_blocks(file.kind == "lines", file.label, blocks, columns)
        return
    for number, item in columns.items(blocks, file.label):
        if isinstance(item, Raw):
            yield item
        elif isinstance(file.path, Remote):  # to count its lines would be to fetch again all that lies before
            yield Rejected(f"{file.label}:byte {begin}, line {number}", "quarantined", *item)
        else:
            yield Rejected(f"{file.label}:{lines_before(file.path, begin) + number}", "quarantined", *item)


def read_blocks(lines: bool, label: str, blocks: Iterator[bytes], columns: Columns) -> Iterator[Raw | Rejected]:
    """The documents of a whole file from its bytes: one a line of JSON, or the one that it is."""
    if not lines:
        yield from _read_whole(label, without_bom(blocks), columns)
        return
    for number, item in columns.items(without_bom(blocks), label):
        yield item if isinstance(item, Raw) else Rejected(f"{label}:{number}", "quarantined", *item)


def _read_whole(label: str, blocks: Iterable[bytes], columns: Columns) -> Iterator[Raw | Rejected]:
    """A file as one document, named by the file; an empty file holds none."""
    data = bytearray()
    for block in blocks:
        data += block
        if len(data) > columns.max_bytes:
            yield Rejected(label, "quarantined", "too-long", f"more than {columns.max_bytes:,} bytes")
            return
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        yield Rejected(label, "quarantined", "invalid-utf8", f"byte {error.start + 1} of the file: {error.reason}")
        return
    if text:
        yield Raw(label, text, columns.default_license)


@dataclass(frozen=True)
class ParquetShape:
    """What a Parquet file's footer says: schema, rows of each row group, and bytes of text at most (None: unknown)."""

    schema: pa.Schema
    rows: tuple[int, ...]
    text_bytes: int | None


def read_footer(file: DataFile) -> pq.FileMetaData:
    """A Parquet file's footer; raises ``BrokenFile``."""
    with container(lambda: file.label), opened(file.path, SMALL_BLOCK) as source:
        return pq.read_metadata(source)


def parquet_shape(file: DataFile, footer: pq.FileMetaData, text: str) -> ParquetShape:
    """The shape of a file for one column of texts; raises ``BrokenFile`` if its columns make no sense."""
    with container(lambda: file.label):
        schema = footer.schema.to_arrow_schema()
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    chunks = [
        group.column(i)
        for i in range(footer.num_columns)
        if footer.schema.column(i).path == text
        for group in groups
    ]  # fmt: skip
    # A dictionary holds a repeated text once, and a corpus too: what it hides from the sum is dropped as duplicate.
    # Texts stored as what differs from the one before may be of any length.
    unknown = any("DELTA_BYTE_ARRAY" in chunk.encodings for chunk in chunks)
    size = None if unknown else sum(chunk.total_uncompressed_size for chunk in chunks)
    return ParquetShape(schema, tuple(group.num_rows for group in groups), size)


def _read_row_group(unit: Unit, footer: pq.FileMetaData, columns: Columns) -> Iterator[Raw | Rejected]:
    row = unit.rows_before
    with container(lambda: f"{unit.file.label}:row {row + 1}"):
        names = columns.stored(footer.schema.to_arrow_schema())
        group = footer.row_group(unit.start)
        if why := columns.where.rules_out(group):
            for number in range(row + 1, row + group.num_rows + 1):
                yield Rejected(f"{unit.file.label}:row {number}", "dropped", "where", why)
            return
        size = sum(
            group.column(i).total_uncompressed_size
            for i in range(footer.num_columns)
            if footer.schema.column(i).path in names
        )
        rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES * group.num_rows // max(1, size)))
        # Buffered ahead, a whole column of the row group would lie in memory.
        with opened(unit.file.path) as source:
            file = pq.ParquetFile(
                source, metadata=footer, pre_buffer=False, buffer_size=BLOCK, page_checksum_verification=True
            )
            for batch in file.iter_batches(rows, row_groups=[unit.start], columns=names, use_threads=False):
                asked = {name: _plain(batch.column(name)).to_pylist() for name in columns.where.columns}
                refusals = columns.where.refusals(asked, batch.num_rows)
                documents = columns.documents(batch, names, refusals)
                for why in refusals:
                    row += 1
                    if why is not None:
                        yield Rejected(f"{unit.file.label}:row {row}", "dropped", "where", why)
                        continue
                    item = next(documents)
                    if isinstance(item, Raw):
                        yield item
                    else:
                        yield Rejected(f"{unit.file.label}:row {row}", "quarantined", *item)
        if (lost := unit.rows_before + group.num_rows - row) != 0:
            raise BrokenFile(f"{unit.file.label}:row {row + 1}", f"{lost} rows fewer than its footer says")


def _plain(column: pa.Array) -> pa.Array:
    """A column without the dictionary, view or extension type that it may come in."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(column.type) or pa.types.is_fixed_size_binary(column.type):
        return column.cast(pa.large_binary())
    return column


def _is_utf8(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_text(kind: pa.DataType) -> bool:
    return _is_utf8(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _texts(column: pa.Array, limit: int) -> list[Any]:
    """The cells of a column of texts; one that is too long is not made a string."""
    column = _plain(column)
    if not _is_text(column.type):
        return _cells(column)
    sizes = pc.binary_length(column)
    if (pc.max(sizes).as_py() or 0) <= limit:
        return _cells(column)
    cells = _cells(pc.if_else(pc.greater(sizes, limit), pa.scalar(None, column.type), column))
    return [
        _TooLong(size) if size is not None and size > limit else cell
        for cell, size in zip(cells, sizes.to_pylist(), strict=True)
    ]


def _cells(column: pa.Array, any_type: bool = False) -> list[Any]:
    """Strings, integers and None as they are; bytes that are not UTF-8 as bytes; others as no more than their type."""
    column = _plain(column)
    kind = column.type
    if _is_text(kind):
        with suppress(UnicodeDecodeError):
            return (column if _is_utf8(kind) else column.cast(pa.large_string(), safe=False)).to_pylist()
        return [_decoded(cell) for cell in column.cast(pa.large_binary()).to_pylist()]
    if pa.types.is_integer(kind) or any_type:
        return column.to_pylist()
    other = _Other(str(kind))
    return [other if valid else None for valid in column.is_valid().to_pylist()]


def _decoded(cell: bytes | None) -> str | bytes | None:
    try:
        return None if cell is None else cell.decode()
    except UnicodeDecodeError:
        return cell
