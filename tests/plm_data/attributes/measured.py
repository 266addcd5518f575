"""Texts, measured."""

from __future__ import annotations

from typing import Any

import polars as pl
from datatrove.data import Document

from plm_data.attributes.heuristics import heuristics
from plm_data.text.words import segment


def measure(text: str, **options: Any) -> dict[str, Any]:
    """Every heuristic measure of one text."""
    return heuristics(pl.Series([text]), **options).to_dicts()[0]


def words_of(texts: pl.Series) -> dict[str, list[str]]:
    """The words of each text, to stand in for datatrove's word tokenizer."""
    words = segment(texts)
    return {text: words.of(i) for i, text in enumerate(texts)}


def keeps(filter_: Any, text: str) -> bool:
    """datatrove's verdict."""
    return filter_.filter(Document(text=text, id="")) is True
