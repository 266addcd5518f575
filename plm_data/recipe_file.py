"""Reading a recipe: one YAML file, checked to the last key before any work is done.

Every error names the file, the line, the key, what was found and what was expected.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from plm_data.errors import RecipeError
from plm_data.locations import redacted
from plm_data.recipe import Recipe, thresholds
from plm_data.recipe_phases import check_phases
from plm_data.recipe_sources import READERS

# What lies beside the phases in a build's folder.
_RESERVED = ("held-out", "tokenizer", "model", "report.html", "report.json")


def find_recipe(name: str | Path) -> Path:
    """A recipe's file: a path, or the bare name of one in ``recipes/`` here or beside the package."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise RecipeError(f"{path}: no such recipe; expected a YAML file or the name of one in recipes/.")
    folders = (Path.cwd() / "recipes", Path(__file__).resolve().parents[1] / "recipes")
    for folder in folders:
        if path.name == str(name) and (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise RecipeError(f"no recipe {str(name)!r}; known here: {', '.join(known) or 'none'}. A path to a file works too.")


def load_recipe(name: str | Path) -> Recipe:
    """Read and check a recipe; raises ``RecipeError`` with the line of the first thing that is wrong."""
    path = find_recipe(name)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RecipeError(f"{where}: not valid YAML: {getattr(error, 'problem', error)}.") from error
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{path}: expected keys such as name, sources and phases; found no mapping.")
    try:
        _refuse_repeated_keys(path, node)
        data = yaml.SafeLoader("").construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{path}:{line}: {error.problem}; a recipe is plain data.") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path}: a value is not what it looks like: {error}; a recipe is plain data.") from error
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        raise RecipeError(_explain(path, node, error)) from error
    _check_references(path, node, recipe)
    return recipe


def _refuse_repeated_keys(path: Path, node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError(f"{path}:{line}: expected a name as the key, found a list or a mapping.")
            if key.value in seen:
                raise RecipeError(f"{path}:{line}: the key {key.value!r} stands twice (line {seen[key.value]}).")
            seen[key.value] = line
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(path, item)


def _line(node: yaml.Node, location: tuple[str | int, ...]) -> int:
    """The line (from 1) of the deepest part of ``location`` that stands in the file."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            child = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            # pydantic's location also names the chosen kind of source, which is no key of the file.
            if child is not None:
                line, node = child[0].start_mark.line + 1, child[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _explain(path: Path, node: yaml.Node, error: ValidationError) -> str:
    messages = []
    for item in error.errors():
        parts = item["loc"]
        location = tuple(p for i, p in enumerate(parts) if not (p in READERS and i == 2 and parts[0] == "sources"))
        # So do the forms of a mix, which stand in angle brackets.
        location = tuple(p for p in location if p != "[key]" and not (isinstance(p, str) and p.startswith("<")))
        key = ".".join(str(part) for part in location)
        where = f"{path}:{_line(node, location)}"
        if item["type"] == "extra_forbidden":
            known = ", ".join(_known_keys(location[:-1]))
            messages.append(f"{where}: unknown key {key!r}" + (f"; known here: {known}." if known else "."))
        elif item["type"] == "missing":
            messages.append(f"{where}: the key {key!r} is missing.")
        elif item["type"] == "union_tag_invalid":
            messages.append(f"{where}: {key}: {_FORMS_OF_A_MIX}.")
        else:
            found = "" if isinstance(item["input"], (dict, list)) else f" (found {redacted(repr(item['input']))})"
            messages.append(f"{where}: {key}: {item['msg'].removeprefix('Value error, ')}{found}.")
    return "\n".join(messages)


_FORMS_OF_A_MIX = (
    "expected a share of each source, or of a domain {weight: SHARE, sources: {SOURCE: SHARE}}; "
    "or in place of shares {strategy: temperature, temperature: T} or {strategy: unimax, epochs: N}"
)


def _known_keys(location: tuple[str | int, ...]) -> list[str]:
    """The keys that a plain section of the recipe may have; none where it depends on the file."""
    model: Any = Recipe
    for part in location:
        fields = getattr(model, "model_fields", {})
        if str(part) not in fields:
            return []
        model = fields[str(part)].annotation
        if not hasattr(model, "model_fields"):
            options = [option for option in getattr(model, "__args__", ()) if hasattr(option, "model_fields")]
            if len(options) != 1:
                return []
            model = options[0]
    return list(model.model_fields)


def _check_references(path: Path, node: yaml.Node, recipe: Recipe) -> None:
    """What the schema cannot see: names that must exist, and weights that must sum to 1."""
    if recipe.name == "store":
        raise RecipeError(
            f"{path}:{_line(node, ('name',))}: a recipe cannot be called 'store', the folder of all outputs; rename it."
        )
    for name in recipe.phases:
        if name in _RESERVED:
            raise RecipeError(
                f"{path}:{_line(node, ('phases', name))}: a phase cannot be called {name!r}, which names another part "
                f"of the build's folder; call it otherwise."
            )
    check_phases(recipe, lambda *place: f"{path}:{_line(node, place)}")
    sources = recipe.sources.values()
    for section, names in (
        ("sources", set(recipe.sources)),
        ("domains", {source.domain for source in sources}),
        ("languages", {source.language for source in sources}),
    ):  # fmt: skip
        for name in getattr(recipe.curate, section):
            if name not in names:
                raise RecipeError(
                    f"{path}:{_line(node, ('curate', section, name))}: curate.{section} names {name!r}, which "
                    f"no source has; known: {', '.join(sorted(names))}."
                )
    for name, spec in recipe.sources.items():
        if spec.lines == "c4" and (thresholds(recipe, name)["c4.min_sentences"] or 0) < 1:
            raise RecipeError(
                f"{path}:{_line(node, ('sources', name, 'lines'))}: sources.{name}.lines is c4, but c4.min_sentences "
                f"is off for it: a text that loses all its lines would be an empty document. Set it to 1 or more."
            )
    _check_stop_words(path, node, recipe)


def _check_stop_words(path: Path, node: yaml.Node, recipe: Recipe) -> None:
    """Each must be one word as texts are segmented, or it would never be found in one."""
    for language, spec in recipe.curate.languages.items():
        for stop_word in spec.stop_words or ():
            from plm_data.text.words import word_hash  # late: compiled code, and few recipes name stop words

            try:
                word_hash(stop_word)
            except ValueError as error:
                line = _line(node, ("curate", "languages", language, "stop_words"))
                raise RecipeError(
                    f"{path}:{line}: curate.languages.{language}.stop_words: {error}; give words as they are segmented."
                ) from error
