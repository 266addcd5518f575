"""A build: the steps of a recipe in their order, from its sources to its phases' shards.

Every method gives the outputs of one stage and makes what is not there yet; calling one calls those before it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from plm_data import mix
from plm_data.attributes.heuristics import MeasureHeuristics
from plm_data.attributes.language import MeasureLanguage, model_path
from plm_data.attributes.tokens import Tokenise, TrainTokenizer
from plm_data.decide import Decide, check_guardrails
from plm_data.dedup.clusters import Cluster, Sign
from plm_data.dedup.minhash import bands_and_rows
from plm_data.engine import Step, run_steps
from plm_data.errors import RecipeError
from plm_data.recipe import Recipe, thresholds
from plm_data.shards import WriteShards
from plm_data.sources import make_reader
from plm_data.sources.base import Reader
from plm_data.sources.collect import Collect, Normalise
from plm_data.store import Output, Store, file_sha256, temporary_name

# FineWeb's, for a recipe that names neither bands and rows nor a threshold.
_DEFAULT_BANDS, _DEFAULT_ROWS = 14, 8
# The name, and the segment, of the shards of the documents that no phase may have.
HELD_OUT: Final = "held-out"


def default_home() -> Path:
    """Where builds live: ``PLM_HOME``, or ``build`` in the current folder."""
    return Path(os.environ.get("PLM_HOME", "build"))


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
    def collected(self) -> dict[str, Output]:
        """Source → its documents as found."""
        steps = [
            Collect(source=name, spec=spec, fingerprint=self.readers[name].fingerprint(), pieces=self.recipe.partitions)
            for name, spec in self.recipe.sources.items()
        ]
        return dict(zip(self.recipe.sources, self._run("collect", list(steps)), strict=True))

    @cached_property
    def documents(self) -> dict[str, Output]:
        """Source → its documents in normal form."""
        steps = [Normalise(collected=output) for output in self.collected.values()]
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
        dedup = self.recipe.curate.dedup
        model = file_sha256(model_path())
        steps: list[tuple[str, Step]] = []
        for name, documents in self.documents.items():
            spec = self.recipe.sources[name]
            steps += [
                (name, MeasureHeuristics(documents=documents)),
                (name, MeasureLanguage(documents=documents, declared=spec.language, model_sha256=model)),
                (name, Tokenise(documents=documents, tokenizer=self.tokenizer)),
            ]
            if spec.dedup == "near":
                sign = Sign(
                    documents=documents, permutations=dedup.permutations, shingle_words=dedup.shingle_words
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
    def clusters(self) -> Output:
        signatures = {name: found["signatures"] for name, found in self.attributes.items() if "signatures" in found}
        bands, rows = self.banding
        return self._run("clusters", [Cluster(signatures=signatures, bands=bands, rows=rows)])[0]

    @cached_property
    def decided(self) -> Output:
        """The ledger and the verdicts; the guardrails have passed."""
        sources = self.recipe.sources
        step = Decide(
            columns={
                name: [self.collected[name], self.documents[name]]
                + [self.attributes[name][kind] for kind in ("heuristics", "language", "tokens")]
                for name in sources
            },
            clusters=self.clusters,
            thresholds={name: thresholds(self.recipe, name) for name in sources},
            priorities={name: spec.priority for name, spec in sources.items()},
            domains={name: spec.domain for name, spec in sources.items()},
        )
        output = self._run("decide", [step])[0]
        check_guardrails(output, self.recipe.curate.guardrails)
        return output

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
