"""Real and odd texts for the measures."""

from __future__ import annotations

import polars as pl
import pytest

from plm_data.build import Build

ODD = [
    "word", "one two\n\none two\n\none two", "a-b-c " * 40, "…\n...\nx", "- a\n- b\n• c", "床前明月光，疑是地上霜。" * 9,
    "# # # one", "the be to of", "x" * 5000 + " y", "...", "a\n" * 60 + "b",
]  # fmt: skip


@pytest.fixture(scope="session")
def texts(small_build: Build) -> pl.Series:
    """Every document of the small build, in normal form, and texts at the edges of the rules."""
    parts = [part for output in small_build.documents.values() for part in output.parts()]
    found = pl.concat([pl.read_parquet(part, columns=["text"]) for part in parts])["text"]
    return pl.concat([found, pl.Series("text", ODD)])
