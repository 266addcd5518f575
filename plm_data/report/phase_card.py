"""The facts of one phase that its dataset card and its Croissant metadata tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from plm_data.attributes.language import labels
from plm_data.build import HELD_OUT, Build
from plm_data.recipe import thresholds
from plm_data.recipe_sources import HuggingFaceSource, MathsSource, SourceSpec
from plm_data.report.facts import recipe_digest
from plm_data.report.licences import roll_up
from plm_data.rules import RULE_SETS
from plm_data.store import library_versions

# What each column of a shard holds, in the order of the shards' schema.
COLUMNS = {
    "id": "Identifier of the document: a hash of its source and its name there",
    "text": "Text of the document, in normal form",
    "source": "The recipe's source that the document comes from",
    "domain": "Domain of the source",
    "language": "Language that the source declares; a programming language for code",
    "license": "Licence as the document or else its source states it: an SPDX expression where it is one",
    "tokens": "Token ids of the text by the recipe's tokenizer; its end-of-text token ends a document",
}
PERSONAL_DATA = (
    "No step looked for personal data and none was masked: names, e-mail addresses and the like stand in the texts as "
    "they did in the sources."
)
LIMITS = (
    "Licences are as the documents or their sources state them; nobody verified them.",
    "Quality rules are heuristics of form. They say nothing of truth, bias or harm, and no filter for harmful content "
    "was run.",
    "The texts were not compared with evaluation sets, so they may hold questions and answers of benchmarks.",
)
# Of readers that share a section of the recipe with others, what they read.
_ABOUT = {"python-docs": "Docstrings of the running Python's standard library and installed packages"}


@dataclass(frozen=True)
class SourceCard:
    """One source in the phase. ``epochs``: of its kept documents, in this phase; None for held-out documents."""

    name: str
    about: str
    synthetic: bool
    domain: str
    language: str
    license: str
    documents: int
    tokens: int
    epochs: float | None
    near_duplicates_stay: bool
    edited_lines: bool


@dataclass(frozen=True)
class ShardFile:
    """A Parquet file of the phase; ``bytes``: as it lies."""

    file: str
    rows: int
    tokens: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class RuleCard:
    """A rule that holds for a source of the phase; threshold by source, None where it is off."""

    name: str
    meaning: str
    paper: str
    thresholds: dict[str, float | None]


@dataclass(frozen=True)
class DedupCard:
    """How near duplicates were found, and how the one that stays was chosen."""

    shingle_words: int
    permutations: int
    bands: int
    rows: int
    min_jaccard: float | None
    quality: str | None


@dataclass(frozen=True)
class PhaseCard:
    """All that a card says of a phase. ``uncompressed_bytes``: of the columns, as the Parquet footers count them.

    ``languages``: natural languages of the sources; ``found`` and ``kept``: documents of the sources, before the mix.
    """

    recipe: str
    description: str
    phase: str
    segment: str
    held_out: bool
    phases: tuple[str, ...]
    seed: int
    recipe_digest: str
    key: str
    rows: int
    tokens: int
    uncompressed_bytes: int
    vocab_size: int
    end_of_text: int
    tokenizer_sha256: str
    languages: tuple[str, ...]
    found: int
    kept: int
    sources: tuple[SourceCard, ...]
    licences: list[dict[str, Any]]
    shards: tuple[ShardFile, ...]
    rules: tuple[RuleCard, ...]
    dedup: DedupCard
    versions: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.phase}"

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)

    def stated_licences(self) -> list[str]:
        """Every licence that a document of the phase states, by class and tokens."""
        return [row["licence"] for rolled in self.licences for row in rolled["licences"]]


def phase_card(build: Build, phase: str, folder: Path) -> PhaseCard:
    """The facts of a built phase, or of the held-out documents, whose shards and manifest lie in ``folder``.

    Licences are counted from the shards, of which only two columns are read, group by group.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    paths = [folder / entry["file"] for entry in manifest["shards"]]
    specs = {name: build.recipe.sources[name] for name in manifest["sources"]}
    bands, rows = build.banding
    dedup = build.recipe.curate.dedup
    known = labels()
    return PhaseCard(
        recipe=build.recipe.name,
        description=build.recipe.description,
        phase=phase,
        segment=manifest["segment"],
        held_out=phase == HELD_OUT,
        phases=tuple(build.recipe.phases),
        seed=build.recipe.seed,
        recipe_digest=recipe_digest(build.recipe),
        key=manifest["key"],
        rows=manifest["rows"],
        tokens=manifest["tokens"],
        uncompressed_bytes=sum(map(_uncompressed, paths)),
        vocab_size=manifest["tokenizer"]["vocab_size"],
        end_of_text=manifest["tokenizer"]["end_of_text"],
        tokenizer_sha256=manifest["tokenizer"]["sha256"],
        languages=tuple(sorted({spec.language for spec in specs.values() if spec.language in known})),
        found=sum(build.decided[name].counts.read for name in specs),
        kept=sum(build.decided[name].counts.kept for name in specs),
        sources=tuple(_source(build, name, found, phase) for name, found in manifest["sources"].items()),
        licences=roll_up(_licences(paths)),
        shards=tuple(
            ShardFile(entry["file"], entry["rows"], entry["tokens"], path.stat().st_size, entry["sha256"])
            for entry, path in zip(manifest["shards"], paths, strict=True)
        ),
        rules=tuple(_rules(build, list(specs))),
        dedup=DedupCard(dedup.shingle_words, dedup.permutations, bands, rows, dedup.min_jaccard, dedup.quality),
        versions=library_versions(),
    )


def _source(build: Build, name: str, found: dict[str, Any], phase: str) -> SourceCard:
    spec: SourceSpec = build.recipe.sources[name]
    supply = 0 if phase == HELD_OUT else build.supply[name]
    return SourceCard(
        name=name,
        about=_about(spec),
        synthetic=isinstance(spec, MathsSource),
        domain=spec.domain,
        language=spec.language,
        license=spec.license,
        documents=found["documents"],
        tokens=found["tokens"],
        epochs=found["tokens"] / supply if supply else None,
        near_duplicates_stay=spec.dedup == "exact",
        edited_lines=spec.lines == "c4",
    )


def _about(spec: SourceSpec) -> str:
    """A line on where a source's documents come from; never a path of the machine that read them."""
    if isinstance(spec, HuggingFaceSource) and spec.revision:
        return f"Rows of the Hugging Face dataset {spec.path}, revision {spec.revision}"
    described = (type(spec).__doc__ or "").strip().splitlines()[0].rstrip(".")
    return _ABOUT.get(getattr(spec, "reader", ""), described)


def _licences(paths: list[Path]) -> list[tuple[str, int, int]]:
    """Licence, documents, tokens of the shards' rows."""
    found = (
        pl.scan_parquet(paths, glob=False)
        .group_by("license")
        .agg(pl.len(), pl.col("tokens").list.len().sum().cast(pl.Int64))
    )
    return found.sort("license").collect(engine="streaming").rows()


def _uncompressed(path: Path) -> int:
    footer = pq.read_metadata(path)
    return sum(footer.row_group(number).total_byte_size for number in range(footer.num_row_groups))


def _rules(build: Build, sources: list[str]) -> list[RuleCard]:
    limits = {source: thresholds(build.recipe, source) for source in sources}
    rows = []
    for rules in RULE_SETS:
        for rule in rules.rules:
            name = f"{rules.name}.{rule.key}"
            mine = {source: limits[source][name] for source in sources}
            if any(limit is not None for limit in mine.values()):
                rows.append(RuleCard(name, f"{rule.bound}imum {rule.meaning}", rules.source, mine))
    return rows
