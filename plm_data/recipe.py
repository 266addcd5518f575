"""The recipe: one YAML file, checked to the last key before any work is done.

Every error names the file, the line, the key, what was found and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model, model_validator

from plm_data.errors import RecipeError
from plm_data.rules import RULE_SETS

_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_SHARE_TOLERANCE = 1e-9
# What lies beside the phases in a build's folder.
_RESERVED = ("held-out", "tokenizer", "model", "report.html", "report.json")


def parse_count(value: Any) -> Any:
    """``1500``, ``1_500_000``, ``1.5M``, ``20MB`` (decimal) as an integer; anything else is left for the schema."""
    if isinstance(value, str) and (
        match := re.fullmatch(r"\s*(\d[\d_]*)(?:\.(\d+))?\s*([KMGBT]?)B?\s*", value, re.IGNORECASE)
    ):
        whole, fraction, suffix = match[1].replace("_", ""), match[2] or "", match[3].upper()
        scaled = int(whole + fraction) * _SUFFIXES[suffix]
        if scaled % 10 ** len(fraction) == 0:
            return scaled // 10 ** len(fraction)
    return value


Count = Annotated[int, BeforeValidator(parse_count), Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
Share = Annotated[float, Field(gt=0, le=1)]


class Strict(BaseModel):
    """A section of the recipe: an unknown key is an error, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TokenizerSpec(Strict):
    """A byte-level BPE tokenizer trained on the recipe's own corpus."""

    vocab_size: Annotated[int, Field(ge=512)] = 8192
    train_bytes: Count = Field(16_000_000, description="text it is trained on, sampled by content hash")
    min_bytes_per_token: float = Field(
        2.0, gt=0, description="a source of n bytes is taken to give at most n / this many tokens, before any work"
    )


class SourceSpec(Strict):
    """What every source says of itself, whatever reads it."""

    domain: Name
    language: Name = Field(description="as fastText names it (en, zh …); a programming language for code")
    license: Annotated[str, Field(min_length=1)] = Field(
        description="SPDX expression; for documents that carry their own, what stands where they say nothing"
    )
    priority: int = Field(description="of two duplicates the one from the source of higher priority survives")
    dedup: Literal["near", "exact"] = Field("near", description="exact: near duplicates of this source are kept")


class PythonSource(SourceSpec):
    """Files of the running Python's standard library and installed packages."""

    reader: Literal["python-code", "python-docs"]
    packages: Literal["all"] | tuple[str, ...] = Field("all", description="distributions; 'stdlib' is one")
    exclude: tuple[str, ...] = Field((), description="distributions left out")
    max_bytes: Count | None = Field(None, description="read at most this much, sampled by a hash of the ids")


class ReadmeSource(SourceSpec):
    """Long descriptions in the metadata of the installed packages."""

    reader: Literal["package-readmes"]
    exclude: tuple[str, ...] = Field((), description="distributions left out")


class MathsSource(SourceSpec):
    """Synthetic arithmetic and word problems with worked solutions; the training split."""

    reader: Literal["worked-maths"]
    documents: Count
    seed: int = 0


class HuggingFaceSource(SourceSpec):
    """Rows of a Hugging Face dataset, or of local files through one of its packaged loaders (json, parquet, text)."""

    reader: Literal["huggingface"]
    path: Annotated[str, Field(min_length=1)] = Field(description="dataset id on the hub, or json, parquet, csv, text")
    config: str | None = None
    split: str = "train"
    revision: str | None = Field(None, description="commit of the hub dataset; required for one")
    data_files: tuple[str, ...] = Field((), description="local files or globs, from the recipe's working folder")
    text: str = Field("text", description="column of the text")
    id: str | None = Field("id", description="column of the id; null: the text's own hash")
    license_column: str | None = None
    bytes: Count | None = Field(None, description="declared size of the text, for the plan")

    @model_validator(mode="after")
    def _pinned(self) -> HuggingFaceSource:
        if not self.data_files and self.revision is None:
            raise ValueError("a hub dataset needs its revision (a commit), so that the recipe can be reproduced")
        return self


Source = Annotated[PythonSource | ReadmeSource | MathsSource | HuggingFaceSource, Field(discriminator="reader")]


class _RuleThresholds(Strict):
    """Base of the generated threshold models."""


def _threshold_model(only_given: bool) -> type[_RuleThresholds]:
    """One optional section a rule set, one threshold a rule; null turns the rule off.

    ``only_given``: nothing has a default, for the sections that override the recipe's own thresholds.
    """
    sections: dict[str, Any] = {}
    for rules in RULE_SETS:
        fields: dict[str, Any] = {
            rule.key: (
                float | None,
                Field(None if only_given else rule.default, description=f"{rule.bound}imum: {rule.meaning}"),
            )
            for rule in rules.rules
        }
        model = create_model(f"{rules.name.title()}Thresholds", __base__=Strict, **fields)
        sections[rules.name] = (model | None, Field(None if only_given else model(), description=rules.source))
    return create_model("Override" if only_given else "Thresholds", __base__=_RuleThresholds, **sections)


Thresholds = _threshold_model(only_given=False)
Override = _threshold_model(only_given=True)


class DedupSpec(Strict):
    """MinHash near-duplicate search; exact duplicates are always found."""

    shingle_words: Annotated[int, Field(ge=1, le=50)] = 5
    permutations: Annotated[int, Field(ge=2, le=1024)] = 112
    bands: int | None = Field(None, ge=1)
    rows: int | None = Field(None, ge=1)
    threshold: float | None = Field(None, gt=0, lt=1, description="instead of bands and rows: datasketch's optimum")

    @model_validator(mode="after")
    def _one_way(self) -> DedupSpec:
        given = (self.bands is not None, self.rows is not None)
        if self.threshold is not None and any(given):
            raise ValueError("give either threshold, or bands and rows, not both")
        if self.threshold is None and given not in ((True, True), (False, False)):
            raise ValueError("bands and rows go together")
        if self.bands and self.rows and self.bands * self.rows > self.permutations:
            raise ValueError(
                f"bands x rows is {self.bands * self.rows}, more than the {self.permutations} permutations"
            )
        return self


class Guardrails(Strict):
    """Limits that stop a build that goes wrong. Shares are of documents."""

    max_source_loss: Share = Field(0.95, description="largest share of a source that may be dropped")
    max_cluster: Count = Field(10_000, description="most documents in one duplicate cluster")
    max_quarantined: Share = Field(0.05, description="largest share of a source that may be quarantined")


class CurateSpec(Thresholds):  # type: ignore[valid-type, misc]
    """Thresholds, what overrides them, and duplicates."""

    domains: dict[Name, Override] = Field({}, description="thresholds that hold for a domain")  # type: ignore[valid-type]
    sources: dict[Name, Override] = Field({}, description="thresholds that hold for a source")  # type: ignore[valid-type]
    dedup: DedupSpec = DedupSpec()
    guardrails: Guardrails = Guardrails()


class PhaseSpec(Strict):
    """One pre-training phase: a segment of the schedule, a budget, and what it is mixed of."""

    segment: Literal["stable", "decay", "constant"]
    tokens: Count
    mix: dict[Name, Share] = Field(min_length=1, description="share of the phase's tokens by source; sums to 1")


class ShardSpec(Strict):
    """Sizes of the phase shards."""

    rows_per_shard: Count = 4096
    rows_per_group: Count = 512


class ModelSpec(Strict):
    """Sizes of the PLM architecture (names as in its Hugging Face configuration)."""

    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    kv_lora_rank: Count
    qk_nope_head_dim: Count
    qk_rope_head_dim: Count
    v_head_dim: Count
    rope_theta: float = Field(100_000.0, gt=0)
    initializer_range: float = Field(0.02, gt=0)
    max_position_embeddings: Count


class TrainSpec(Strict):
    """The optimiser and the Warmup-Stable-Decay-Constant schedule; its segments are the phases'."""

    sequence_length: Count
    batch_size: Count = Field(description="sequences an optimiser step")
    learning_rate: float = Field(gt=0, description="peak")
    final_learning_rate: float = Field(gt=0, description="floor, held through the constant segment")
    warmup_tokens: Annotated[int, BeforeValidator(parse_count), Field(ge=0)]
    decay_shape: Literal["cosine", "linear", "sqrt"] = "cosine"
    weight_decay: float = Field(0.1, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    gradient_clip: float = Field(1.0, gt=0)
    shuffle_window: Count = Field(1024, description="packed sequences among which their order is drawn")
    checkpoint_interval_steps: Count = 100
    keep_checkpoints: Count = 2
    sample_prompts: tuple[str, ...] = ()


class Recipe(Strict):
    """A whole recipe."""

    name: Name
    description: str = ""
    seed: int = Field(ge=0)
    partitions: Annotated[int, Field(ge=1, le=4096)] = Field(4, description="pieces a source is worked in")
    max_epochs: float = Field(1.0, gt=0, description="most passes over a source, all phases together")
    held_out: float = Field(0.0, ge=0, lt=1, description="share of the kept documents, by content hash, for no phase")
    tokenizer: TokenizerSpec = TokenizerSpec()
    sources: dict[Name, Source] = Field(min_length=1)
    curate: CurateSpec = CurateSpec()
    phases: dict[Name, PhaseSpec] = Field(min_length=1)
    shards: ShardSpec = ShardSpec()
    model: ModelSpec | None = None
    train: TrainSpec | None = None


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RecipeError(f"{where}: not valid YAML: {getattr(error, 'problem', error)}.") from error
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{path}: expected keys such as name, sources and phases; found no mapping.")
    _refuse_repeated_keys(path, node)
    try:
        recipe = Recipe.model_validate(yaml.SafeLoader("").construct_document(node))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{path}:{line}: {error.problem}; a recipe is plain data.") from error
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
    kinds = {"python-code", "python-docs", "package-readmes", "worked-maths", "huggingface"}
    messages = []
    for item in error.errors():
        parts = item["loc"]
        location = tuple(p for i, p in enumerate(parts) if not (p in kinds and i == 2 and parts[0] == "sources"))
        location = tuple(p for p in location if p != "[key]")
        key = ".".join(str(part) for part in location)
        where = f"{path}:{_line(node, location)}"
        if item["type"] == "extra_forbidden":
            known = ", ".join(_known_keys(location[:-1]))
            messages.append(f"{where}: unknown key {key!r}" + (f"; known here: {known}." if known else "."))
        elif item["type"] == "missing":
            messages.append(f"{where}: the key {key!r} is missing.")
        else:
            found = "" if isinstance(item["input"], (dict, list)) else f" (found {item['input']!r})"
            messages.append(f"{where}: {key}: {item['msg'].removeprefix('Value error, ')}{found}.")
    return "\n".join(messages)


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
    known = ", ".join(recipe.sources)
    for name, phase in recipe.phases.items():
        if name in _RESERVED:
            raise RecipeError(
                f"{path}:{_line(node, ('phases', name))}: a phase cannot be called {name!r}, which names another part "
                f"of the build's folder; call it otherwise."
            )
        for source in phase.mix:
            if source not in recipe.sources:
                line = _line(node, ("phases", name, "mix", source))
                raise RecipeError(
                    f"{path}:{line}: phases.{name}.mix names the source {source!r}, which the recipe does not have; "
                    f"its sources are: {known}."
                )
        total = sum(phase.mix.values())
        if abs(total - 1) > _SHARE_TOLERANCE:
            raise RecipeError(
                f"{path}:{_line(node, ('phases', name, 'mix'))}: the weights of phases.{name}.mix sum to {total:.6g}, "
                f"expected 1. Change them so that they sum to 1."
            )
    for section, names in (("sources", recipe.sources), ("domains", {s.domain for s in recipe.sources.values()})):
        for name in getattr(recipe.curate, section):
            if name not in names:
                raise RecipeError(
                    f"{path}:{_line(node, ('curate', section, name))}: curate.{section} names {name!r}, which "
                    f"no source has; known: {', '.join(sorted(names))}."
                )
    segments = [phase.segment for phase in recipe.phases.values()]
    order = ["stable", "decay", "constant"]
    if segments != sorted(segments, key=order.index) or segments[0] != "stable":
        raise RecipeError(
            f"{path}:{_line(node, ('phases',))}: the phases' segments are {', '.join(segments)}; expected stable "
            f"first, then decay, then constant (the Warmup-Stable-Decay-Constant schedule)."
        )


def thresholds(recipe: Recipe, source: str) -> dict[str, float | None]:
    """``set.key`` → threshold for one source: the recipe's, overridden by its domain's, then by its own."""
    curate = recipe.curate
    layers = [curate, curate.domains.get(recipe.sources[source].domain), curate.sources.get(source)]
    merged: dict[str, float | None] = {}
    for layer in layers:
        for name, value in _given(layer):
            merged[name] = value
    return merged


def _given(layer: Any) -> Iterator[tuple[str, float | None]]:
    for rules in RULE_SETS if layer is not None else ():
        if isinstance(layer, Override) and rules.name not in layer.model_fields_set:
            continue
        section = getattr(layer, rules.name)
        for rule in rules.rules:
            # A whole set may be null: all its rules are off.
            if section is None:
                yield f"{rules.name}.{rule.key}", None
            elif not isinstance(layer, Override) or rule.key in section.model_fields_set:
                yield f"{rules.name}.{rule.key}", getattr(section, rule.key)
