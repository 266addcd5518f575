"""Real corpora, where they are: the folder named by ``PLM_CORPORA``, or ``../shared/corpora``."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tests.real.corpora import FOLDER, texts_of


@pytest.fixture(scope="session")
def corpora() -> Path:
    if not FOLDER.is_dir():
        pytest.skip(f"no corpora at {FOLDER}; set PLM_CORPORA to their folder")
    return FOLDER


@pytest.fixture(scope="session")
def rust_book(corpora: Path) -> pl.Series:
    """Several editions of one book, so real near duplicates."""
    return texts_of("rust_book")
