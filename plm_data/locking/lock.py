"""The lock of a recipe: all that its result depends on, and the result, as a file that people can read and compare.

``plm build --locked`` refuses any difference before it works, and any difference of its shards after it.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from plm_data.attributes.language import model_path
from plm_data.build import Build
from plm_data.engine import Step
from plm_data.errors import LockError
from plm_data.inspect.tables import Built
from plm_data.pending import pending_steps
from plm_data.recipe import Recipe
from plm_data.recipe_after_checks import place_of
from plm_data.recipe_conversations import ConversationSet
from plm_data.recipe_hub import refuse_unpinned
from plm_data.recipe_sources import Source
from plm_data.shards import read_manifest
from plm_data.sources.base import Reader
from plm_data.store import code_version, file_sha256, library_versions, write_text

FORMAT: Final = 1
# Sections that are known before any work; `tokenizer` and `phases` are what a build gave.
_INPUTS = ("recipe", "platform", "packages", "code", "models", "sources")
_MOST_SHOWN = 20

Json = dict[str, Any]


@dataclass(frozen=True)
class Difference:
    """``item``: its path in the lock; None where one side lacks it."""

    item: str
    locked: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.item}: locked {_shown(self.locked)}, found {_shown(self.found)}"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def lock_file(recipe: Path) -> Path:
    """Where the lock of a recipe's file lies: beside it."""
    return recipe.with_suffix(".lock")


def inputs(build: Build) -> Json:
    """What the result depends on, as it is here and now. Reads the sources' contents, but builds nothing.

    Raises ``RecipeError`` if nothing says which commit of a source is meant.
    """
    for section in ("sources", *(".".join(place_of(phase)) for phase in build.recipe.after)):
        refuse_unpinned(build.recipe, section)
    steps = {f"{step.name} ({step.__name__})": code_version(step.__module__) for step in _step_kinds()}
    return {
        "recipe": build.recipe.model_dump(mode="json"),
        # What compiled code may round otherwise; anything else of a machine reaches no shard.
        "platform": {"machine": platform.machine(), "system": platform.system()},
        "packages": library_versions(),
        # Beside the steps' own what gives them their inputs and parameters.
        "code": steps | {"build (Build)": code_version(Build.__module__)},
        "models": {model_path().name: file_sha256(model_path())},
        "sources": {
            name: {"reader": spec.reader, "fingerprint": reader.fingerprint(), "contents": reader.contents()}
            for name, spec, reader in _readers(build)
        },
    }


def _readers(build: Build) -> Iterator[tuple[str, Source | ConversationSet, Reader]]:
    """Every source of the corpus, then every set of the phases after it, as PHASE/SET."""
    for name, reader in build.readers.items():
        yield name, build.recipe.sources[name], reader
    for phase, sets in build.recipe.after.items():
        for name, reader in build.chat(phase).readers.items():
            yield f"{phase}/{name}", sets[name], reader


def _step_kinds(kind: type[Step] = Step) -> Iterator[type[Step]]:
    """Every kind of step of the engine."""
    for child in kind.__subclasses__():
        if "name" in vars(child) and child.__module__.startswith("plm_data."):
            yield child
        yield from _step_kinds(child)


def results(build: Build) -> Json:
    """The digests of what is built, or nothing where the recipe as it stands is not built."""
    if pending_steps(build.recipe, build.home):
        return {}
    # In the store: the build's folder may show what the recipe gave when it said something else.
    found = Built(build.recipe, build.home)
    shards = {name: built[2] for name in found.all_phases if (built := found.built(name))}
    phases = {name: _phase(output.path) for name, output in shards.items()}
    return {"tokenizer": _tokenizer(found.tokenizer.path), "phases": phases}


def _tokenizer(folder: Path) -> Json:
    return {file.name: file_sha256(file) for file in sorted(folder.glob("*.json")) if file.name != "_step.json"}


def _phase(folder: Path) -> Json:
    """A phase's size, and the digests of its shards as they lie."""
    found = read_manifest(folder)
    shards = {shard["file"]: file_sha256(folder / shard["file"]) for shard in found["shards"]}
    return {"rows": found["rows"], "tokens": found["tokens"], "shards": shards}


def write_lock(path: Path, recipe: Recipe, lock: Json) -> None:
    """Write a lock whole or not at all: a line an item, in one order. Raises ``LockError`` if it cannot be."""
    head = (
        f"# The lock of {recipe.name}, made by `plm lock`: all that its shards depend on, and what they are.\n"
        f"# `plm build --locked` refuses whatever differs.\n"
    )
    text = yaml.safe_dump({"format": FORMAT, **lock}, sort_keys=True, allow_unicode=True, width=1_000_000)
    try:
        write_text(path, head + text)
    except OSError as error:
        raise LockError(f"{path}: the lock cannot be written there: {error.strerror or error}.") from error


def read_lock(path: Path) -> Json:
    """Raises ``LockError`` if there is none, or it is not one of this version."""
    if not path.is_file():
        raise LockError(f"{path}: there is no lock; make it with `plm lock`.")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LockError(f"{path}: the lock cannot be read: {error.strerror or error}.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise LockError(f"{path}: not valid YAML ({error}); make it anew with `plm lock`.") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise LockError(f"{path}: not a lock of format {FORMAT}; make it anew with `plm lock`.")
    if missing := [name for name in _INPUTS if not isinstance(found.get(name), dict)]:
        raise LockError(f"{path}: it lacks {', '.join(missing)}; make it anew with `plm lock`.")
    return found


def differences(locked: Json, found: Json) -> list[Difference]:
    """Every item that is not the same on both sides, in the order of their paths."""
    one, two = dict(_items(locked)), dict(_items(found))
    return [
        Difference(item, one.get(item), two.get(item))
        for item in sorted({*one, *two})
        if one.get(item, _UNSET) != two.get(item, _UNSET)
    ]


_UNSET = object()


def _items(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _items(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        yield path, [list(item) if isinstance(item, tuple) else item for item in value]
    else:
        yield path, value


def check_inputs(build: Build, path: Path) -> Json:
    """The lock, once nothing that the result depends on differs from it; raises ``LockError`` naming what does."""
    locked = read_lock(path)
    found = inputs(build)
    _refuse(path, differences({name: locked[name] for name in _INPUTS}, found), "what the recipe is built from")
    return locked


def check_results(build: Build, path: Path, locked: Json, phases: list[str]) -> int:
    """Compare what was built with a lock that holds it; raises ``LockError``. Gives how many shards were the same."""
    if "phases" not in locked:
        return 0
    expected = {"tokenizer": locked.get("tokenizer"), "phases": {name: locked["phases"].get(name) for name in phases}}
    folder = build.folder
    found = {"tokenizer": _tokenizer(folder / "tokenizer"), "phases": {name: _phase(folder / name) for name in phases}}
    _refuse(path, differences(expected, found), "what was built")
    return sum(len(phase["shards"]) for phase in found["phases"].values())


def _refuse(path: Path, differing: list[Difference], what: str) -> None:
    if not differing:
        return
    lines = [str(each) for each in differing[:_MOST_SHOWN]]
    if len(differing) > _MOST_SHOWN:
        lines.append(f"and {len(differing) - _MOST_SHOWN} more")
    raise LockError(
        f"{path}: {what} is not what was locked:\n  " + "\n  ".join(lines) + "\n"
        "Restore what has changed, or lock it as it is with `plm lock`."
    )
