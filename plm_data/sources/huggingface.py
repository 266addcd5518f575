"""Rows of a Hugging Face dataset, streamed through ``datasets``: from the hub, or from local files."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from plm_data.errors import RecipeError, SourceError
from plm_data.recipe_sources import HuggingFaceSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.python_env import UNKNOWN_LICENSE
from plm_data.store import digest, file_sha256


class HuggingFaceReader:
    """Streams the rows; the dataset's own shards (its files) are dealt out to the pieces."""

    def __init__(self, name: str, spec: HuggingFaceSource):
        self.name, self.spec = name, spec

    @cached_property
    def _files(self) -> list[Path]:
        found = {Path(match) for pattern in self.spec.data_files for match in glob.glob(pattern)}
        files = sorted(path for path in found if path.is_file())
        if self.spec.data_files and not files:
            raise RecipeError(
                f"sources.{self.name}.data_files: no file matches {', '.join(self.spec.data_files)} "
                f"(looked in {Path.cwd()})."
            )
        return files

    @cached_property
    def _sums(self) -> list[str]:
        try:
            return [file_sha256(file) for file in self._files]
        except OSError as error:
            raise RecipeError(f"sources.{self.name}.data_files: {error.filename} cannot be read: {error}.") from error

    def fingerprint(self) -> str:
        return digest([self.spec.path, self.spec.config, self.spec.split, self.spec.revision, self._sums])

    def contents(self) -> dict[str, str]:
        files = {str(file): sha256 for file, sha256 in zip(self._files, self._sums, strict=True)}
        return files or {self.spec.path: str(self.spec.revision)}

    def size_bound(self) -> int | None:
        """The declared size. A file's own size bounds nothing: it may be compressed."""
        return self.spec.bytes if self._files or not self.spec.data_files else 0

    def read(self, piece: int, pieces: int) -> Iterator[Raw | Rejected]:
        for row in self._rows(piece, pieces):
            text = row.get(self.spec.text)
            name = self._row_name(row, text)
            if not isinstance(text, str):
                found = "no such column" if self.spec.text not in row else type(text).__name__
                yield Rejected(name, "quarantined", "no-text", f"column {self.spec.text!r}: {found}")
                continue
            license_name = row.get(self.spec.license_column) if self.spec.license_column else self.spec.license
            yield Raw(name, text, str(license_name or UNKNOWN_LICENSE))

    def _row_name(self, row: dict[str, Any], text: Any) -> str:
        """The row's id; without one, the hash of its text, wherever the row lies."""
        identity = row.get(self.spec.id) if self.spec.id else None
        return digest(str(text)) if identity is None else str(identity)

    def _rows(self, piece: int, pieces: int) -> Iterator[dict[str, Any]]:
        """The rows; whatever keeps ``datasets`` from giving them becomes one error that names the source."""
        # An empty file holds no rows, but the loaders stumble over it.
        files = [str(file) for file in self._files if file.stat().st_size]
        if self._files and not files:
            return
        try:
            rows = self._stream(files)
            for shard in range(piece, rows.num_shards, pieces):
                yield from rows.shard(rows.num_shards, shard)
        except Exception as error:
            where = f"one of {', '.join(files)}" if files else f"{self.spec.path} at {self.spec.revision}"
            raise SourceError(
                f"sources.{self.name}: {where} cannot be read through datasets' {self.spec.path!r}: "
                f"{type(error).__name__}: {error}. Mend the file, or take it out of data_files."
            ) from error

    def _stream(self, files: list[str]) -> Any:
        import datasets

        return datasets.load_dataset(
            self.spec.path,
            self.spec.config,
            split=self.spec.split,
            revision=self.spec.revision,
            data_files=files or None,
            streaming=True,
        )
