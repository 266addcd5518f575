"""Real corpora, where they are: the folder named by ``PLM_CORPORA``, or ``../shared/corpora``."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from plm_data.text.normalise import normalise

CORPORA = Path(os.environ.get("PLM_CORPORA", Path(__file__).parents[3] / "shared" / "corpora"))


@pytest.fixture(scope="session")
def corpora() -> Path:
    if not CORPORA.is_dir():
        pytest.skip(f"no corpora at {CORPORA}; set PLM_CORPORA to their folder")
    return CORPORA


@pytest.fixture(scope="session")
def peps(corpora: Path) -> pl.Series:
    frame = pl.read_parquet(corpora / "peps.parquet", columns=["text"])
    return frame.select(normalise(pl.col("text")))["text"]


@pytest.fixture(scope="session")
def rust_book(corpora: Path) -> pl.Series:
    """Several editions of one book, so real near duplicates."""
    frame = pl.read_ndjson(corpora / "rust_book.jsonl.gz")
    return frame.select(normalise(pl.col("text")))["text"]
