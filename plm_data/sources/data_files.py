"""Which files can be read, and how: by their suffixes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from plm_data.sources.remote import Remote

Kind = Literal["parquet", "lines", "whole", "archive"]
_KINDS: dict[str, Kind] = {
    ".parquet": "parquet", ".zip": "archive", ".tar": "archive",
    ".jsonl": "lines", ".ndjson": "lines", ".json": "lines",
    ".txt": "whole", ".text": "whole", ".md": "whole", ".markdown": "whole", ".rst": "whole",
}  # fmt: skip
_CODECS = {".gz": "gzip", ".zst": "zstd", ".tgz": "gzip"}
# They hold what is compressed in a way of their own.
_NEVER_PACKED = (".parquet", ".zip")
ACCEPTED = (
    ".parquet; .jsonl, .ndjson, .json, .txt, .text, .md, .markdown or .rst, plain or with .gz or .zst; "
    ".zip, .tar, .tar.gz, .tgz or .tar.zst"
)


def format_of(path: str) -> tuple[Kind | None, str | None]:
    """How documents lie in a file, and what it is compressed with, by its suffixes; None: not known."""
    name = PurePosixPath(path)
    suffix = name.suffix.lower()
    if (codec := _CODECS.get(suffix)) is None:
        return _KINDS.get(suffix), None
    inner = ".tar" if suffix == ".tgz" else name.with_suffix("").suffix.lower()
    kind = None if inner in _NEVER_PACKED else _KINDS.get(inner)
    return kind, codec if kind else None


@dataclass(frozen=True)
class DataFile:
    """A file to read. ``label`` is its path as the user gave it, or its URL; ``size`` is None where nobody says."""

    path: Path | Remote
    label: str
    size: int | None

    @property
    def _name(self) -> str:
        return urlsplit(self.label).path if isinstance(self.path, Remote) else self.label

    @property
    def codec(self) -> str | None:
        return format_of(self._name)[1]

    @property
    def kind(self) -> Kind | None:
        """How documents lie in it; None if its suffix is not among those accepted."""
        return format_of(self._name)[0]

    @property
    def is_zip(self) -> bool:
        return self._name.lower().endswith(".zip")

    @property
    def ranges(self) -> bool:
        """Whether any stretch of it can be read without what lies before."""
        return self.path.ranges if isinstance(self.path, Remote) else True
