"""The step that measures what the Gopher, C4 and FineWeb rules look at, with one segmentation for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from plm_data.attributes.measure import Measure
from plm_data.attributes.quality import STOP_WORDS, quality
from plm_data.attributes.repetition import repetition
from plm_data.attributes.web import c4, fineweb
from plm_data.text.lines import split_lines
from plm_data.text.words import segment


def heuristics(texts: pl.Series, stop_words: tuple[str, ...] = STOP_WORDS, terminal: bool = False) -> pl.DataFrame:
    """Every heuristic measure of texts in normal form, and their text after C4's line rules (``c4_text``)."""
    words = segment(texts)
    lines = split_lines(words.data, words.bounds)
    frames = [
        quality(words, lines, stop_words),
        repetition(words, lines),
        c4(words.data, words.bounds, terminal),
        fineweb(words, lines),
    ]
    return pl.concat(frames, how="horizontal")


@dataclass(frozen=True)
class MeasureHeuristics(Measure):
    """Every heuristic measure of a source's documents.

    ``stop_words``: of the source's language; ``terminal``: C4's line rules ask for terminal punctuation.
    """

    name: ClassVar[str] = "heuristics"
    stop_words: tuple[str, ...] = STOP_WORDS
    terminal: bool = False

    def measure(self, texts: pl.Series) -> pl.DataFrame:
        return heuristics(texts, self.stop_words, self.terminal)
