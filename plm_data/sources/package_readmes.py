"""The long descriptions of the installed packages: Markdown and reStructuredText as people publish it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from plm_data.recipe_sources import ReadmeSource
from plm_data.sources.base import Raw, Rejected
from plm_data.sources.python_env import distributions, license_of, normal_name
from plm_data.store import digest
from plm_data.text.hashing import document_id, partition_of


class ReadmeReader:
    """One document a distribution, named by the distribution."""

    def __init__(self, name: str, spec: ReadmeSource):
        self.name, self.spec = name, spec

    @cached_property
    def _descriptions(self) -> dict[str, tuple[str, str]]:
        """Distribution → its description and its licence."""
        barred = {normal_name(name) for name in self.spec.exclude}
        return {
            name: (str(distribution.metadata.json.get("description") or ""), license_of(distribution))
            for name, distribution in distributions().items()
            if name not in barred
        }

    def fingerprint(self) -> str:
        return digest(self._descriptions)

    def contents(self) -> dict[str, str]:
        return {name: digest(list(found)) for name, found in self._descriptions.items()}

    def size_bound(self) -> int:
        return sum(len(text.encode("utf-8", "replace")) for text, _ in self._descriptions.values())

    def read(self, partition: int, partitions: int) -> Iterator[Raw | Rejected]:
        for name, (text, license_name) in self._descriptions.items():
            if partition_of(document_id(self.name, name), partitions) != partition:
                continue
            if text.strip() in ("", "UNKNOWN"):
                yield Rejected(name, "dropped", "no-description", "")
            else:
                yield Raw(name, text, license_name)
