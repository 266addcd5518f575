"""A build: what a recipe's curation gives, mixed into the shards of its phases.

Every method gives the outputs of one stage and makes what is not there yet; calling one calls those before it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final

from plm_data.chat.phases import ConversationPhase
from plm_data.curation import Curation
from plm_data.errors import RecipeError
from plm_data.mix.plan import EVERYTHING, Axis, Declared, Plan, make_plan
from plm_data.mix.planned import Mixed, PlanMix, planned_sources, read_plan
from plm_data.mix.ranked import ROWS_A_BUCKET, Rank, Ranked
from plm_data.mix.select import Bands, Place, Select, selected
from plm_data.mix.weights import needs_supply, sources_of
from plm_data.recipe import TASKS
from plm_data.recipe_after_checks import place_of
from plm_data.recipe_hub import refuse_unpinned
from plm_data.shards import Fetch, WriteShards
from plm_data.shuffle import buckets_of
from plm_data.store import Output, temporary_name

# Tokens of a source of which nothing is known: a plan before any work refuses nothing for it.
_ENDLESS = 10**18
# The name, and the segment, of the shards of the documents that no phase may have.
HELD_OUT: Final = "held-out"


class Build(Curation):
    """One recipe in one home, from its sources to its phases' shards."""

    @property
    def all_phases(self) -> list[str]:
        """The phases of the pre-training and those after it."""
        return [*self.recipe.phases, *self.recipe.after]

    def chat(self, phase: str) -> ConversationPhase:
        """A phase after the pre-training."""
        if phase not in self._chats:
            tasks = self.chat(TASKS) if phase != TASKS and TASKS in self.recipe.after else None
            self._chats[phase] = ConversationPhase(self, phase, tasks)
        return self._chats[phase]

    @cached_property
    def _chats(self) -> dict[str, ConversationPhase]:
        return {}

    def check(self, phase: str | None = None) -> None:
        """Everything that can be known to be wrong before any work. Raises ``RecipeError``."""
        if phase is not None and phase not in self.all_phases:
            raise RecipeError(
                f"recipe {self.recipe.name} has no phase {phase!r}; its phases are {', '.join(self.all_phases)}."
            )
        for after in self.recipe.after:
            self.chat(after).check()
        if phase in self.recipe.after:
            refuse_unpinned(self.recipe, ".".join(place_of(phase)))
        bands, rows = self.banding
        if bands * rows > self.recipe.curate.dedup.permutations:
            raise RecipeError(
                f"curate.dedup: {bands} bands x {rows} rows need {bands * rows} permutations, but there are "
                f"{self.recipe.curate.dedup.permutations}; set bands and rows, or threshold."
            )
        if not self.unknown_to_strategies():
            self.estimate()

    def unknown_to_strategies(self) -> list[str]:
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
        if unknown := self.unknown_to_strategies():
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
        outputs = self._run("rank", steps)
        return {name: Ranked(outputs[name], step.buckets, self._measures) for name, step in steps.items()}

    @cached_property
    def _planned(self) -> Mixed:
        phases = self.recipe.phases
        sources = planned_sources(phases, self.recipe.sources)
        step = PlanMix(
            ranked={name: self.ranked[name].output for name in sources},
            buckets={name: self.ranked[name].buckets for name in sources},
            measures=self._measures,
            phases=phases,
            most_epochs={name: self.recipe.max_epochs_of(name) for name in sources},
        )
        return read_plan(self._run_one("plan", step), phases, self.recipe.sources)

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
        after = self.chat(phase) if phase in self.recipe.after else None
        step = after.select_step() if after else self._select_step(phase)
        output = self._run_one(f"mix {phase}", step, phase)
        if output.counts.kept == 0:
            raise RecipeError(
                f"{phase} of {self.recipe.name} holds no document: its budget of {self.recipe.phases[phase].tokens:,} "
                f"tokens is less than one document of each of its sources. Raise it."
            )
        place = after.place_step(step, output) if after else self._place_step(step, output)
        return output, self._run_one(f"order {phase}", place, phase)

    def shards(self, phase: str) -> Output:
        """A phase's shards, shown as ``FOLDER/PHASE``."""
        after = self.chat(phase) if phase in self.recipe.after else None
        selection = self.selection(phase)
        write: WriteShards = after.shards_step(*selection) if after else self._shards_step(phase, *selection)
        fetched = None
        if self.store.find(write.name, write.key()) is None:
            kind, pieces = (after.fetch_kind, after.partitions) if after else (Fetch, self.partitions)
            fetch = kind(
                placed=write.placed, pieces=pieces, documents=write.documents, edited=write.edited,
                tokens=write.tokens, tokenizer=self.tokenizer, rows_per_shard=self.recipe.shards.rows_per_shard,
                shards=write.partitions,
            )  # fmt: skip
            fetched = self._run_one(f"fetch {phase}", fetch, phase)
            write = replace(write, fetched=fetched)
        output = self._run_one(f"shards {phase}", write, phase)
        if fetched is not None:
            self.store.discard(fetched)
        self.show_files(output, phase)
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

    def built(self, phase: str) -> tuple[Output, Output, Output] | None:
        """A phase's rows, their order and its shards, if it is built from the recipe as it stands."""
        after = self.chat(phase) if phase in self.recipe.after else None
        select = after.select_step() if after else self._select_step(phase)
        if (selection := self.store.find(select.name, select.key())) is None:
            return None
        place = after.place_step(select, selection) if after else self._place_step(select, selection)
        if (placed := self.store.find(place.name, place.key())) is None:
            return None
        write: WriteShards = (
            after.shards_step(selection, placed) if after else self._shards_step(phase, selection, placed)
        )
        shards = self.store.find(write.name, write.key())
        return (selection, placed, shards) if shards else None

    def built_phases(self) -> dict[str, tuple[Output, Output, Output]]:
        """The phases of the pre-training that are ``built``."""
        return {phase: found for phase in self.recipe.phases if (found := self.built(phase))}

    def show(self, target: Path, name: str) -> None:
        """Point ``FOLDER/NAME`` at a step's output, by a relative link that is replaced whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        link = self.folder / name
        temporary = temporary_name(link)
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, self.folder))
        os.replace(temporary, link)

    def show_files(self, output: Output, name: str) -> None:
        """Give ``FOLDER/NAME`` an output's files, by hard links: a folder that can be copied or pushed as it lies."""
        folder = self.folder / name
        files = sorted(file for file in output.path.iterdir() if file.name != "_step.json")
        if folder.is_dir() and not folder.is_symlink():
            shown = [folder / file.name for file in files]
            if all(file.exists() and os.path.samefile(file, each) for file, each in zip(files, shown, strict=True)):
                return
        temporary, old = temporary_name(folder), temporary_name(self.folder / f"{name}.old")
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)
        temporary.mkdir(parents=True)
        for file in files:
            try:
                os.link(file, temporary / file.name)
            except OSError:  # a file system without hard links
                shutil.copyfile(file, temporary / file.name)
        if folder.is_symlink():
            folder.unlink()
        elif folder.is_dir():
            os.rename(folder, old)
        os.rename(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
