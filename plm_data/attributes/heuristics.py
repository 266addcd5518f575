"""The step that measures what the Gopher, C4 and FineWeb rules look at, with one segmentation for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from plm_data.attributes.measure import Measure
from plm_data.attributes.quality import quality
from plm_data.attributes.repetition import repetition
from plm_data.attributes.web import c4, fineweb
from plm_data.text.words import segment


@dataclass(frozen=True)
class MeasureHeuristics(Measure):
    """Every heuristic measure of a source's documents."""

    name: ClassVar[str] = "heuristics"

    def measure(self, texts: pl.Series) -> pl.DataFrame:
        words = segment(texts)
        return pl.concat(
            [quality(texts, words), repetition(texts, words), c4(texts), fineweb(texts, words)], how="horizontal"
        )
