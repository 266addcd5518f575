"""Corpora that no recipe made: whatever documents the reader of local files finds, in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl

from plm_data.errors import PlmError, RecipeError, SourceError
from plm_data.recipe_sources import FilesSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.files import FilesReader
from plm_data.store import digest

_BATCH_ROWS, _BATCH_CHARACTERS = 1024, 4_000_000
# So many rows of a file are tried to find a document, or one with an id.
_TRIED = 100_000
# A broken file is told in words of our own, since there is no recipe to set ``broken_files`` in.
_SPEC = FilesSource(
    reader="files", paths=(".",), broken_files="quarantine", domain="any", language="any", license="any", priority=0
)
_ROW = {"row": pl.Int64, "file": pl.String, "line": pl.Int64, "name": pl.String, "text": pl.String}


@dataclass(frozen=True)
class Corpus:
    """Documents in local files, by the rules of ``reader: files``.

    ``text, id``: their columns; ``id`` None: ``id``, where there is one. ``kept``: the only ids that count, as
    ``hash_ids`` gives them, sorted; None: all.
    """

    files: Sequence[Path]
    text: str = "text"
    id: str | None = None
    kept: np.ndarray | None = None


def corpus_files(path: Path) -> list[Path]:
    """The files of a corpus: the file itself, or those below a folder; of one that has Parquet files only these."""
    with _without_recipe():
        files = _reader(path).files
    chosen = [file for file in files if file.kind == "parquet"] or files
    return [file.path for file in chosen if isinstance(file.path, Path)]


def hash_ids(ids: pl.Series) -> np.ndarray:
    """uint64 of each id, equal within one process: what ``Corpus.kept`` holds."""
    return ids.hash().to_numpy()


def check(corpus: Corpus) -> None:
    """Raise ``PlmError`` if a file cannot be read or no document has the columns: before an hour's work, not after."""
    refused: Rejected | None = None
    found = named = False
    for file in corpus.files:
        for _, _, item in islice(_read(file, corpus), _TRIED):
            if isinstance(item, Rejected):
                refused = refused or item
                continue
            found = True
            named = named or corpus.id is None or not _is_nameless(item.name, item.text)
            if named:
                break
    if refused and not found:
        raise PlmError(
            f"{refused.name}: {refused.reason} ({refused.detail}), and no other row tried can be read either; expected "
            f"texts in {corpus.text!r}. Name the column that holds them."
        )
    if found and not named:
        raise PlmError(
            f"{corpus.files[0]}: no document has an id in {corpus.id!r}. Name the column that holds the ids."
        )


def batches(corpus: Corpus, refused: Counter[str] | None = None) -> Iterator[pl.DataFrame]:
    """``row, file, line, name, text`` of the documents that have text and count.

    ``row`` counts over all files, ``line`` in its file from 1, and neither counts blank lines. ``refused`` gets the
    number of rows that cannot be read, by reason.
    """
    held: list[tuple[int, str, int, str, str]] = []
    row = characters = 0
    for file in corpus.files:
        for label, line, item in _read(file, corpus):
            row += 1
            if isinstance(item, Raw):
                held.append((row, label, line, item.name, item.text))
                characters += len(item.text)
            elif refused is not None:
                refused[item.reason] += 1
            if len(held) == _BATCH_ROWS or characters > _BATCH_CHARACTERS:
                yield from _batch(held, corpus.kept)
                held, characters = [], 0
    if held:
        yield from _batch(held, corpus.kept)


def _batch(rows: list[tuple[int, str, int, str, str]], kept: np.ndarray | None) -> Iterator[pl.DataFrame]:
    columns = zip(_ROW.items(), zip(*rows, strict=True), strict=True)
    frame = pl.DataFrame([pl.Series(name, values, kind) for (name, kind), values in columns])
    if kept is not None:
        place = np.searchsorted(kept, hashes := hash_ids(frame["name"]))
        inside = place < len(kept)
        inside[inside] = kept[place[inside]] == hashes[inside]
        frame = frame.filter(pl.Series(inside, dtype=pl.Boolean))
    if (frame := frame.filter(pl.col("text").str.contains(r"\S"))).height:
        yield frame


def ids(batch: pl.DataFrame) -> pl.Series:
    """What the documents of a batch are called: one without an id by its row in its file."""
    called = [
        f"row {line}" if _is_nameless(name, text) else name
        for line, name, text in batch.select("line", "name", "text").iter_rows()
    ]
    return pl.Series("id", called, dtype=pl.String)


def _is_nameless(name: str, text: str) -> bool:
    """The reader calls a document without an id by the hash of its text."""
    return len(name) == 64 and name == digest(text)


def _reader(path: Path, corpus: Corpus | None = None) -> FilesReader:
    columns = {} if corpus is None else {"text": corpus.text, "id": corpus.id or "id"}
    return FilesReader("corpus", _SPEC.model_copy(update={"paths": (str(path),), **columns}))


def _read(file: Path, corpus: Corpus) -> Iterator[tuple[str, int, Raw | Rejected]]:
    """What a file holds, each with the file's name and its row there."""
    with _without_recipe():
        reader = _reader(file, corpus)
        label = reader.files[0].label
        for line, item in enumerate(reader.read(0, 1), 1):
            if isinstance(item, Rejected) and item.reason == "unreadable-file":
                raise PlmError(f"{item.name} is broken: {item.detail}. Mend it, or take it away.")
            yield label, line, item


@contextmanager
def _without_recipe() -> Iterator[None]:
    """The reader's errors without the place in a recipe that each of them begins with."""
    try:
        yield
    except (RecipeError, SourceError) as error:
        raise PlmError(str(error).partition(": ")[2]) from error
