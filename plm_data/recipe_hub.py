"""Everything that a recipe names on the hub, and which of it has no commit yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from plm_data.errors import RecipeError
from plm_data.recipe import Recipe
from plm_data.recipe_after import RewardModel
from plm_data.recipe_after_checks import place_of
from plm_data.recipe_conversations import HubSet
from plm_data.recipe_sources import HubSource


@dataclass(frozen=True)
class HubItem:
    """What a key of the recipe names: some files of a repository, or, without files, a model."""

    key: str
    repository: str
    revision: str | None
    files: tuple[str, ...] = ()
    license: str | None = None


def hub_items(recipe: Recipe) -> Iterator[HubItem]:
    """In the order in which a run comes to them."""
    if recipe.tokenizer.hub is not None:
        yield HubItem("tokenizer", recipe.tokenizer.hub, recipe.tokenizer.revision)
    sets = {f"sources.{name}": each for name, each in recipe.sources.items() if isinstance(each, HubSource)}
    after = {
        ".".join((*place_of(phase), name)): each
        for phase, own in recipe.after.items()
        for name, each in own.items()
        if isinstance(each, HubSet)
    }
    for key, item in (sets | after).items():
        yield HubItem(key, item.path, item.revision, item.files, item.license)
    found = recipe.preferences
    if found is not None and isinstance(found.select, RewardModel):
        yield HubItem("preferences.select", found.select.hub, found.select.revision, license=found.select.license)


def unpinned(recipe: Recipe) -> list[str]:
    """The keys of what has no commit."""
    return [item.key for item in hub_items(recipe) if item.revision is None]


def refuse_unpinned(recipe: Recipe, section: str = "sources") -> None:
    """Raise ``RecipeError`` if a source of a section, or the tokenizer, has no commit: nothing says what was built."""
    keys = [key for key in unpinned(recipe) if key == "tokenizer" or key.startswith(f"{section}.")]
    if keys:
        raise RecipeError(
            f"recipe {recipe.name}: {', '.join(keys)}: revision is null, so nobody could say which bytes were built. "
            f"Write the commit into the recipe, as its repository's page on the hub shows it."
        )
