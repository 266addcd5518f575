"""The few documents whose text the report shows: looked up once, by their ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl

from plm_data.build import Build
from plm_data.inspect import tables
from plm_data.inspect.explain import figures
from plm_data.report.survey import Near

Json = dict[str, Any]

EXCERPT_CHARS = 280


class Shown:
    """Names, verdicts and texts of some documents, given as source and id."""

    def __init__(self, build: Build, documents: Iterable[tuple[str, str]]):
        wanted = sorted(set(documents))
        self.build = build
        self.texts = tables.texts_of(build, wanted)
        rows = tables.verdicts(build).filter(pl.col("id").is_in([identity for _, identity in wanted]))
        told = rows.select("id", "name", "verdict", "reason").collect()
        self.told = {row["id"]: row for row in told.iter_rows(named=True)}

    def document(self, source: str, identity: str) -> Json:
        """A document with the start of its text."""
        text = self.texts[identity]
        excerpt = text[:EXCERPT_CHARS] + ("…" if len(text) > EXCERPT_CHARS else "")
        return {"id": identity, "source": source, "name": self.told[identity]["name"], "excerpt": excerpt}

    def sample(self, rule: str, near: Near) -> Json:
        """A document beside a threshold, with the part of its text that the rule looks at."""
        told = self.told[near.id]
        value, threshold = figures(near.value, near.threshold)
        return {
            **self.document(near.source, near.id),
            "value": near.value,
            "threshold": near.threshold,
            "said_value": value,
            "said_threshold": threshold,
            "reason": told["reason"],
            "part": tables.offending(self.build, near.source, rule, self.texts[near.id]),
        }
