"""The prompts of a phase: what the model is asked, and what an answer is judged by."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.alignment.checks import CHECKS, number
from trainer.errors import TrainerError
from trainer.shards import Phase, Shard

_COLUMNS = ("id", "source", "tokens", "question", "reference", "answer", "check", "chosen", "rejected")


@dataclass(frozen=True)
class Prompt:
    """A row of a phase of prompts."""

    id: str
    source: str
    tokens: tuple[int, ...]  # in ChatML, up to the assistant's start
    question: str | None  # the user's text
    reference: str | None  # a good answer, whole
    answer: str | None  # what is checked
    check: str | None  # how
    chosen: str | None  # a preference pair that the data gives
    rejected: str | None


def prompt_order(phase: Phase, seed: int) -> np.ndarray:
    """Return the numbers of the phase's prompts in the order in which they are used, drawn from the seed."""
    return np.random.default_rng(seed).permutation(sum(shard.rows for shard in phase.shards))


def read_prompts(phase: Phase, numbers: Sequence[int] | np.ndarray | None = None) -> list[Prompt]:
    """Return prompts by their number in the phase, in the order asked for; all, where none are named.

    A shard is in memory at a time.

    Raises:
        TrainerError: a shard lacks a column, a number is not there, or a row's check cannot be made.
    """
    ends = list(accumulate((shard.rows for shard in phase.shards), initial=0))
    wanted = np.arange(ends[-1]) if numbers is None else np.asarray(numbers, dtype=np.int64)
    if len(wanted) and not 0 <= wanted.min() <= wanted.max() < ends[-1]:
        raise TrainerError(
            f"{phase.path}: found prompt {wanted.max()} asked for, expected 0 to {ends[-1] - 1}; build the phase again"
        )
    found: dict[int, Prompt] = {}
    for shard, start, end in zip(phase.shards, ends, ends[1:], strict=False):
        inside = np.unique(wanted[(wanted >= start) & (wanted < end)])
        if len(inside):
            rows = _read(shard).take(pa.array(inside - start)).to_pylist()
            found.update({int(n): _prompt(shard, int(n) - start, row) for n, row in zip(inside, rows, strict=True)})
    return [found[int(n)] for n in wanted]


def _read(shard: Shard) -> pa.Table:
    present = pq.read_schema(shard.path).names
    missing = [column for column in _COLUMNS if column not in present]
    if missing:
        raise TrainerError(f"{shard.path}: found no column {missing[0]}, expected a phase of prompts; build it again")
    return pq.read_table(shard.path, columns=list(_COLUMNS))


def _prompt(shard: Shard, number_in_shard: int, row: dict[str, Any]) -> Prompt:
    found = Prompt(**{**row, "tokens": tuple(row["tokens"])})
    if not found.tokens:
        problem = "tokens: found none, expected the prompt's"
    elif found.check not in (None, *CHECKS):
        problem = f"check: found {found.check!r}, expected one of {CHECKS} or none"
    elif found.check is not None and found.answer is None:
        problem = f"answer: found none, expected what the check {found.check!r} compares with"
    elif found.check == "number" and number(found.answer or "") is None:
        problem = f"answer: found {found.answer!r}, expected a number"
    else:
        return found
    raise TrainerError(f"{shard.path}: row {number_in_shard}: {problem}; build the phase again")
