"""The real texts that a benchmark corpus is made of: families of documents of one kind, and their shares."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from benchmarks.common import texts
from plm_data.store import digest
from plm_data.text.normalise import content_hash, normalise

CORPORA = Path(os.environ.get("PLM_CORPORA", Path(__file__).parents[2] / "shared" / "corpora"))


@dataclass(frozen=True)
class Family:
    """Normalised texts of one kind, and their share of a corpus's bytes."""

    name: str
    weight: float
    texts: pl.Series

    @property
    def digest(self) -> str:
        """Of the name, the weight and the texts."""
        return digest([self.name, self.weight, content_hash(self.texts).to_list()])


def _parquet(name: str) -> Callable[[], pl.Series]:
    return lambda: pl.read_parquet(CORPORA / f"{name}.parquet", columns=["text"])["text"]


def _ndjson(name: str) -> Callable[[], pl.Series]:
    return lambda: pl.read_ndjson(CORPORA / f"{name}.jsonl.gz")["text"]


def _gsm8k() -> pl.Series:
    return pl.read_ndjson(CORPORA / "gsm8k_train.jsonl").select(text=pl.col("question") + "\n" + pl.col("answer"))[
        "text"
    ]


def _articles() -> pl.Series:
    pages = json.loads((CORPORA / "web_truth.json").read_text(encoding="utf-8"))
    return pl.Series([pages[key]["text"] for key in sorted(pages)])


# Mostly prose, as a web corpus is; some code, mathematics, thirty languages, and a script without spaces.
_FAMILIES: tuple[tuple[str, float, Callable[[], pl.Series]], ...] = (
    ("peps", 0.25, _parquet("peps")),
    ("articles", 0.30, _articles),
    ("rust_rfcs", 0.10, _ndjson("rust_rfcs")),
    ("eips", 0.08, _parquet("eips")),
    ("rust_book", 0.06, _ndjson("rust_book")),
    ("gsm8k", 0.10, _gsm8k),
    ("python_algorithms", 0.04, _parquet("python_algorithms")),
    ("tldr", 0.04, lambda: _parquet("tldr")().gather_every(6)),
    ("chinese_poetry", 0.03, lambda: _parquet("chinese_poetry")().gather_every(10)),
)


def real_texts() -> pl.Series | None:
    """All texts of the corpora that are text files, as they are; None where there are no corpora."""
    if not CORPORA.is_dir():
        return None
    whole = {"tldr": _parquet("tldr"), "chinese_poetry": _parquet("chinese_poetry")}
    return pl.concat(whole.get(name, read)().alias("text") for name, _, read in _FAMILIES)


@lru_cache(maxsize=1)
def families() -> tuple[Family, ...]:
    """The corpora's families, or where there are none the standard library's sources and docs as one."""
    if not CORPORA.is_dir():
        return (Family("stdlib", 1.0, texts(20_000_000)),)
    return tuple(Family(name, weight, normalise(read().alias("text"))) for name, weight, read in _FAMILIES)
