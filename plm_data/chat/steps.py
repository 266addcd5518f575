"""The steps that conversations go through before they are judged as documents are.

Collect: rows of a set, each a conversation as JSON. Converse: in normal form, rendered and tokenised as ChatML.
Decontaminate: without those that ask what a task of the evaluation asks, or come from a held-out document.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
import xxhash

from plm_data.chat.chatml import ChatML, rendered
from plm_data.chat.conversation import USER, Conversation
from plm_data.chat.sets import make_set_reader
from plm_data.engine import Step
from plm_data.mix.ranked import is_held_out
from plm_data.recipe_conversations import ConversationSet
from plm_data.sources.base import Reader
from plm_data.sources.collect import DOCUMENT, MAX_REPLACEMENT_SHARE, Collect, Normalise, RejectedRows, rejected_rows
from plm_data.sources.limit import Sample
from plm_data.sources.worked_maths import Split
from plm_data.store import Counts, Output
from plm_data.tables import part_file, read_slices, runs, slice_writer
from plm_data.text.normalise import content_hash, normalise

# What is known beside a prompt, as a shard of prompts has it.
PROMPT_COLUMNS = ("question", "reference", "answer", "check", "chosen", "rejected")
# A conversation as a document: its rendering is the text. ``asked``: hashes of what its users say; ``origins``: the
# names of the documents that it was made of; ``tokens`` and ``targets``: little-endian int32.
_OWN: dict[str, Any] = {
    "turns": pl.Int64, "asked": pl.List(pl.UInt64), "origins": pl.List(pl.String), "token_count": pl.Int64,
    "tokens": pl.Binary, "target_count": pl.Int64, "targets": pl.Binary, **dict.fromkeys(PROMPT_COLUMNS, pl.String),
}  # fmt: skip
_UNHASHED: dict[str, Any] = {**dict.fromkeys(("id", "name", "text", "license"), pl.String), **_OWN}
CONVERSATION = (*DOCUMENT, *_OWN)
_ENCODED_BYTES = 1_000_000
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class CollectConversations(Collect):
    """Read one set. ``place``: where it stands in the recipe; ``split``: which problems of ``worked-maths``."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"place"})
    spec: ConversationSet  # type: ignore[assignment]
    place: str = ""
    split: Split = "train"

    def reader(self) -> Reader:
        return make_set_reader(self.place, self.source, self.spec, self.split)


@dataclass(frozen=True)
class Converse(Normalise):
    """One partition's conversations as documents (``CONVERSATION``); those that cannot be used are quarantined.

    ``prompts``: up to the head of the answer to the last user's turn. ``checked``: without those whose answer nothing
    checks. ``most_tokens``: a longer one is quarantined.
    """

    name: ClassVar[str] = "converse"
    tokenizer: Output
    prompts: bool
    checked: bool
    most_tokens: int | None

    def documents(self, batch: pl.DataFrame, rejected: RejectedRows) -> pl.DataFrame:
        written = [self._kept(part, rejected) for part in _parts(batch)]
        empty = pl.DataFrame(schema=_UNHASHED)
        frame = pl.concat([empty, *written])
        return frame.with_columns(
            content_hash(frame["text"]), bytes=pl.col("text").str.len_bytes().cast(pl.Int64)
        ).select(CONVERSATION)  # fmt: skip

    def _kept(self, batch: pl.DataFrame, rejected: RejectedRows) -> pl.DataFrame:
        """The conversations of a batch that fit, but for what follows from their texts."""
        found = normal_forms([Conversation.from_json(text) for text in batch["text"]])
        known = batch.select("id", "name", "license").to_dicts()
        rows: list[tuple[int, Conversation, str]] = []
        for row, each in enumerate(found):
            wanted = each.as_prompt() if self.prompts else each.as_answered()
            text = rendered(wanted.turns, self.prompts) if wanted else ""
            if (reason := self._unusable(wanted, text)) is not None:
                rejected.add(known[row]["id"], known[row]["name"], "quarantined", *reason)
            else:
                assert wanted is not None
                rows.append((row, wanted, text))
        chat = ChatML(self.tokenizer.path)
        encoded = iter(chat.encode([text for _, each, _ in rows for _, text in each.turns]))
        kept: list[dict[str, object]] = []
        for row, each, text in rows:
            roles = [role for role, _ in each.turns]
            ids, targets = chat.join(roles, [next(encoded) for _ in roles], self.prompts)
            if self.most_tokens is not None and len(ids) > self.most_tokens:
                detail = f"{len(ids):,} tokens, more than {self.most_tokens:,}"
                rejected.add(known[row]["id"], known[row]["name"], "quarantined", "over-length", detail)
                continue
            asked = [text for role, text in each.turns if role == USER]
            kept.append(
                known[row]
                | {name: getattr(each, name) for name in PROMPT_COLUMNS[1:]}
                | {
                    "text": text, "turns": len(roles), "asked": [question_hash(each) for each in asked],
                    "origins": each.origins, "question": asked[-1], "token_count": len(ids), "tokens": _bytes(ids),
                    "target_count": sum(targets[1::2]) - sum(targets[::2]), "targets": _bytes(targets),
                }
            )  # fmt: skip
        return pl.DataFrame(kept, schema=_UNHASHED, orient="row")

    def _unusable(self, found: Conversation | None, text: str) -> tuple[str, str] | None:
        """Why a conversation in normal form cannot be used, if it cannot be."""
        if found is None:
            return "no-assistant-turn", "nobody answers"
        if silent := [i for i, (_, said) in enumerate(found.turns, 1) if not said.strip()]:
            return "empty-turn", f"turn {silent[0]} says nothing once it is normalised"
        answers = [each for each in (found.reference, found.chosen, found.rejected) if each is not None]
        if not all(map(str.strip, answers)):
            return "empty-turn", "an answer to the prompt says nothing once it is normalised"
        if any(each.count("\ufffd") > MAX_REPLACEMENT_SHARE * len(each) for each in (text, *answers)):
            return "broken-encoding", "many replacement characters"
        if self.checked and found.check is None:
            return "no-check", "nothing says how an answer is checked"
        return None


def _parts(batch: pl.DataFrame) -> list[pl.DataFrame]:
    """The batch in pieces: an encoding takes some hundred bytes a token until its ids are taken out of it."""
    return [batch.slice(start, length) for start, length in runs(batch["text"], _ENCODED_BYTES)]


def _bytes(numbers: Sequence[int]) -> bytes:
    return np.array(numbers, dtype="<i4").tobytes()


def normal_forms(conversations: Sequence[Conversation]) -> list[Conversation]:
    """The conversations with every text in normal form; code that checks an answer stays as it is."""
    names = ("reference", "chosen", "rejected")
    texts = [
        text
        for each in conversations
        for text in (*(said for _, said in each.turns), *(getattr(each, name) for name in names))
        if text is not None
    ]
    normal = iter(normalise(pl.Series("text", texts, dtype=pl.String)).to_list())
    return [
        replace(
            each,
            turns=tuple((role, next(normal)) for role, _ in each.turns),
            **{name: next(normal) for name in names if getattr(each, name) is not None},
        )
        for each in conversations
    ]


def question_hash(text: str) -> int:
    """64 bits of a question, whatever its case and white space."""
    return xxhash.xxh3_64_intdigest(_SPACE.sub(" ", text).strip().casefold().encode())


@dataclass(frozen=True)
class Decontaminate(Step):
    """One partition's conversations without those that ask what a task asks (``asks-a-task``), or that were made of a
    document that is held out of the pre-training (``held-out``).

    ``tasks``: the tasks' conversations; ``held_out``: documents of the corpus of the same names, and their held-out
    share, by source.
    """

    name: ClassVar[str] = "decontaminate"
    documents: Output
    tasks: dict[str, Output]
    held_out: dict[str, Output]
    shares: dict[str, float]
    seed: int

    @property
    def partitions(self) -> int:
        return len(self.documents.parts())

    @property
    def rows_expected(self) -> int:
        return self.documents.counts.kept

    def run(self, partition: int, out: Path) -> Counts:
        asked = {
            each
            for output in self.tasks.values()
            for hashes in pl.read_parquet(output.parts(), columns=["asked"])["asked"].to_list()
            for each in hashes
        }
        held_out = {name for source, output in self.held_out.items() for name in self._held_out_names(source, output)}
        read = kept = 0
        with slice_writer(part_file(out, partition)) as write, rejected_rows(out, partition) as rejected:
            for frame in read_slices(part_file(self.documents.path, partition), CONVERSATION):
                keep = np.ones(frame.height, dtype=bool)
                columns = (frame[name].to_list() for name in ("id", "name", "origins", "asked"))
                for row, (identity, name, origins, questions) in enumerate(zip(*columns, strict=True)):
                    if not asked.isdisjoint(questions):
                        rejected.add(identity, name, "dropped", "asks-a-task", "its question is one of the tasks'")
                    elif not held_out.isdisjoint(origins):
                        rejected.add(identity, name, "dropped", "held-out", "made of a document that is held out")
                    else:
                        continue
                    keep[row] = False
                read, kept = read + frame.height, kept + int(keep.sum())
                write(frame.filter(pl.Series(keep, dtype=pl.Boolean)))
        return Counts(read, kept, read - kept)

    def _held_out_names(self, source: str, output: Output) -> list[str]:
        names: list[str] = []
        for part in output.parts():
            for frame in read_slices(part, ["name", "content_hash"]):
                held = pl.Series(is_held_out(self.seed, self.shares[source], frame["content_hash"]), dtype=pl.Boolean)
                names += frame.filter(held)["name"].to_list()
        return names


@dataclass(frozen=True)
class SampleConversations(Sample):
    """``Sample`` of conversations, with all their columns."""

    columns: ClassVar[tuple[str, ...]] = CONVERSATION
