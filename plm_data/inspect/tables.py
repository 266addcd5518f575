"""The tables of a built corpus, as the commands that tell why read them: lazily or in batches, and never made here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from plm_data.attributes.quality import STOP_WORDS
from plm_data.build import Build
from plm_data.curation import Curation
from plm_data.decisions.guardrails import QUARANTINE_KEY
from plm_data.dedup.clusters import read_signatures
from plm_data.dedup.corpora import Corpus, hash_ids
from plm_data.engine import Step
from plm_data.errors import PlmError
from plm_data.inspect.offending import offending_part
from plm_data.mix.select import read_placed
from plm_data.recipe import Guardrails, Recipe
from plm_data.recipe_file import load_recipe
from plm_data.store import Output
from plm_data.tables import read_slices
from plm_data.text.hashing import partition_of

# Columns of the attributes that are as large as a text.
NOT_MEASURES = ("tokens", "c4_text", "signature")


class Built(Build):
    """A build that only finds: a question about a corpus never starts an hour's work.

    Guardrails do not hold: a corpus that one of them stopped is the one to ask why.
    """

    def __init__(self, recipe: Recipe, home: Path):
        super().__init__(recipe, home, workers=1)

    def check_guardrails(
        self, decided: dict[str, Output], guardrails: Guardrails, quarantine_key: str = QUARANTINE_KEY
    ) -> None:
        """They do not hold."""

    def _run(self, stage: str, steps: Mapping[str, Step]) -> dict[str, Output]:
        found = {of: output for of, step in steps.items() if (output := self.store.find(step.name, step.key()))}
        if len(found) < len(steps):
            raise PlmError(
                f"{self.folder}: not built from the recipe, the sources and the plm that are here now ({stage} is "
                f"missing); run `plm build {self.recipe.name}` (or its file) first."
            )
        return found


def open_built(recipe: str | Path, home: Path) -> Built:
    """The build of a recipe in a home; raises ``PlmError`` on the first use of what is not there."""
    return Built(load_recipe(recipe), home)


def curations(build: Build) -> list[Curation]:
    """What has decisions of its own: the corpus, and each phase of conversations or prompts that is built."""
    found: list[Curation] = [build]
    for phase in build.recipe.after:
        with suppress(PlmError):  # it is not built
            if (after := build.chat(phase)).decided:
                found.append(after)
    return found


def ledger(build: Curation) -> pl.LazyFrame:
    """``id, source, verdict, rule, value, threshold, bound, winner``: a row a document and rule that fired."""
    return build.table("ledger")


def verdicts(build: Curation) -> pl.LazyFrame:
    """A row a document that was read: its source, name, sizes, hash, cluster, verdict and first reason."""
    return build.table("verdicts")


def rejected(build: Curation) -> pl.LazyFrame:
    """``id, source, verdict, rule, name, detail``: what never became a document."""
    return build.table("rejected")


def placed_rows(build: Curation, placed: Output, identity: str) -> pl.DataFrame:
    """The rows of a phase that hold a document, as ``mix.select.PLACED``, in the phase's order."""
    rows = read_placed(placed, partition_of(identity, build.partitions), build.partitions)
    return rows.filter(pl.col("id") == identity).sort("position")


def texts(build: Curation, source: str, ids: Sequence[str]) -> dict[str, str]:
    """The texts of some documents of a source by id."""
    wanted = pl.scan_parquet(build.documents[source].parts(), glob=False).filter(pl.col("id").is_in(list(ids)))
    return dict(wanted.select("id", "text").collect().iter_rows())


def metadata(build: Curation, source: str, identity: str) -> dict[str, str]:
    """What the source's reader knew of a document beside its text."""
    if not (parts := build.collected[source].parts("metadata")):
        return {}
    rows = pl.scan_parquet(parts, glob=False).filter(pl.col("id") == identity).collect()["metadata"]
    return dict(json.loads(rows[0])) if len(rows) else {}


def texts_of(build: Build, documents: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The texts of some documents, given as source and id, by id."""
    ids: dict[str, list[str]] = {}
    for source, identity in documents:
        ids.setdefault(source, []).append(identity)
    return {identity: text for source, own in ids.items() for identity, text in texts(build, source, own).items()}


def text_batches(build: Curation, source: str) -> Iterator[pl.DataFrame]:
    """``id, name, text`` of all documents of a source."""
    for part in build.documents[source].parts():
        yield from read_slices(part, ["id", "name", "text"])


def measures(build: Curation, source: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """All measures of some documents of a source: id → column → value."""
    found: dict[str, dict[str, Any]] = {identity: {} for identity in ids}
    for output in build.attributes[source].values():
        names = [name for name in pl.read_parquet_schema(output.parts()[0]) if name not in NOT_MEASURES]
        rows = pl.scan_parquet(output.parts(), glob=False).select(names).filter(pl.col("id").is_in(list(ids))).collect()
        for row in rows.iter_rows(named=True):
            found[row["id"]].update(row)
    return found


def offending(build: Curation, source: str, rule: str, text: str) -> str | None:
    """``offending_part`` of a text, as the texts of its source are measured."""
    curate = build.recipe.curate
    language = curate.languages.get(build.recipe.sources[source].language)
    stop_words = language.stop_words if language and language.stop_words else STOP_WORDS
    return offending_part(rule, text, stop_words, curate.c4_lines.terminal_punctuation)


def measure(build: Build, source: str, column: str) -> pl.LazyFrame | None:
    """``id, value``: one measure of all documents of a source; None if it is not measured."""
    for output in build.attributes[source].values():
        if column in pl.read_parquet_schema(output.parts()[0]):
            return pl.scan_parquet(output.parts(), glob=False).select("id", value=pl.col(column).cast(pl.Float64))
    return None


def signature_batches(build: Build, source: str) -> Iterator[tuple[pl.Series, np.ndarray]]:
    """Ids and MinHash signatures (uint32 ``[n, permutations]``) of a source; none where near duplicates are kept."""
    output = build.attributes[source].get("signatures")
    for part in output.parts() if output else ():
        yield from read_signatures(part)


def kept_corpus(build: Build) -> Corpus:
    """The kept documents of a build, to compare with another corpus."""
    parts = [part for output in build.documents.values() for part in output.parts()]
    kept = verdicts(build).filter(pl.col("verdict") == "kept").select("id").collect()["id"]
    return Corpus(parts, kept=np.sort(hash_ids(kept)))
