"""A build: the steps of a recipe in their order, from its sources to its phases' shards.

Every method gives the outputs of one stage and makes what is not there yet; calling one calls those before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import polars as pl

from plm_data import mix
from plm_data.attributes.heuristics import MeasureHeuristics
from plm_data.attributes.language import MeasureLanguage, model_path
from plm_data.attributes.quality import STOP_WORDS
from plm_data.attributes.tokens import Tokenise, TrainTokenizer
from plm_data.decisions import winners
from plm_data.decisions.columns import SourceColumns
from plm_data.decisions.guardrails import check_guardrails
from plm_data.decisions.judge import Judge
from plm_data.decisions.verdicts import Decide
from plm_data.dedup import clusters
from plm_data.dedup.clusters import Sign
from plm_data.dedup.minhash import bands_and_rows
from plm_data.engine import Step, run_steps
from plm_data.errors import RecipeError
from plm_data.recipe import Recipe, SourceSpec, thresholds
from plm_data.shards import WriteShards
from plm_data.sources import make_reader
from plm_data.sources.base import Reader
from plm_data.sources.collect import Collect, Normalise
from plm_data.store import Output, Store, file_sha256, temporary_name

# FineWeb's, for a recipe that names neither bands and rows nor a threshold.
_DEFAULT_BANDS, _DEFAULT_ROWS = 14, 8
# A partition's texts are worked in slices, but its ids and columns are held; and so many make resuming cheap.
_PARTITION_BYTES = 64_000_000
_FEWEST_PARTITIONS = 4
# The name, and the segment, of the shards of the documents that no phase may have.
HELD_OUT: Final = "held-out"


def default_home() -> Path:
    """Where builds live: ``PLM_HOME``, or ``build`` in the current folder."""
    return Path(os.environ.get("PLM_HOME", "build"))


def _read_by(spec: SourceSpec) -> SourceSpec:
    """A source without what does not change its documents, so that a changed priority collects nothing anew."""
    return spec.model_copy(update={"priority": 0, "dedup": "near", "domain": "any", "language": "any", "lines": "all"})


class Build:
    """One recipe in one home. ``say`` is told of every stage what it made and what it found ready."""

    def __init__(
        self,
        recipe: Recipe,
        home: Path,
        workers: int | None = None,
        progress: bool = False,
        say: Callable[[str], None] = lambda _: None,
    ):
        self.recipe, self.home = recipe, home
        self.workers = workers or os.cpu_count() or 1
        self.progress, self.say = progress, say
        self.store = Store(home / "store")
        self.outputs: dict[str, list[Output]] = {}

    @property
    def folder(self) -> Path:
        """What people look at: the recipe's phases, report, tokenizer and model."""
        return self.home / self.recipe.name

    def _run(self, stage: str, steps: list[Step]) -> list[Output]:
        outputs = run_steps(self.store, steps, stage, self.workers, self.progress)
        if stage not in self.outputs:
            self.outputs[stage] = outputs
            reused = sum(output.reused for output in outputs)
            rows = sum(output.counts.read for output in outputs)
            done = "reused" if reused == len(outputs) else f"{len(outputs) - reused} made, {reused} reused"
            self.say(f"{stage:<12} {rows:>9,} rows  {done}")
        return outputs

    @cached_property
    def readers(self) -> dict[str, Reader]:
        return {name: make_reader(name, spec) for name, spec in self.recipe.sources.items()}

    def check(self, phase: str | None = None) -> None:
        """Everything that can be known to be wrong before any work. Raises ``RecipeError``."""
        if phase is not None and phase not in self.recipe.phases:
            raise RecipeError(
                f"recipe {self.recipe.name} has no phase {phase!r}; its phases are {', '.join(self.recipe.phases)}."
            )
        bands, rows = self.banding
        if bands * rows > self.recipe.curate.dedup.permutations:
            raise RecipeError(
                f"curate.dedup: {bands} bands x {rows} rows need {bands * rows} permutations, but there are "
                f"{self.recipe.curate.dedup.permutations}; set bands and rows, or threshold."
            )
        ratio = self.recipe.tokenizer.min_bytes_per_token
        bounds = {name: reader.size_bound() for name, reader in self.readers.items()}
        mix.check_supply(
            self.recipe,
            {name: int(bound / ratio) for name, bound in bounds.items() if bound is not None},
            measured=False,
        )

    @cached_property
    def partitions(self) -> int:
        """Pieces that every source is worked in: a document of whatever source belongs to that of its id."""
        if self.recipe.partitions is not None:
            return self.recipe.partitions
        largest = max((reader.size_bound() or 0 for reader in self.readers.values()), default=0)
        return min(max(_FEWEST_PARTITIONS, -(-largest // _PARTITION_BYTES)), 4096)

    @cached_property
    def collected(self) -> dict[str, Output]:
        """Source → its documents as found."""
        steps = [
            Collect(
                source=name, spec=_read_by(spec), fingerprint=self.readers[name].fingerprint(), pieces=self.partitions
            )
            for name, spec in self.recipe.sources.items()
        ]
        return dict(zip(self.recipe.sources, self._run("collect", list(steps)), strict=True))

    @cached_property
    def documents(self) -> dict[str, Output]:
        """Source → its documents in normal form."""
        steps = [Normalise(collected=output, pieces=self.partitions) for output in self.collected.values()]
        return dict(zip(self.collected, self._run("normalise", list(steps)), strict=True))

    @cached_property
    def tokenizer(self) -> Output:
        total = sum(phase.tokens for phase in self.recipe.phases.values())
        needed = {source: 0 for source in self.recipe.sources}
        for phase in self.recipe.phases.values():
            for source, quota in mix.quotas(phase).items():
                needed[source] += quota
        shares = {source: round(tokens / total, 6) for source, tokens in needed.items()}
        step = TrainTokenizer(
            spec=self.recipe.tokenizer, seed=self.recipe.seed, shares=shares, documents=self.documents
        )  # fmt: skip
        return self._run("tokenizer", [step])[0]

    @cached_property
    def attributes(self) -> dict[str, dict[str, Output]]:
        """Source → attribute step → its output: all measured in one pass of the workers."""
        curate, dedup = self.recipe.curate, self.recipe.curate.dedup
        model = file_sha256(model_path())
        steps: list[tuple[str, Step]] = []
        for name, documents in self.documents.items():
            spec = self.recipe.sources[name]
            language = curate.languages.get(spec.language)
            stop_words = language.stop_words if language and language.stop_words else STOP_WORDS
            steps += [
                (
                    name,
                    Tokenise(
                        documents=documents,
                        tokenizer=self.tokenizer,
                        edit_lines=spec.lines == "c4",
                        terminal=spec.lines == "c4" and curate.c4_lines.terminal_punctuation,
                    ),
                ),
                (
                    name,
                    MeasureHeuristics(
                        documents=documents, stop_words=stop_words, terminal=curate.c4_lines.terminal_punctuation
                    ),
                ),
                (name, MeasureLanguage(documents=documents, declared=spec.language, model_sha256=model)),
            ]
            if spec.dedup == "near":
                sign = Sign(
                    documents=documents, permutations=dedup.permutations, shingle_words=dedup.shingle_words,
                    keep_shingles=dedup.min_jaccard is not None,
                )  # fmt: skip
                steps.append((name, sign))
        outputs = self._run("attributes", [step for _, step in steps])
        found: dict[str, dict[str, Output]] = {name: {} for name in self.documents}
        for (name, step), output in zip(steps, outputs, strict=True):
            found[name][step.name] = output
        return found

    @cached_property
    def banding(self) -> tuple[int, int]:
        """Bands and rows: the recipe's, or datasketch's optimum for its threshold."""
        dedup = self.recipe.curate.dedup
        if dedup.threshold is not None:
            try:
                return bands_and_rows(dedup.threshold, dedup.permutations)
            except ValueError as error:
                raise RecipeError(
                    f"curate.dedup: no banding of {dedup.permutations} permutations serves the threshold "
                    f"{dedup.threshold:g} ({error}); raise permutations, or lower threshold."
                ) from error
        return dedup.bands or _DEFAULT_BANDS, dedup.rows or _DEFAULT_ROWS

    @cached_property
    def near(self) -> dict[str, Output]:
        """Source → the near-duplicate cluster of each of its documents, for the sources whose near duplicates count."""
        signatures = {name: found["signatures"] for name, found in self.attributes.items() if "signatures" in found}
        if not signatures:
            return {}
        bands, rows = self.banding
        buckets = clusters.buckets_for(bands * sum(output.counts.kept for output in signatures.values()))
        steps = [
            clusters.Bands(signatures=output, bands=bands, rows=rows, buckets=buckets) for output in signatures.values()
        ]
        banded = dict(zip(signatures, self._run("bands", list(steps)), strict=True))
        min_jaccard = self.recipe.curate.dedup.min_jaccard
        match = clusters.Match(
            bands=banded, signatures=signatures if min_jaccard else {}, buckets=buckets, min_jaccard=min_jaccard
        )
        matched = self._run("match", [match])[0]
        clustered = self._run("clusters", [clusters.Cluster(matched=matched, pieces=self.partitions)])[0]
        attached = [
            clusters.NearClusters(signatures=output, clusters=clustered, pieces=self.partitions)
            for output in signatures.values()
        ]
        return dict(zip(signatures, self._run("near", list(attached)), strict=True))

    def _column_outputs(self, source: str) -> dict[str, Output]:
        """Where the columns of a source's documents lie, by the names that ``SourceColumns`` gives them."""
        attributes = self.attributes[source]
        outputs = {"documents": self.documents[source]}
        outputs |= {kind: attributes[kind] for kind in ("heuristics", "language", "tokens")}
        return outputs | ({"near": self.near[source]} if source in self.near else {})

    def source_columns(self, source: str) -> SourceColumns:
        """The columns of a source's documents."""
        return SourceColumns(**self._column_outputs(source))

    @cached_property
    def decided(self) -> dict[str, Output]:
        """Source → its ledger and verdicts; the guardrails have passed."""
        columns = {name: self._column_outputs(name) for name in self.recipe.sources}
        buckets = winners.buckets_for(sum(output.counts.kept for output in self.documents.values()))
        judging = [
            Judge(
                source=name, columns=columns[name], thresholds=thresholds(self.recipe, name),
                priority=spec.priority, quality=self.recipe.curate.dedup.quality, buckets=buckets,
            )
            for name, spec in self.recipe.sources.items()
        ]  # fmt: skip
        judged = dict(zip(self.recipe.sources, self._run("judge", list(judging)), strict=True))
        exact = self._run("exact", [winners.ExactWinners(judged=judged, buckets=buckets)])[0]
        won = self._run("winners", [winners.NearWinners(entrants=exact, buckets=buckets, pieces=self.partitions)])[0]
        deciding = [
            Decide(
                source=name, domain=spec.domain, collected=self.collected[name], columns=columns[name],
                judged=judged[name], won=won,
            )
            for name, spec in self.recipe.sources.items()
        ]  # fmt: skip
        decided = dict(zip(self.recipe.sources, self._run("decide", list(deciding)), strict=True))
        check_guardrails(decided, self.recipe.curate.guardrails)
        return decided

    def table(self, name: Literal["ledger", "verdicts", "rejected"]) -> pl.LazyFrame:
        """The decisions of all sources: the ledger, one row a document, or what was rejected before."""
        return pl.scan_parquet([part for source in sorted(self.decided) for part in self.decided[source].parts(name)])

    def _select_step(self, phase: str) -> mix.Select:
        return mix.Select(
            decided=self.decided,
            phase=phase,
            stretches=None if phase == HELD_OUT else mix.stretches(self.recipe)[phase],
            held_out=self.recipe.held_out,
            seed=self.recipe.seed,
        )

    def _shards_step(self, phase: str, selection: Output) -> WriteShards:
        planned = self.held_out_tokens() if phase == HELD_OUT else mix.quotas(self.recipe.phases[phase])
        sources = list(planned)
        return WriteShards(
            recipe=self.recipe.name,
            phase=phase,
            segment=HELD_OUT if phase == HELD_OUT else self.recipe.phases[phase].segment,
            selection=selection,
            planned=planned,
            documents={name: self.documents[name] for name in sources},
            edited={
                name: self.attributes[name]["heuristics"] for name in sources if self.recipe.sources[name].lines == "c4"
            },
            tokens={name: self.attributes[name]["tokens"] for name in sources},
            domains={name: self.recipe.sources[name].domain for name in sources},
            languages={name: self.recipe.sources[name].language for name in sources},
            tokenizer=self.tokenizer,
            sizes=self.recipe.shards,
        )

    def selection(self, phase: str) -> Output:
        """The documents of a phase; raises ``RecipeError`` if the kept documents cannot meet the budgets."""
        mix.check_supply(self.recipe, self.supply, measured=True)
        output = self._run(f"mix {phase}", [self._select_step(phase)])[0]
        if output.counts.kept == 0:
            raise RecipeError(
                f"{phase} of {self.recipe.name} holds no document: its budget of {self.recipe.phases[phase].tokens:,} "
                f"tokens is less than one document of each of its sources. Raise it."
            )
        return output

    def shards(self, phase: str) -> Output:
        """A phase's shards, shown as ``FOLDER/PHASE``."""
        output = self._run(f"shards {phase}", [self._shards_step(phase, self.selection(phase))])[0]
        self.show(output.path, phase)
        self.show(self.tokenizer.path, "tokenizer")
        return output

    @cached_property
    def supply(self) -> dict[str, int]:
        """Source → tokens that one epoch of it gives to the phases."""
        found = mix.supply_of(self.decided, self.recipe.seed, self.recipe.held_out)
        return {source: found.get(source, 0) for source in self.recipe.sources}

    def held_out_tokens(self) -> dict[str, int]:
        """Source → tokens of its held-out documents."""
        documents = mix.kept_documents(self.decided, self.recipe.seed, self.recipe.held_out, for_training=False)
        return dict(documents.group_by("source").agg(pl.col("token_count").sum()).sort("source").iter_rows())

    def held_out(self) -> Output | None:
        """The held-out documents as shards, or None if there are none."""
        return self.shards(HELD_OUT) if self.held_out_tokens() else None

    def built_phases(self) -> dict[str, tuple[Output, Output]]:
        """Phase → its selection and its shards, for the phases that are built from the recipe as it stands."""
        built = {}
        for phase in self.recipe.phases:
            select = self._select_step(phase)
            if selection := self.store.find(select.name, select.key()):
                write = self._shards_step(phase, selection)
                if shards := self.store.find(write.name, write.key()):
                    built[phase] = (selection, shards)
        return built

    def show(self, target: Path, name: str) -> None:
        """Point ``FOLDER/NAME`` at a step's output, by a relative link that is replaced whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        link = self.folder / name
        temporary = temporary_name(link)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, self.folder))
        os.replace(temporary, link)
