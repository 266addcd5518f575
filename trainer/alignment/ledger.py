"""The ledger of a stage: every chain with its answers, scores, checks, decision and reason, as Parquet."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trainer.alignment.chains import Answer, Chain
from trainer.alignment.pairs import Pair
from trainer.alignment.select import PAIR, Decision
from trainer.errors import TrainerError
from trainer.files import read_json, sha256, write_json
from trainer.shards import MANIFEST

FORMAT = 1
KIND = "chains"

_ANSWER = pa.struct(
    [
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("finished", pa.bool_()),
        ("given", pa.bool_()),  # by the data, not drawn
        ("right", pa.bool_()),  # by the task's check; null: not known
        ("score", pa.float64()),  # by the reward model; null: none
    ]
)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # of the prompt
        ("source", pa.string()),
        ("question", pa.string()),
        ("check", pa.string()),
        ("prompt", pa.list_(pa.int32())),
        ("answers", pa.list_(_ANSWER)),  # in the order of their drawing
        ("reason", pa.string()),  # "pair", or why there is none
        ("chosen", pa.int32()),  # numbers of the pair's answers
        ("rejected", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Judged:
    """A chain with what is known of each answer, and the decision."""

    chain: Chain
    right: Sequence[bool | None]
    scores: Sequence[float | None]
    decision: Decision


def piece_path(folder: Path, number: int) -> Path:
    """Return the file of a piece of the collection."""
    return folder / f"chains-{number:05d}.parquet"


def write_piece(path: Path, judged: Sequence[Judged]) -> None:
    """Write a piece of the ledger, whole or not at all."""
    table = pa.Table.from_pylist([_row(each) for each in judged], schema=SCHEMA)
    temporary = path.with_name(f".{path.name}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)


def _row(judged: Judged) -> dict[str, Any]:
    prompt, decision = judged.chain.prompt, judged.decision
    known = zip(judged.chain.answers, judged.right, judged.scores, strict=True)
    return {
        "id": prompt.id,
        "source": prompt.source,
        "question": prompt.question,
        "check": prompt.check,
        "prompt": prompt.tokens,
        "answers": [{**vars(answer), "right": right, "score": score} for answer, right, score in known],
        "reason": decision.reason,
        "chosen": decision.chosen,
        "rejected": decision.rejected,
    }


def write_manifest(folder: Path, pieces: int, facts: dict[str, Any]) -> None:
    """Mark a stage's collection as complete, with its counts, its reasons and each piece's digest."""
    reasons: Counter[str] = Counter()
    answers = 0
    shards = []
    for number in range(pieces):
        path = piece_path(folder, number)
        table = pq.read_table(path, columns=["reason", "answers"])
        reasons.update(table.column("reason").to_pylist())
        answers += sum(table.column("answers").combine_chunks().value_lengths().to_pylist())
        shards.append({"file": path.name, "rows": table.num_rows, "sha256": sha256(path)})
    manifest = {
        "format": FORMAT,
        "kind": KIND,
        **facts,
        "chains": reasons.total(),
        "answers": answers,
        "pairs": reasons[PAIR],
        "reasons": dict(sorted(reasons.items())),
        "shards": shards,
    }
    write_json(folder / MANIFEST, manifest)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a complete collection's manifest, after comparing its pieces with the digests in it.

    Raises:
        TrainerError: it is missing, or a piece is missing or holds other bytes than were written.
    """
    manifest = read_json(folder / MANIFEST, "the manifest of a collection")
    for shard in manifest["shards"]:
        path = folder / shard["file"]
        found = sha256(path) if path.is_file() else "no file"
        if found != shard["sha256"]:
            raise TrainerError(
                f"{path}: found sha256 {found}, expected {shard['sha256']} from {folder / MANIFEST}; "
                "restore the file, or train in an empty folder"
            )
    return manifest


def read_chains(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a complete collection, as `SCHEMA` names them, in their order."""
    for shard in read_manifest(folder)["shards"]:
        yield from pq.read_table(folder / shard["file"], schema=SCHEMA).to_pylist()


class Pairs(Sequence[Pair]):
    """The pairs that a complete collection decided on, in their order, held as Arrow: a pair is made when asked for."""

    def __init__(self, folder: Path) -> None:
        shards = [folder / shard["file"] for shard in read_manifest(folder)["shards"]]
        decided = [pq.read_table(shard, schema=SCHEMA, filters=pc.field("reason") == PAIR) for shard in shards]
        self._table = pa.concat_tables([SCHEMA.empty_table(), *decided])

    def __len__(self) -> int:
        return self._table.num_rows

    @overload
    def __getitem__(self, number: int) -> Pair: ...
    @overload
    def __getitem__(self, number: slice) -> list[Pair]: ...
    def __getitem__(self, number: int | slice) -> Pair | list[Pair]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if not 0 <= number < len(self):
            raise IndexError(f"pair {number} of {len(self)}")
        (row,) = self._table.slice(int(number), 1).to_pylist()
        return Pair(row["id"], tuple(row["prompt"]), answer_of(row, row["chosen"]), answer_of(row, row["rejected"]))


def answer_of(row: dict[str, Any], number: int) -> Answer:
    """Return an answer of a row of the ledger."""
    found = row["answers"][number]
    return Answer(tuple(found["tokens"]), found["text"], found["finished"], found["given"])
