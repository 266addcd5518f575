"""The facts of a plan as plain values, for JSON and for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plm_data.build import Build
from plm_data.mix.plan import Plan
from plm_data.planning.needs import fetch_facts, processor_facts, source_facts, storage_facts
from plm_data.planning.rate import Rate
from plm_data.recipe import Recipe
from plm_data.recipe_conversations import ConversationSet, FileSet, HubSet
from plm_data.recipe_hub import unpinned


def plan_facts(build: Build, plan: Plan, rate: Rate, bytes_per_token: float) -> dict[str, Any]:
    """Everything but the training, whose cost the trainer's room knows."""
    recipe = build.recipe
    sources = source_facts(build, bytes_per_token)
    return {
        "recipe": recipe.name,
        "description": recipe.description,
        "tokens": sum(phase.tokens for phase in recipe.phases.values()),
        "phases": _phases(build, plan),
        "sources": sources,
        "storage": storage_facts(sources, plan),
        "processor": processor_facts(sources, rate),
        "fetch": fetch_facts(build, sources),
        "unpinned": unpinned(recipe),
        "sft": _sft(recipe),
        "preferences": _preferences(recipe),
        "tasks": _sets(recipe.evaluate.tasks) if recipe.evaluate else [],
        "evaluate": [task.model_dump() for task in recipe.evaluate.suite] if recipe.evaluate else [],
    }


def _phases(build: Build, plan: Plan) -> list[dict[str, Any]]:
    recipe, known = build.recipe, build.known_supply
    return [
        {
            "name": name,
            "segment": recipe.phases[name].segment,
            "tokens": recipe.phases[name].tokens,
            "sources": [
                {
                    "source": source,
                    "domain": recipe.sources[source].domain,
                    "share": float(take.share),
                    "tokens": take.quota,
                    "epochs": take.epochs if source in known else None,
                    "epochs_so_far": take.epochs_so_far if source in known else None,
                    "most_epochs": recipe.max_epochs_of(source),
                }
                for source, take in takes.items()
            ],
        }
        for name, takes in plan.items()
    ]


def _sets(sets: Mapping[str, ConversationSet]) -> list[dict[str, Any]]:
    return [{"name": name, "where": _where(data), **data.model_dump(mode="json")} for name, data in sets.items()]


def _where(data: ConversationSet) -> str:
    """The repository or the files of a set, or the reader that makes it."""
    if isinstance(data, HubSet):
        return data.path
    return ", ".join(data.paths) if isinstance(data, FileSet) else data.reader


def _sft(recipe: Recipe) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "epochs": phase.epochs,
            "sequence_length": phase.sequence_length,
            "learning_rate": phase.learning_rate,
            "sources": _sets(phase.sources),
        }
        for name, phase in recipe.sft.items()
    ]


def _preferences(recipe: Recipe) -> dict[str, Any] | None:
    if recipe.preferences is None:
        return None
    values = recipe.preferences.model_dump(mode="json", by_alias=True, exclude={"prompts"})
    return values | {"prompts": _sets(recipe.preferences.prompts)}
