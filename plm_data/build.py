"""A build: the steps of a recipe in their order, from its sources to its phases' shards.

Every method gives the outputs of one stage and makes what is not there yet; calling one calls those before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import polars as pl

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
from plm_data.mix.plan import EVERYTHING, Axis, Declared, Plan, make_plan
from plm_data.mix.planned import PlanMix, planned_sources, read_plan
from plm_data.mix.ranked import ROWS_A_BUCKET, Rank, Ranked
from plm_data.mix.select import Bands, Place, Select, selected
from plm_data.mix.weights import needs_supply, quotas, shares, sources_of
from plm_data.recipe import Recipe, SourceSpec, thresholds
from plm_data.shards import Fetch, WriteShards
from plm_data.shuffle import buckets_of
from plm_data.sources import make_reader
from plm_data.sources.base import Reader
from plm_data.sources.collect import Collect, Normalise
from plm_data.store import Output, Store, file_sha256, temporary_name

# FineWeb's, for a recipe that names neither bands and rows nor a threshold.
_DEFAULT_BANDS, _DEFAULT_ROWS = 14, 8
# A partition's texts are worked in slices, but its ids and columns are held; and so many make resuming cheap.
_PARTITION_BYTES = 64_000_000
_FEWEST_PARTITIONS = 4
# Tokens of a source of which nothing is known: a plan before any work refuses nothing for it.
_ENDLESS = 10**18
# The name, and the segment, of the shards of the documents that no phase may have.
HELD_OUT: Final = "held-out"


def default_home() -> Path:
    """Where builds live: ``PLM_HOME``, or ``build`` in the current folder."""
    return Path(os.environ.get("PLM_HOME", "build"))


def _read_by(spec: SourceSpec) -> SourceSpec:
    """A source without what does not change its documents, so that a changed priority collects nothing anew."""
    plain = {"priority": 0, "dedup": "near", "domain": "any", "language": "any", "lines": "all"}
    return spec.model_copy(update={**plain, "tokens": None, "max_epochs": None, "held_out": None})


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
        if not self._unknown_to_strategies():
            self.estimate()

    @cached_property
    def known_supply(self) -> dict[str, tuple[int, str]]:
        """Source → tokens of one epoch before any work, and what is said of them: declared, or at most what its bytes
        can give. A source that can say neither is missing."""
        ratio = self.recipe.tokenizer.min_bytes_per_token
        known: dict[str, tuple[int, str]] = {}
        for name, spec in self.recipe.sources.items():
            if spec.tokens is not None:
                known[name] = (spec.tokens, "declares")
            elif (bound := self.readers[name].size_bound()) is not None:
                known[name] = (int(bound / ratio), "can, before curation, give at most")
        return known

    def _unknown_to_strategies(self) -> list[str]:
        """Sources of which a strategy needs to know more than an upper bound, and nobody says."""
        needed = {
            source
            for phase in self.recipe.phases.values()
            if needs_supply(phase.mix)
            for source in sources_of(phase.mix, self.recipe.sources)
        }
        return sorted(source for source in needed if self.recipe.sources[source].tokens is None)

    def estimate(self) -> Plan:
        """The plan by what is known before any work; raises ``RecipeError`` if it cannot be, or too little is known."""
        if unknown := self._unknown_to_strategies():
            raise RecipeError(
                f"{self.recipe.name}: a strategy of its mix needs the tokens of {', '.join(unknown)}, which are "
                f"counted when it is built; declare them as sources.{unknown[0]}.tokens to plan before."
            )
        axes: dict[str, Axis] = {
            name: Declared(self.known_supply[name][0] if name in self.known_supply else _ENDLESS)
            for name in planned_sources(self.recipe.phases, self.recipe.sources)
        }
        epochs = {name: self.recipe.max_epochs_of(name) for name in axes}
        return make_plan(self.recipe.phases, axes, epochs, lambda name: self.known_supply[name][1])

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
        known = {name: tokens for name, (tokens, _) in self.known_supply.items()}
        # A strategy's shares are a guess here, and what nothing is known of counts as the others do.
        guess = {name: known.get(name, sum(known.values()) // max(len(known), 1) or 1) for name in self.recipe.sources}
        needed = dict.fromkeys(self.recipe.sources, 0)
        for phase in self.recipe.phases.values():
            for source, quota in quotas(shares(phase.mix, phase.tokens, guess), phase.tokens).items():
                needed[source] += quota
        parts = {source: round(tokens / total, 6) for source, tokens in needed.items()}
        step = TrainTokenizer(
            spec=self.recipe.tokenizer, seed=self.recipe.seed, shares=parts, documents=self.documents
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

    @cached_property
    def _measures(self) -> tuple[str, ...]:
        """The measures that some phase is ordered by."""
        return tuple(sorted({phase.order.by for phase in self.recipe.phases.values() if phase.order}))

    @cached_property
    def ranked(self) -> dict[str, Ranked]:
        """Source → its kept documents in their seeded order."""
        steps = {
            name: Rank(
                source=name,
                decided=self.decided[name],
                columns=self._column_outputs(name) if self._measures else {},
                measures=self._measures,
                held_out=self.recipe.held_out_of(name),
                seed=self.recipe.seed,
            )
            for name in self.recipe.sources
        }
        outputs = self._run("rank", list(steps.values()))
        return {
            name: Ranked(output, step.buckets, self._measures)
            for (name, step), output in zip(steps.items(), outputs, strict=True)
        }

    @cached_property
    def _planned(self) -> tuple[Plan, dict[str, list[float]]]:
        phases = self.recipe.phases
        sources = planned_sources(phases, self.recipe.sources)
        step = PlanMix(
            ranked={name: self.ranked[name].output for name in sources},
            buckets={name: self.ranked[name].buckets for name in sources},
            measures=self._measures,
            phases=phases,
            most_epochs={name: self.recipe.max_epochs_of(name) for name in sources},
        )
        return read_plan(self._run("plan", [step])[0])

    @property
    def plan(self) -> Plan:
        """What each phase takes of each source; raises ``RecipeError`` if the kept documents cannot give it."""
        return self._planned[0]

    def _select_step(self, phase: str) -> Select:
        held_out = phase == HELD_OUT
        takes = {} if held_out else self.plan[phase]
        sources = [n for n in self.recipe.sources if (self.held_out_tokens()[n] if held_out else n in takes)]
        axes = {name: replace(self.ranked[name], stem=HELD_OUT) if held_out else self.ranked[name] for name in sources}
        order = None if held_out else self.recipe.phases[phase].order
        rows = sum(axes[n].documents * (1 if held_out else int(takes[n].epochs) + 1) for n in sources)
        return Select(
            phase=phase,
            ranked={name: axis.output for name, axis in axes.items()},
            buckets={name: axis.buckets for name, axis in axes.items()},
            stem=HELD_OUT if held_out else "ranked",
            measures=self._measures,
            pieces={n: [p.values() for p in ((EVERYTHING,) if held_out else takes[n].pieces)] for n in sources},
            cuts={name: list(take.cut) for name, take in takes.items() if take.cut},
            bands=vars(Bands(order.by, tuple(self._planned[1][phase]), order.descending)) if order else None,
            seed=self.recipe.seed,
            order_buckets=buckets_of(rows, ROWS_A_BUCKET),
        )

    def _place_step(self, select: Select, selection: Output) -> Place:
        return Place(selection=selection, order_buckets=select.order_buckets, pieces=self.partitions)

    def _shards_step(self, phase: str, selection: Output, placed: Output) -> WriteShards:
        chosen = selected(selection)
        takes = {} if phase == HELD_OUT else self.plan[phase]
        planned = {name: take.quota for name, take in takes.items()} or {n: each[2] for n, each in chosen.items()}
        spec = None if phase == HELD_OUT else self.recipe.phases[phase]
        sources = list(planned)
        return WriteShards(
            recipe=self.recipe.name,
            phase=phase,
            segment=spec.segment if spec else HELD_OUT,
            placed=placed,
            documents={name: self.documents[name] for name in sources},
            edited={
                name: self.attributes[name]["heuristics"] for name in sources if self.recipe.sources[name].lines == "c4"
            },
            tokens={name: self.attributes[name]["tokens"] for name in sources},
            planned=planned,
            selected=chosen,
            domains={name: self.recipe.sources[name].domain for name in sources},
            languages={name: self.recipe.sources[name].language for name in sources},
            tokenizer=self.tokenizer,
            sizes=self.recipe.shards,
            context=spec.context if spec else (),
        )

    def selection(self, phase: str) -> tuple[Output, Output]:
        """The rows of a phase, and these with their positions; raises ``RecipeError`` if there are none."""
        step = self._select_step(phase)
        output = self._run(f"mix {phase}", [step])[0]
        if output.counts.kept == 0:
            raise RecipeError(
                f"{phase} of {self.recipe.name} holds no document: its budget of {self.recipe.phases[phase].tokens:,} "
                f"tokens is less than one document of each of its sources. Raise it."
            )
        return output, self._run(f"order {phase}", [self._place_step(step, output)])[0]

    def shards(self, phase: str) -> Output:
        """A phase's shards, shown as ``FOLDER/PHASE``."""
        write = self._shards_step(phase, *self.selection(phase))
        fetched = None
        if self.store.find(write.name, write.key()) is None:
            fetch = Fetch(
                placed=write.placed, pieces=self.partitions, documents=write.documents, edited=write.edited,
                tokens=write.tokens, tokenizer=self.tokenizer, rows_per_shard=self.recipe.shards.rows_per_shard,
                shards=write.partitions,
            )  # fmt: skip
            fetched = self._run(f"fetch {phase}", [fetch])[0]
            write = replace(write, fetched=fetched)
        output = self._run(f"shards {phase}", [write])[0]
        if fetched is not None:
            self.store.discard(fetched)
        self.show(output.path, phase)
        self.show(self.tokenizer.path, "tokenizer")
        return output

    @property
    def supply(self) -> dict[str, int]:
        """Source → tokens that one epoch of it gives to the phases."""
        return {source: axis.total for source, axis in self.ranked.items()}

    def held_out_tokens(self) -> dict[str, int]:
        """Source → tokens of its held-out documents."""
        return {source: replace(axis, stem=HELD_OUT).total for source, axis in self.ranked.items()}

    def held_out(self) -> Output | None:
        """The held-out documents as shards, or None if there are none."""
        return self.shards(HELD_OUT) if any(self.held_out_tokens().values()) else None

    def built_phases(self) -> dict[str, tuple[Output, Output, Output]]:
        """Phase → its rows, their order and its shards, for the phases that are built from the recipe as it stands."""
        built = {}
        for phase in self.recipe.phases:
            select = self._select_step(phase)
            if (selection := self.store.find(select.name, select.key())) is None:
                continue
            place = self._place_step(select, selection)
            if (placed := self.store.find(place.name, place.key())) is None:
                continue
            write = self._shards_step(phase, selection, placed)
            if shards := self.store.find(write.name, write.key()):
                built[phase] = (selection, placed, shards)
        return built

    def show(self, target: Path, name: str) -> None:
        """Point ``FOLDER/NAME`` at a step's output, by a relative link that is replaced whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        link = self.folder / name
        temporary = temporary_name(link)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, self.folder))
        os.replace(temporary, link)
