"""The phases after the pre-training: their sets go through the corpus's own curation, with rules of text off.

Which duplicates count, which of them survives, the ledger and the guardrails are those of documents, within one phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from plm_data.attributes.heuristics import MeasureHeuristics
from plm_data.attributes.language import MeasureLanguage, model_path
from plm_data.attributes.quality import STOP_WORDS
from plm_data.chat.sets import make_set_reader
from plm_data.chat.shards import FetchConversations, FetchPrompts, WriteConversations, WritePrompts
from plm_data.chat.steps import CollectConversations, Converse, Decontaminate, SampleConversations
from plm_data.curation import Curation
from plm_data.decisions.guardrails import QUARANTINE_KEY
from plm_data.dedup.clusters import Sign
from plm_data.engine import Step
from plm_data.errors import RecipeError
from plm_data.mix.plan import EVERYTHING
from plm_data.mix.ranked import ROWS_A_BUCKET, Rank, Ranked
from plm_data.mix.select import Place, Select, selected
from plm_data.recipe import PREFERENCES, TASKS, CurateSpec, Guardrails, Recipe
from plm_data.recipe_after_checks import place_of
from plm_data.recipe_conversations import ConversationSet, MathsSet, PythonTaskSet
from plm_data.recipe_hub import refuse_unpinned
from plm_data.recipe_sources import MathsSource, PythonSource
from plm_data.rules import RULE_SETS
from plm_data.shards import Fetch
from plm_data.shuffle import buckets_of
from plm_data.sources.base import Reader
from plm_data.sources.limit import Limit
from plm_data.sources.maths_split import check_selection
from plm_data.sources.worked_maths import Split
from plm_data.store import Output, file_sha256

# Rows of a partition; a row is some kilobytes.
_ROWS_A_PARTITION = 20_000
_FEWEST_PARTITIONS = 4


def most_tokens(recipe: Recipe, phase: str) -> int | None:
    """Tokens of the longest conversation or prompt of a phase; None without a model to be trained.

    A prompt leaves room for its answer.
    """
    if phase in recipe.sft:
        return recipe.sft[phase].sequence_length or (recipe.train.sequence_length if recipe.train else None)
    asked = recipe.preferences if phase == PREFERENCES else recipe.evaluate
    if recipe.model is None or asked is None:
        return None
    return recipe.model.max_position_embeddings - asked.max_tokens


def _derived(recipe: Recipe, phase: str) -> Recipe:
    """A recipe whose sources are the sets of the phase, and whose rules of text are all off."""
    asked = recipe.sft.get(phase) or (recipe.preferences if phase == PREFERENCES else recipe.evaluate)
    assert asked is not None
    curate = CurateSpec(
        **{rules.name: None for rules in RULE_SETS},
        dedup=recipe.curate.dedup.model_copy(update={"quality": None}),
        guardrails=recipe.curate.guardrails.model_copy(update={"max_quarantined": asked.max_quarantined}),
    )
    return recipe.model_copy(update={"sources": recipe.after[phase], "curate": curate})


def _read_by(spec: ConversationSet) -> ConversationSet:
    """A set without what does not change its conversations, so that a changed priority collects nothing anew."""
    plain = {"priority": 0, "dedup": "near", "domain": "any", "language": "any", "tokens": None, "max_examples": None}
    if not isinstance(spec, MathsSet):
        plain["examples"] = None
    return spec.model_copy(update=plain)


class ConversationPhase(Curation):
    """One phase after the pre-training, from its sets to the order of its rows.

    ``corpus``: the recipe's curation, which runs the steps and has the tokenizer; ``tasks``: the tasks' phase, whose
    questions no other phase may have.
    """

    def __init__(self, corpus: Curation, phase: str, tasks: ConversationPhase | None):
        super().__init__(_derived(corpus.recipe, phase), corpus.home, corpus.workers, corpus.progress, corpus.say)
        self._corpus, self.phase, self._tasks = corpus, phase, tasks

    @property
    def _sets(self) -> dict[str, ConversationSet]:
        return self._corpus.recipe.after[self.phase]

    @property
    def _split(self) -> Split:
        return "held-out" if self.phase == TASKS else "train"

    @property
    def is_sft(self) -> bool:
        return self.phase in self.recipe.sft

    @property
    def segment(self) -> str:
        return "sft" if self.is_sft else "held-out" if self.phase == TASKS else PREFERENCES

    def check(self) -> None:
        """What can be known to be wrong before any work. Raises ``RecipeError``."""
        for name, spec in self._sets.items():
            place = ".".join((*place_of(self.phase), name))
            if isinstance(spec, MathsSet):
                for key, what in check_selection(spec, self._split):
                    raise RecipeError(f"recipe {self.recipe.name}: {place}.{key}: {what}.")
        if (most := most_tokens(self._corpus.recipe, self.phase)) is not None and most <= 0:
            raise RecipeError(
                f"recipe {self.recipe.name}: {self.phase}: an answer of max_tokens leaves no room for a prompt in "
                f"model.max_position_embeddings; lower max_tokens."
            )

    def _run(self, stage: str, steps: Mapping[str, Step]) -> dict[str, Output]:
        return self._corpus._run(f"{stage} {self.phase}", steps)

    def check_guardrails(
        self, decided: dict[str, Output], guardrails: Guardrails, quarantine_key: str = QUARANTINE_KEY
    ) -> None:
        key = ".".join((*place_of(self.phase)[:-1], "max_quarantined"))
        self._corpus.check_guardrails(decided, guardrails, key)

    @property
    def tokenizer(self) -> Output:
        return self._corpus.tokenizer

    @cached_property
    def readers(self) -> dict[str, Reader]:
        return {
            name: make_set_reader(".".join((*place_of(self.phase), name)), name, spec, self._split)
            for name, spec in self._sets.items()
        }

    @cached_property
    def partitions(self) -> int:
        """By the rows that the sets declare, else the corpus's."""
        declared = [spec.examples for spec in self._sets.values()]
        if any(rows is None for rows in declared):
            return self._corpus.partitions
        return min(max(_FEWEST_PARTITIONS, -(-max(rows or 0 for rows in declared) // _ROWS_A_PARTITION)), 4096)

    @cached_property
    def collected(self) -> dict[str, Output]:
        refuse_unpinned(self._corpus.recipe, ".".join(place_of(self.phase)))
        steps = {
            name: CollectConversations(
                source=name, spec=_read_by(spec), fingerprint=self.readers[name].fingerprint(), pieces=self.partitions,
                place=".".join((*place_of(self.phase), name)), split=self._split,
            )
            for name, spec in self._sets.items()
        }  # fmt: skip
        return self._run("collect", steps)

    @cached_property
    def normalised(self) -> dict[str, Output]:
        steps = {
            name: Converse(
                collected=output, pieces=self.partitions, tokenizer=self.tokenizer, prompts=not self.is_sft,
                checked=self.phase == TASKS, most_tokens=most_tokens(self._corpus.recipe, self.phase),
            )
            for name, output in self.collected.items()
        }  # fmt: skip
        return self._run("converse", steps)

    @cached_property
    def decontaminated(self) -> dict[str, Output]:
        """Set → its conversations without those of the tasks' questions and of held-out documents."""
        tasks = self._tasks.normalised if self._tasks is not None else {}
        steps: dict[str, Step] = {}
        for name, documents in self.normalised.items():
            origins = self._origins(self._sets[name])
            if tasks or origins:
                held_out = {source: self._corpus.normalised[source] for source in origins}
                steps[name] = Decontaminate(
                    documents=documents, tasks=tasks, held_out=held_out, shares=origins, seed=self.recipe.seed
                )
        return self._run("decontaminate", steps) if steps else {}

    def _origins(self, spec: ConversationSet) -> dict[str, float]:
        """Sources whose documents a local generator's conversations may be made of → the share held out of them."""
        corpus = self._corpus.recipe
        kinds = (PythonSource,) if isinstance(spec, PythonTaskSet) else (MathsSource,)
        if self.phase == TASKS or not isinstance(spec, (PythonTaskSet, MathsSet)):
            return {}
        shares = {name: corpus.held_out_of(name) for name, each in corpus.sources.items() if isinstance(each, kinds)}
        return {name: share for name, share in shares.items() if share > 0}

    @cached_property
    def sampled(self) -> dict[str, Output]:
        """Set whose examples are limited → what the limit leaves."""
        documents, seed = self.normalised | self.decontaminated, self.recipe.seed
        most = {name: spec.max_examples for name, spec in self._sets.items() if spec.max_examples is not None}
        if not most:
            return {}
        steps = {
            name: Limit(documents=documents[name], most_documents=count, most_bytes=None, seed=seed)
            for name, count in most.items()
        }
        found = self._run("limit", steps)
        samples = {
            name: SampleConversations(documents=documents[name], limit=found[name], seed=seed) for name in steps
        }  # fmt: skip
        return self._run("sample", samples)

    @property
    def documents(self) -> dict[str, Output]:
        return self.normalised | self.decontaminated | self.sampled

    @property
    def _through(self) -> tuple[dict[str, Output], ...]:
        return self.collected, self.normalised, self.decontaminated, self.sampled

    @cached_property
    def attributes(self) -> dict[str, dict[str, Output]]:
        """Set → attribute step → its output. The tokens lie beside the texts already."""
        dedup = self.recipe.curate.dedup
        model = file_sha256(model_path())
        steps: dict[str, dict[str, Step]] = {}
        for name, documents in self.documents.items():
            own: list[Step] = [
                MeasureHeuristics(documents=documents, stop_words=STOP_WORDS, terminal=False),
                MeasureLanguage(documents=documents, declared=self._sets[name].language, model_sha256=model),
            ]
            if self._sets[name].dedup == "near":
                own.append(
                    Sign(
                        documents=documents, permutations=dedup.permutations, shingle_words=dedup.shingle_words,
                        keep_shingles=dedup.min_jaccard is not None,
                    )
                )  # fmt: skip
            steps[name] = {step.name: step for step in own}
        outputs = self._run("attributes", _named(steps))
        return {
            name: {kind: outputs[f"{name}/{kind}"] for kind in own} | {"tokens": self.documents[name]}
            for name, own in steps.items()
        }

    @cached_property
    def ranked(self) -> dict[str, Ranked]:
        """Set → its kept conversations in their seeded order."""
        steps = {
            name: Rank(source=name, decided=output, columns={}, measures=(), held_out=0.0, seed=self.recipe.seed)
            for name, output in self.decided.items()
        }
        outputs = self._run("rank", steps)
        return {name: Ranked(outputs[name], step.buckets) for name, step in steps.items()}

    def select_step(self) -> Select:
        """All kept conversations, once, in the phase's order."""
        axes = {name: axis for name, axis in self.ranked.items() if axis.total}
        if not axes:
            raise RecipeError(
                f"{self.phase} of {self.recipe.name} holds nothing: all that its sets have was dropped or quarantined; "
                f"the ledger of its sets says why."
            )
        return Select(
            phase=self.phase, ranked={name: axis.output for name, axis in axes.items()},
            buckets={name: axis.buckets for name, axis in axes.items()}, stem="ranked", measures=(),
            pieces={name: [EVERYTHING.values()] for name in axes}, cuts={}, bands=None, seed=self.recipe.seed,
            order_buckets=buckets_of(sum(axis.documents for axis in axes.values()), ROWS_A_BUCKET),
        )  # fmt: skip

    def place_step(self, select: Select, selection: Output) -> Place:
        return Place(selection=selection, order_buckets=select.order_buckets, pieces=self.partitions)

    def shards_step(self, selection: Output, placed: Output) -> WriteConversations | WritePrompts:
        chosen = selected(selection)
        write = WriteConversations if self.is_sft else WritePrompts
        return write(
            recipe=self.recipe.name, phase=self.phase, segment=self.segment, placed=placed,
            documents={name: self.documents[name] for name in chosen}, edited={},
            tokens={name: self.documents[name] for name in chosen}, planned={n: each[2] for n, each in chosen.items()},
            selected=chosen, domains={name: self._sets[name].domain for name in chosen},
            languages={name: self._sets[name].language for name in chosen}, tokenizer=self.tokenizer,
            sizes=self.recipe.shards, context=(),
        )  # fmt: skip

    @property
    def fetch_kind(self) -> type[Fetch]:
        return FetchConversations if self.is_sft else FetchPrompts


def _named(steps: dict[str, dict[str, Step]]) -> dict[str, Step]:
    return {f"{name}/{kind}": step for name, own in steps.items() for kind, step in own.items()}
