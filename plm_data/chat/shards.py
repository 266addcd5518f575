"""Shards of conversations and of prompts: as those of documents, with columns of their own beside them.

Conversations (segment ``sft``): ``targets``, flattened ``[start, end)`` positions in ``tokens`` of what the assistant
says. Prompts (segment ``preferences``, or ``held-out`` for the tasks of the evaluation): what is known of an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from plm_data.attributes.tokens import token_lists
from plm_data.chat.steps import PROMPT_COLUMNS
from plm_data.shards import SCHEMA, Fetch, WriteShards

_CONVERSATIONS = SCHEMA.append(pa.field("targets", pa.list_(pa.int32())))
_PROMPTS = pa.schema([*SCHEMA, *(pa.field(name, pa.string()) for name in PROMPT_COLUMNS)])


@dataclass(frozen=True)
class FetchConversations(Fetch):
    """The rows of a phase of conversations."""

    schema: ClassVar[pa.Schema] = _CONVERSATIONS

    def further(self, documents: pq.ParquetFile, group: int) -> dict[str, Any]:
        return {"targets": token_lists(documents.read_row_group(group, columns=["targets"])["targets"])}


@dataclass(frozen=True)
class FetchPrompts(Fetch):
    """The rows of a phase of prompts."""

    schema: ClassVar[pa.Schema] = _PROMPTS

    def further(self, documents: pq.ParquetFile, group: int) -> dict[str, Any]:
        found = documents.read_row_group(group, columns=list(PROMPT_COLUMNS))
        return {name: found[name] for name in PROMPT_COLUMNS}


@dataclass(frozen=True)
class WriteConversations(WriteShards):
    """The shards of a phase of conversations."""

    schema: ClassVar[pa.Schema] = _CONVERSATIONS

    def about(self, counted: list[dict[str, Any]]) -> dict[str, Any]:
        return {"kind": "conversations", "targets": sum(shard["targets"] for shard in counted)}

    def count(self, path: Path, rows: pa.Table) -> dict[str, Any]:
        flat = pc.list_flatten(rows["targets"]).to_numpy()
        return {**super().count(path, rows), "targets": int(flat[1::2].sum() - flat[::2].sum())}


@dataclass(frozen=True)
class WritePrompts(WriteShards):
    """The shards of a phase of prompts."""

    schema: ClassVar[pa.Schema] = _PROMPTS

    def about(self, counted: list[dict[str, Any]]) -> dict[str, Any]:
        return {"kind": "prompts"}
