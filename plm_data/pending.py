"""The steps that a build of a recipe would run, found without running one.

A step whose inputs are all there runs if its key has no output. What comes after it is listed too, as what follows: it
runs only if its inputs turn out to hold other bytes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from plm_data.build import Build
from plm_data.decisions.guardrails import QUARANTINE_KEY
from plm_data.engine import Step
from plm_data.mix.planned import PlanMix
from plm_data.recipe import Guardrails, Recipe
from plm_data.recipe_after_checks import place_of
from plm_data.recipe_hub import unpinned
from plm_data.store import RECORD, Counts, Output, read_record

_UNKNOWN = "?"


@dataclass(frozen=True)
class PendingStep:
    """``of``: a source, an attribute of one (SOURCE/ATTRIBUTE), a phase, or all.

    ``why``: what is not as it was when this step last ran, or nothing where it never did.
    """

    stage: str
    of: str
    when: Literal["runs", "follows"]
    why: tuple[str, ...] = ()


def pending_steps(recipe: Recipe, home: Path) -> list[PendingStep]:
    """What a build of all phases would run, in its order; raises ``RecipeError`` where it could not be built."""
    with ExitStack() as stack:
        return _DryRun(recipe, home, stack).steps()


class _DryRun(Build):
    """A build that looks every step up and runs none, but for the plan of the mix, which takes a moment."""

    def __init__(self, recipe: Recipe, home: Path, stack: ExitStack):
        super().__init__(recipe, home, workers=1)
        self._stack, self._found = stack, list[PendingStep]()
        self._last = self.last_steps()

    def steps(self) -> list[PendingStep]:
        self.check()
        ranked = self.ranked
        if any(_is_unknown(axis.output) for axis in ranked.values()):
            self._follow("plan", "all")
        for phase in self.recipe.phases:
            self._phase(phase, known=not any(_is_unknown(axis.output) for axis in ranked.values()))
        without_commit = unpinned(self.recipe)
        for phase in self.recipe.after:
            if any(key.startswith(f"{'.'.join(place_of(phase))}.") for key in without_commit):
                continue  # nothing says what it would be built from
            self._phase(phase, known=not any(_is_unknown(axis.output) for axis in self.chat(phase).ranked.values()))
        return self._found

    def _phase(self, phase: str, known: bool) -> None:
        stages = [f"{stage} {phase}" for stage in ("mix", "order", "fetch", "shards")]
        chat = self.chat(phase) if phase in self.recipe.after else None
        if known:
            select = chat.select_step() if chat else self._select_step(phase)
            selection = self._run_one(stages.pop(0), select, phase)
            if not _is_unknown(selection):
                place = chat.place_step(select, selection) if chat else self._place_step(select, selection)
                placed = self._run_one(stages.pop(0), place, phase)
                if not _is_unknown(placed):
                    write: Step = (
                        chat.shards_step(selection, placed) if chat else self._shards_step(phase, selection, placed)
                    )
                    if self.store.find(write.name, write.key()) is None:
                        why = self._why(stages[1], phase, write)
                        self._found += [PendingStep(stage, phase, "runs", why) for stage in stages]
                    return
        for stage in stages:
            self._follow(stage, phase)

    def _follow(self, stage: str, of: str) -> None:
        self._found.append(PendingStep(stage, of, "follows"))

    def _run(self, stage: str, steps: Mapping[str, Step]) -> dict[str, Output]:
        return {of: self._look_up(stage, of, step) for of, step in steps.items()}

    def _look_up(self, stage: str, of: str, step: Step) -> Output:
        if any(_is_unknown(value) for field in fields(step) for value in _outputs(getattr(step, field.name))):
            self._follow(stage, of)
        elif (found := self.store.find(step.name, step.key())) is not None:
            return found
        else:
            self._found.append(PendingStep(stage, of, "runs", self._why(stage, of, step)))
            if isinstance(step, PlanMix):
                out = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="plm-plan-")))
                return Output(step.name, step.key(), out, step.run(0, out), reused=False, content="")
        last = self._record(stage, of)
        # Some steps are shaped by how many documents there are, which are most likely about as many as before.
        counts = Counts(**last["rows"]) if last else Counts()
        return Output(step.name, "", self.store.root / _UNKNOWN, counts, reused=False, content=_UNKNOWN)

    def check_guardrails(
        self, decided: dict[str, Output], guardrails: Guardrails, quarantine_key: str = QUARANTINE_KEY
    ) -> None:
        """What is not decided yet cannot be checked."""

    def _record(self, stage: str, of: str) -> dict[str, Any] | None:
        """What the output of the last run of a step says of itself, if it is still there."""
        last = self._last.get(stage, {}).get(of)
        folder = self.store.folder(*last) if last else None
        return read_record(folder) if folder and (folder / RECORD).is_file() else None

    def _why(self, stage: str, of: str, step: Step) -> tuple[str, ...]:
        last = self._record(stage, of)
        if last is None:
            return ()
        now = json.loads(json.dumps(step.description()))
        changes = list(_changes(last["fields"], now["fields"]))
        changes += ["its code"] if last["code"] != now["code"] else []
        # An older record does not say which libraries it was made with.
        changes += _changes(last.get("libraries", now["libraries"]), now["libraries"], "libraries")
        return tuple(changes)


def _outputs(value: Any) -> Iterator[Output]:
    if isinstance(value, Output):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _outputs(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _outputs(item)


def _is_unknown(output: Output) -> bool:
    return output.content == _UNKNOWN


def _changes(was: Any, now: Any, name: str = "") -> Iterator[str]:
    """The values that differ, by their names; those of inputs by the step that made them."""
    if was == now:
        return
    if isinstance(was, dict) and isinstance(now, dict):
        if "input" in now and "content" in now:
            yield f"{name} (of step {now['input']})"
            return
        for key in sorted({*was, *now}):
            yield from _changes(was.get(key), now.get(key), f"{name}.{key}" if name else key)
    else:
        yield f"{name} {_short(was)} → {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}…"
