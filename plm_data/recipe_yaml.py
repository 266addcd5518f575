"""A recipe's YAML, with what it extends merged in. Every part of it knows its file and line."""

from __future__ import annotations

from pathlib import Path

import yaml

from plm_data.errors import RecipeError

# What says one thing as a whole: half of another recipe's mix, or of its tokenizer, would be neither.
_WHOLE = ("mix", "tokenizer")


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


def read_yaml(path: Path) -> yaml.MappingNode:
    """A recipe's nodes: its own, over those of the recipe that it extends. Raises ``RecipeError``."""
    return _read(path, ())


def where(node: yaml.Node, location: tuple[str | int, ...]) -> str:
    """File and line (from 1) of the deepest part of ``location`` that stands in the recipe."""
    mark = node.start_mark
    for part in location:
        if isinstance(node, yaml.MappingNode):
            child = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            # pydantic's location also names the chosen kind of source, which is no key of the file.
            if child is not None:
                mark, node = child[0].start_mark, child[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            mark = node.start_mark
    return f"{mark.name}:{mark.line + 1}"


def _read(path: Path, above: tuple[Path, ...]) -> yaml.MappingNode:
    node = _compose(path)
    entry = next((pair for pair in node.value if pair[0].value == "extends"), None)
    if entry is None:
        return node
    at = where(node, ("extends",))
    if not isinstance(entry[1], yaml.ScalarNode) or entry[1].tag != "tag:yaml.org,2002:str":
        raise RecipeError(f"{at}: extends: expected the path of one recipe, such as nano.yaml.")
    base, chain = path.parent / entry[1].value, (*above, path)
    if not base.is_file():
        raise RecipeError(f"{at}: extends: {base}: no such recipe; expected a path from the folder of {path.name}.")
    if base.resolve() in [each.resolve() for each in chain]:
        circle = " extends ".join(each.name for each in (*chain, base))
        raise RecipeError(f"{at}: extends goes in a circle: {circle}. Take it out of one of them.")
    node.value.remove(entry)
    if not any(key.value == "name" for key, _ in node.value):
        raise RecipeError(f"{at}: a recipe that extends another needs a name of its own, or they would share a build.")
    merged = merge(_read(base, chain), node)
    assert isinstance(merged, yaml.MappingNode)
    return merged


def _compose(path: Path) -> yaml.MappingNode:
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        loader.name = str(path)
        node = loader.get_single_node()
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RecipeError(f"{at}: not valid YAML: {getattr(error, 'problem', error)}.") from error
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{path}: expected keys such as name, sources and phases; found no mapping.")
    try:
        _refuse_repeated_keys(node)
    except RecursionError as error:
        raise RecipeError(f"{path}: a value holds itself; a recipe is plain data.") from error
    return node


def _refuse_repeated_keys(node: yaml.Node) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            mark = key.start_mark
            at = f"{mark.name}:{mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError(f"{at}: expected a name as the key, found a list or a mapping.")
            if key.value in seen:
                raise RecipeError(f"{at}: the key {key.value!r} stands twice (line {seen[key.value]}).")
            seen[key.value] = mark.line + 1
            _refuse_repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item)


def merge(base: yaml.Node, over: yaml.Node) -> yaml.Node:
    """``over`` with the keys of ``base`` that it does not have; lists and values are replaced."""
    if not isinstance(base, yaml.MappingNode) or not isinstance(over, yaml.MappingNode):
        return over
    entries = {key.value: (key, value) for key, value in base.value}
    for key, value in over.value:
        old = entries.get(key.value)
        if old is not None and key.value not in _WHOLE and not _other_reader(old[1], value):
            value = merge(old[1], value)
        entries[key.value] = (key, value)
    return yaml.MappingNode(over.tag, list(entries.values()), over.start_mark, over.end_mark)


def _other_reader(base: yaml.Node, over: yaml.Node) -> bool:
    """Whether both are sources, read by different readers: the keys of one are nothing to the other."""
    readers = [
        next((value.value for key, value in node.value if key.value == "reader"), None)
        for node in (base, over)
        if isinstance(node, yaml.MappingNode)
    ]
    return len(readers) == 2 and None not in readers and readers[0] != readers[1]
