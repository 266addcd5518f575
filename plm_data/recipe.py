"""What a recipe may say: its sections, keys, defaults and limits. Nothing changes after loading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag, create_model, model_validator

from plm_data.recipe_after import Evaluate, Preferences, SftPhase
from plm_data.recipe_conversations import ConversationSet
from plm_data.recipe_keys import Commit, Count, CountOrZero, HubPath, Name, Share, Strict
from plm_data.recipe_sources import Source
from plm_data.rules import RULE_SETS

# Phases after pre-training that are not called by the recipe.
PREFERENCES: Final = "preferences"
TASKS: Final = "tasks"


class TokenizerSpec(Strict):
    """A byte-level BPE tokenizer trained on the recipe's own corpus, or the one of a model on the hub."""

    hub: HubPath | None = Field(None, description="repository of a model whose tokenizer is taken, instead of training")
    revision: Commit | None = Field(
        None, description="commit of that repository, all 40 digits; null: not known yet, so planned but not built"
    )
    vocab_size: Annotated[int, Field(ge=512)] = 8192
    train_bytes: Count = Field(16_000_000, description="text it is trained on, sampled by content hash")
    min_bytes_per_token: float = Field(
        2.0, gt=0, description="a source of n bytes is taken to give at most n / this many tokens, before any work"
    )

    @model_validator(mode="after")
    def _one_way(self) -> TokenizerSpec:
        if (self.hub is None) == ("revision" in self.model_fields_set):
            raise ValueError("hub and revision go together: a tokenizer of the hub is pinned to a commit")
        if self.hub is not None and (trained := {"vocab_size", "train_bytes"} & self.model_fields_set):
            raise ValueError(f"a tokenizer of the hub is not trained; take out {' and '.join(sorted(trained))}")
        return self


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


# What a winner may be chosen by: the columns that the rules read, and those beside them.
MEASURES = tuple(
    dict.fromkeys(
        [*(rule.column for rules in RULE_SETS for rule in rules.rules), "chars", "token_count", "language_score"]
    )
)


class DedupSpec(Strict):
    """MinHash near-duplicate search; exact duplicates are always found.

    Of a cluster the document of the highest source priority survives, then of the best ``quality``, then the longest.
    """

    shingle_words: Annotated[int, Field(ge=1, le=50)] = 5
    permutations: Annotated[int, Field(ge=2, le=1024)] = 112
    bands: int | None = Field(None, ge=1)
    rows: int | None = Field(None, ge=1)
    threshold: float | None = Field(None, gt=0, lt=1, description="instead of bands and rows: datasketch's optimum")
    min_jaccard: float | None = Field(None, gt=0, le=1, description="a pair counts only if its shingles are so similar")
    quality: str | None = Field(None, description="measure that chooses a cluster's winner; -measure: lower is better")

    @model_validator(mode="after")
    def _one_way(self) -> DedupSpec:
        if self.quality is not None and self.quality.removeprefix("-") not in MEASURES:
            raise ValueError(f"no measure {self.quality.removeprefix('-')!r}; the measures are {', '.join(MEASURES)}")
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


class LanguageSpec(Override):  # type: ignore[valid-type, misc]
    """What a language's sources have instead of the recipe's own thresholds and English stop words."""

    stop_words: tuple[str, ...] | None = Field(None, min_length=1, description="for gopher.min_stop_words")


class C4Lines(Strict):
    """How C4's line rules edit a text before its sentences are counted."""

    terminal_punctuation: bool = Field(False, description="a line must end in . ? ! or a quote, as in C4; FineWeb: not")


class CurateSpec(Thresholds):  # type: ignore[valid-type, misc]
    """Thresholds, what overrides them, and duplicates."""

    languages: dict[Name, LanguageSpec] = Field({}, description="thresholds and stop words of a source's language")
    c4_lines: C4Lines = C4Lines()
    domains: dict[Name, Override] = Field({}, description="thresholds that hold for a domain")  # type: ignore[valid-type]
    sources: dict[Name, Override] = Field({}, description="thresholds that hold for a source")  # type: ignore[valid-type]
    dedup: DedupSpec = DedupSpec()
    guardrails: Guardrails = Guardrails()


class Temperature(Strict):
    """Shares in proportion to size^(1/temperature): 1 is in proportion to size, large is even."""

    strategy: Literal["temperature"]
    temperature: float = Field(1.0, gt=0)
    sources: tuple[Name, ...] | None = Field(None, min_length=1, description="null: all of the recipe's")


class UniMax(Strict):
    """As even as it goes with no source repeated more than ``epochs`` times in the phase (arXiv 2304.09151)."""

    strategy: Literal["unimax"]
    epochs: float = Field(1.0, gt=0)
    sources: tuple[Name, ...] | None = Field(None, min_length=1, description="null: all of the recipe's")


Strategy = Temperature | UniMax


def _kind_of(value: Any) -> str:
    """Which form an entry has. The tags come into the places of errors, where ``recipe_file`` takes them out."""
    if isinstance(value, (Strategy, DomainMix)):
        value = value.model_dump()
    if not isinstance(value, dict):
        return "<share>"
    return f"<{value['strategy']}>" if isinstance(value.get("strategy"), str) else "<nested>"


_Strategies = Annotated[
    Annotated[dict[Name, Share], Tag("<nested>"), Field(min_length=1)]
    | Annotated[Temperature, Tag("<temperature>")]
    | Annotated[UniMax, Tag("<unimax>")],
    Discriminator(_kind_of),
]


class DomainMix(Strict):
    """A domain's share of a phase, and how its sources share that."""

    weight: Share
    sources: _Strategies = Field(description="share of the domain's tokens by source, or a strategy; sums to 1")


_Entry = Annotated[Annotated[Share, Tag("<share>")] | Annotated[DomainMix, Tag("<nested>")], Discriminator(_kind_of)]
Mix = dict[Name, float | DomainMix] | dict[Name, float] | Strategy


class Curriculum(Strict):
    """A phase in the order of a measure: cut into bands of equal tokens, each shuffled."""

    by: str = Field(description="the measure, such as token_count or a quality score")
    descending: bool = False
    bands: Annotated[int, Field(ge=2, le=10_000)] = Field(10, description="more bands: closer to a strict order")

    @model_validator(mode="after")
    def _known(self) -> Curriculum:
        if self.by not in MEASURES:
            raise ValueError(f"no measure {self.by!r}; the measures are {', '.join(MEASURES)}")
        return self


class ContextStage(Strict):
    """A stretch of a phase that is trained at one sequence length."""

    length: Count = Field(description="tokens a sequence")
    share: Share = Field(description="share of the phase's tokens; the stages' sum to 1")


class PhaseSpec(Strict):
    """One pre-training phase: a segment of the schedule, a budget, and what it is mixed of."""

    segment: Literal["stable", "decay", "constant"]
    tokens: Count
    mix: Annotated[
        Annotated[dict[Name, _Entry], Tag("<nested>"), Field(min_length=1)]
        | Annotated[Temperature, Tag("<temperature>")]
        | Annotated[UniMax, Tag("<unimax>")],
        Discriminator(_kind_of),
    ] = Field(description="share of the phase's tokens by source or domain, which sum to 1, or a strategy")
    documents: Literal["any", "unseen", "seen"] = Field(
        "any", description="unseen: none that an earlier phase had; seen: only such; any: the least seen first"
    )
    cut_last: bool = Field(False, description="cut each source's last document, so that the plan is met to the token")
    order: Curriculum | None = Field(None, description="null: shuffled over the whole phase")
    context: tuple[ContextStage, ...] = Field((), description="sequence lengths in turn; none: train.sequence_length")


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
    vocab_size: Count | None = Field(None, description="rows of the embedding; null: as many as the tokenizer's tokens")


class TrainSpec(Strict):
    """The optimiser and the Warmup-Stable-Decay-Constant schedule; its segments are the phases'."""

    sequence_length: Count
    batch_size: Count = Field(description="sequences an optimiser step")
    learning_rate: float = Field(gt=0, description="peak")
    final_learning_rate: float = Field(gt=0, description="floor, held through the constant segment")
    warmup_tokens: CountOrZero
    decay_shape: Literal["cosine", "linear", "sqrt"] = "cosine"
    schedule: Literal["wsdc", "wsd", "cosine"] = Field(
        "wsdc", description="wsd: the decay lasts to the end; cosine: it begins at the warm-up's end; both to compare"
    )
    weight_decay: float = Field(0.1, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    gradient_clip: float = Field(1.0, gt=0)
    shuffle_window: Count = Field(1024, description="packed sequences among which their order is drawn")
    checkpoint_interval_steps: Count = 100
    keep_checkpoints: Count = 2
    micro_batch_size: Count | None = Field(
        None, description="sequences of a forward pass on one rank, whose gradients add up; null: all of the rank's"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="of the products; auto: bf16 on CUDA, fp32 on a CPU"
    )
    compile: bool = Field(False, description="torch.compile, block by block")
    activation_checkpointing: bool = Field(False, description="less memory: each block is run once more backward")
    attention: Literal["auto", "sdpa", "flex"] = Field("auto", description="auto: FlexAttention on CUDA, else SDPA")
    parallel: Literal["auto", "ddp", "fsdp"] = Field(
        "auto", description="of several ranks under torchrun; auto: FSDP2 from 1B parameters on, else DDP"
    )
    held_out_interval_steps: Count | None = Field(
        None, description="steps between held-out losses inside a phase; null: at its end alone"
    )
    zeros_interval_steps: Count = Field(50, description="steps between counts of the activations' zeros")
    max_loss_rise: float | None = Field(
        2.0, gt=0, description="nats over the recent median that stop the run where they stay; null: never"
    )
    sample_prompts: tuple[str, ...] = ()


class Recipe(Strict):
    """A whole recipe."""

    extends: str | None = Field(
        None, description="another recipe, by its path from this one: its keys stand where this one has none"
    )
    name: Name
    description: str = ""
    seed: int = Field(ge=0)
    partitions: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None, description="pieces a source is worked in; null: by the size of the largest source"
    )
    max_epochs: float = Field(1.0, gt=0, description="most passes over a source, all phases together")
    held_out: float = Field(0.0, ge=0, lt=1, description="share of the kept documents, by content hash, for no phase")
    tokenizer: TokenizerSpec = TokenizerSpec()
    sources: dict[Name, Source] = Field(min_length=1)
    curate: CurateSpec = CurateSpec()
    phases: dict[Name, PhaseSpec] = Field(min_length=1)
    shards: ShardSpec = ShardSpec()
    model: ModelSpec | None = None
    train: TrainSpec | None = None
    sft: dict[Name, SftPhase] = Field({}, description="phases of supervised fine-tuning, in their order")
    preferences: Preferences | None = None
    evaluate: Evaluate | None = None

    @property
    def after(self) -> dict[str, dict[str, ConversationSet]]:
        """The phases after pre-training → their sets of conversations or prompts; ``tasks`` are those held out."""
        found = {name: phase.sources for name, phase in self.sft.items()}
        if self.preferences is not None:
            found[PREFERENCES] = self.preferences.prompts
        if self.evaluate is not None and self.evaluate.tasks:
            found[TASKS] = self.evaluate.tasks
        return found

    def held_out_of(self, source: str) -> float:
        """The share of a source's kept documents that no phase may have: its own, or the recipe's."""
        own = self.sources[source].held_out
        return self.held_out if own is None else own

    def max_epochs_of(self, source: str) -> float:
        """How many passes over a source all phases together may take: its own, or the recipe's."""
        return self.sources[source].max_epochs or self.max_epochs


def thresholds(recipe: Recipe, source: str) -> dict[str, float | None]:
    """``set.key`` → threshold for one source: the recipe's, overridden by its language's, its domain's, its own."""
    curate, spec = recipe.curate, recipe.sources[source]
    layers = [
        curate, curate.languages.get(spec.language), curate.domains.get(spec.domain), curate.sources.get(source),
    ]  # fmt: skip
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
