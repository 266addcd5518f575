"""Everything that a recipe names on the hub, and which of it has no commit yet."""

from __future__ import annotations

from collections.abc import Iterator

from plm_data.errors import RecipeError
from plm_data.recipe import HubTokenizer, Recipe
from plm_data.recipe_after import HubSet, RewardModel
from plm_data.recipe_sources import HubSource

HubItem = HubSource | HubTokenizer | HubSet | RewardModel


def hub_items(recipe: Recipe) -> Iterator[tuple[str, HubItem]]:
    """Key in the recipe → what it names, in the order in which a run comes to them."""
    if isinstance(recipe.tokenizer, HubTokenizer):
        yield "tokenizer", recipe.tokenizer
    for name, source in recipe.sources.items():
        if isinstance(source, HubSource):
            yield f"sources.{name}", source
    for name, phase in recipe.sft.items():
        for each, data in phase.sources.items():
            yield f"sft.{name}.sources.{each}", data
    if recipe.preferences is not None:
        for each, data in recipe.preferences.prompts.items():
            yield f"preferences.prompts.{each}", data
        if isinstance(recipe.preferences.select, RewardModel):
            yield "preferences.select", recipe.preferences.select


def unpinned(recipe: Recipe) -> list[str]:
    """The keys of what has no commit."""
    return [key for key, item in hub_items(recipe) if item.revision is None]


def refuse_unpinned(recipe: Recipe) -> None:
    """Raise ``RecipeError`` if a source or the tokenizer has no commit: nothing would say what was built."""
    keys = [key for key in unpinned(recipe) if key == "tokenizer" or key.startswith("sources.")]
    if keys:
        raise RecipeError(
            f"recipe {recipe.name}: {', '.join(keys)}: revision is null, so nobody could say which bytes were built. "
            f"Run `plm lock` with network to pin them, or write the commits into the recipe."
        )
