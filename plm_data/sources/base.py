"""The contract of a reader."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True)
class Raw:
    """A document as it was found. ``name`` is its own name within the source, free of the machine's paths.

    ``metadata``: what else is known of it, to be shown by ``plm explain``; no step decides by it.
    """

    name: str
    text: str
    license: str
    metadata: dict[str, str] | None = None


@dataclass(frozen=True)
class Rejected:
    """What a reader found but cannot use: dropped (holds no document) or quarantined (cannot be read)."""

    name: str
    verdict: Literal["dropped", "quarantined"]
    reason: str
    detail: str


class Reader(Protocol):
    """A source that can say what it holds before it is read."""

    def fingerprint(self) -> str:
        """Hash of what would be read: equal fingerprints mean equal documents."""

    def contents(self) -> dict[str, str]:
        """What the fingerprint is of, item by item, each with its hash: by what people find what has changed."""

    def size_bound(self) -> int | None:
        """Bytes of text at most, or None if nobody can say before reading."""

    def read(self, piece: int, pieces: int) -> Iterator[Raw | Rejected]:
        """The documents of one piece; all pieces together give each document once, in whatever division is cheap."""


@runtime_checkable
class Watched(Protocol):
    """A reader of what may change between its fingerprint and the last piece, and that can tell at little cost."""

    def check_unchanged(self, fingerprint: str) -> None:
        """Raise ``SourceError`` if this is no longer the fingerprint, as far as it can be told without reading."""
