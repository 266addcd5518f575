"""Curation: the steps of a recipe from its sources to its decisions, in their order.

Every property gives the outputs of one stage and makes what is not there yet; asking for one asks for those before it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import polars as pl

from plm_data.attributes.heuristics import MeasureHeuristics
from plm_data.attributes.hub_tokenizer import FetchTokenizer
from plm_data.attributes.language import MeasureLanguage, model_path
from plm_data.attributes.quality import STOP_WORDS
from plm_data.attributes.tokens import Tokenise, TrainTokenizer
from plm_data.decisions import winners
from plm_data.decisions.columns import SourceColumns
from plm_data.decisions.guardrails import QUARANTINE_KEY, check_guardrails
from plm_data.decisions.judge import Judge
from plm_data.decisions.verdicts import Decide
from plm_data.dedup import clusters
from plm_data.dedup.clusters import Sign
from plm_data.dedup.minhash import bands_and_rows
from plm_data.engine import Step, run_steps
from plm_data.errors import RecipeError
from plm_data.mix.weights import quotas, shares
from plm_data.recipe import Guardrails, Recipe, thresholds
from plm_data.recipe_hub import refuse_unpinned
from plm_data.recipe_sources import HubSource, SourceSpec
from plm_data.sources import make_reader
from plm_data.sources.base import Reader
from plm_data.sources.collect import Collect, Normalise
from plm_data.sources.limit import Limit, Sample, limits
from plm_data.store import Output, Store, file_sha256, write_json

# FineWeb's, for a recipe that names neither bands and rows nor a threshold.
_DEFAULT_BANDS, _DEFAULT_ROWS = 14, 8
# A partition's texts are worked in slices, but its ids and columns are held; and so many make resuming cheap.
_PARTITION_BYTES = 64_000_000
_FEWEST_PARTITIONS = 4
# What the output of a stage is of that has one for all sources.
ALL: Final = "all"


def default_home() -> Path:
    """Where builds live: ``PLM_HOME``, or ``build`` in the current folder."""
    return Path(os.environ.get("PLM_HOME", "build"))


def _read_by(spec: SourceSpec) -> SourceSpec:
    """A source without what does not change its documents, so that a changed priority collects nothing anew."""
    plain = {"priority": 0, "dedup": "near", "domain": "any", "language": "any", "lines": "all"}
    planned = dict.fromkeys(("tokens", "max_epochs", "held_out"))
    trial = dict.fromkeys(("limit_documents", "limit_bytes", "limit_tokens"))
    if "bytes" in type(spec).model_fields:
        planned["bytes"] = None
    return spec.model_copy(update={**plain, **planned, **trial})


class Curation:
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
        # Stage → what each of its outputs is of (a source, an attribute of one, or all) → the output.
        self.outputs: dict[str, dict[str, Output]] = {}

    @property
    def folder(self) -> Path:
        """What people look at: the recipe's phases, report, tokenizer and model."""
        return self.home / self.recipe.name

    def _run(self, stage: str, steps: Mapping[str, Step]) -> dict[str, Output]:
        """The outputs of a stage's steps, each under the name of what it is of."""
        made = run_steps(self.store, list(steps.values()), stage, self.workers, self.progress)
        outputs = dict(zip(steps, made, strict=True))
        if stage not in self.outputs:
            self.outputs[stage] = outputs
            reused = sum(output.reused for output in made)
            rows = sum(output.counts.read for output in made)
            done = "reused" if reused == len(made) else f"{len(made) - reused} made, {reused} reused"
            self.say(f"{stage:<12} {rows:>9,} rows  {done}")
            self._note(stage, outputs)
        return outputs

    @property
    def _steps_file(self) -> Path:
        return self.folder / "steps.json"

    def last_steps(self) -> dict[str, dict[str, list[str]]]:
        """Stage → of → step and key of the output that the newest build of this name used."""
        try:
            found = json.loads(self._steps_file.read_text(encoding="utf-8"))
            return {
                stage: {of: [str(step), str(key)] for of, (step, key) in used.items()} for stage, used in found.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # never built, or not by this version: nothing to compare with

    def _note(self, stage: str, outputs: Mapping[str, Output]) -> None:
        """Keep which outputs the build used, so that it can be said later what has changed."""
        last = self.last_steps()
        used = {of: [output.step, output.key] for of, output in outputs.items()}
        if last.get(stage) != used:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self._steps_file, {**last, stage: used})

    def _run_one(self, stage: str, step: Step, of: str = ALL) -> Output:
        """The output of a stage that is one step."""
        return self._run(stage, {of: step})[of]

    @cached_property
    def readers(self) -> dict[str, Reader]:
        return {name: make_reader(name, spec) for name, spec in self.recipe.sources.items()}

    @cached_property
    def known_supply(self) -> dict[str, tuple[int, str]]:
        """Source → tokens of one epoch before any work, and what is said of them: declared, or at most what its bytes
        can give. A source that can say neither is missing."""
        ratio = self.recipe.tokenizer.min_bytes_per_token
        known: dict[str, tuple[int, str]] = {}
        for name, spec in self.recipe.sources.items():
            if spec.tokens is not None:
                known[name] = (spec.tokens, "declares")
                continue
            # What the hub's files hold could only be asked of the hub, and a plan is made without network.
            bound = spec.bytes if isinstance(spec, HubSource) else self.readers[name].size_bound()
            if bound is not None:
                known[name] = (int(bound / ratio), "can, before curation, give at most")
            _, most_bytes = limits(spec, ratio)
            if most_bytes is not None and (name not in known or int(most_bytes / ratio) < known[name][0]):
                known[name] = (int(most_bytes / ratio), "can, by its limit, give at most")
        return known

    @cached_property
    def partitions(self) -> int:
        """Pieces that every source is worked in: a document of whatever source belongs to that of its id."""
        if self.recipe.partitions is not None:
            return self.recipe.partitions
        largest = max((reader.size_bound() or 0 for reader in self.readers.values()), default=0)
        return min(max(_FEWEST_PARTITIONS, -(-largest // _PARTITION_BYTES)), 4096)

    @cached_property
    def collected(self) -> dict[str, Output]:
        """Source → its documents as found. Raises ``RecipeError`` if nothing says which these are."""
        refuse_unpinned(self.recipe)
        steps = {
            name: Collect(
                source=name, spec=_read_by(spec), fingerprint=self.readers[name].fingerprint(), pieces=self.partitions
            )
            for name, spec in self.recipe.sources.items()
        }
        return self._run("collect", steps)

    @cached_property
    def normalised(self) -> dict[str, Output]:
        """Source → all its documents in normal form."""
        collected = self.collected
        steps = {name: Normalise(collected=output, pieces=self.partitions) for name, output in collected.items()}
        return self._run("normalise", steps)

    @cached_property
    def sampled(self) -> dict[str, Output]:
        """Source that a trial limits → what its limits leave of its documents."""
        seed, ratio = self.recipe.seed, self.recipe.tokenizer.min_bytes_per_token
        most = {name: limits(spec, ratio) for name, spec in self.recipe.sources.items()}
        steps = {
            name: Limit(documents=self.normalised[name], most_documents=count, most_bytes=size, seed=seed)
            for name, (count, size) in most.items()
            if count is not None or size is not None
        }
        if not steps:
            return {}
        found = self._run("limit", steps)
        samples = {name: Sample(documents=step.documents, limit=found[name], seed=seed) for name, step in steps.items()}
        return self._run("sample", samples)

    @property
    def documents(self) -> dict[str, Output]:
        """Source → its documents in normal form, within its limits."""
        return self.normalised | self.sampled

    @property
    def _through(self) -> tuple[dict[str, Output], ...]:
        """The stages that documents came through, each of which may have rejected some."""
        return self.collected, self.normalised, self.sampled

    @cached_property
    def tokenizer(self) -> Output:
        spec = self.recipe.tokenizer
        if spec.hub is not None and spec.revision is not None:
            return self._run_one("tokenizer", FetchTokenizer(hub=spec.hub, revision=spec.revision))
        total = sum(phase.tokens for phase in self.recipe.phases.values())
        known = {name: tokens for name, (tokens, _) in self.known_supply.items()}
        # A strategy's shares are a guess here, and what nothing is known of counts as the others do.
        guess = {name: known.get(name, sum(known.values()) // max(len(known), 1) or 1) for name in self.recipe.sources}
        needed = dict.fromkeys(self.recipe.sources, 0)
        for phase in self.recipe.phases.values():
            for source, quota in quotas(shares(phase.mix, phase.tokens, guess), phase.tokens).items():
                needed[source] += quota
        parts = {source: round(tokens / total, 6) for source, tokens in needed.items()}
        step = TrainTokenizer(spec=spec, seed=self.recipe.seed, shares=parts, documents=self.documents)
        return self._run_one("tokenizer", step)

    @cached_property
    def attributes(self) -> dict[str, dict[str, Output]]:
        """Source → attribute step → its output: all measured in one pass of the workers."""
        curate, dedup = self.recipe.curate, self.recipe.curate.dedup
        model = file_sha256(model_path())
        steps: dict[str, dict[str, Step]] = {}
        for name, documents in self.documents.items():
            spec = self.recipe.sources[name]
            language = curate.languages.get(spec.language)
            stop_words = language.stop_words if language and language.stop_words else STOP_WORDS
            terminal = curate.c4_lines.terminal_punctuation
            edit_lines = spec.lines == "c4"
            own: list[Step] = [
                Tokenise(
                    documents=documents, tokenizer=self.tokenizer, edit_lines=edit_lines,
                    terminal=edit_lines and terminal,
                ),
                MeasureHeuristics(documents=documents, stop_words=stop_words, terminal=terminal),
                MeasureLanguage(documents=documents, declared=spec.language, model_sha256=model),
            ]  # fmt: skip
            if spec.dedup == "near":
                sign = Sign(
                    documents=documents, permutations=dedup.permutations, shingle_words=dedup.shingle_words,
                    keep_shingles=dedup.min_jaccard is not None,
                )  # fmt: skip
                own.append(sign)
            steps[name] = {step.name: step for step in own}
        named = {f"{name}/{kind}": step for name, own_steps in steps.items() for kind, step in own_steps.items()}
        outputs = self._run("attributes", named)
        return {name: {kind: outputs[f"{name}/{kind}"] for kind in own_steps} for name, own_steps in steps.items()}

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
        steps = {
            name: clusters.Bands(signatures=output, bands=bands, rows=rows, buckets=buckets)
            for name, output in signatures.items()
        }
        banded = self._run("bands", steps)
        min_jaccard = self.recipe.curate.dedup.min_jaccard
        match = clusters.Match(
            bands=banded, signatures=signatures if min_jaccard else {}, buckets=buckets, min_jaccard=min_jaccard
        )
        matched = self._run_one("match", match)
        clustered = self._run_one("clusters", clusters.Cluster(matched=matched, pieces=self.partitions))
        attached = {
            name: clusters.NearClusters(signatures=output, clusters=clustered, pieces=self.partitions)
            for name, output in signatures.items()
        }
        return self._run("near", attached)

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
        judging = {
            name: Judge(
                source=name, columns=columns[name], thresholds=thresholds(self.recipe, name),
                priority=spec.priority, quality=self.recipe.curate.dedup.quality, buckets=buckets,
            )
            for name, spec in self.recipe.sources.items()
        }  # fmt: skip
        judged = self._run("judge", judging)
        exact = self._run_one("exact", winners.ExactWinners(judged=judged, buckets=buckets))
        won = self._run_one("winners", winners.NearWinners(entrants=exact, buckets=buckets, pieces=self.partitions))
        deciding = {
            name: Decide(
                source=name, domain=spec.domain, columns=columns[name], judged=judged[name], won=won,
                through=tuple(stage[name] for stage in self._through if name in stage),
            )
            for name, spec in self.recipe.sources.items()
        }  # fmt: skip
        decided = self._run("decide", deciding)
        self.check_guardrails(decided, self.recipe.curate.guardrails)
        return decided

    def check_guardrails(
        self, decided: dict[str, Output], guardrails: Guardrails, quarantine_key: str = QUARANTINE_KEY
    ) -> None:
        """Raises ``GuardrailError`` if what was decided is beyond the guardrails."""
        check_guardrails(decided, guardrails, quarantine_key)

    def table(self, name: Literal["ledger", "verdicts", "rejected"]) -> pl.LazyFrame:
        """The decisions of all sources: the ledger, one row a document, or what was rejected before."""
        return pl.scan_parquet([part for source in sorted(self.decided) for part in self.decided[source].parts(name)])
