"""Packing loses no token, crosses no document and resumes anywhere, on any number of ranks."""

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config import PhaseData
from trainer.data import Batch, batches, count_conversation_sequences, count_sequences
from trainer.errors import TrainerError
from trainer.model import IGNORE_INDEX
from trainer.shards import Phase, read_phase

WritePhase = Callable[..., PhaseData]
Row = tuple[list[int], list[int], list[int]]  # inputs, labels, document ids
PADDING = 0  # of no document below


def counting(lengths: list[int]) -> list[list[int]]:
    """Documents of a token each position in the phase, from 1, so that each token tells where it belongs."""
    return [list(range(end - length + 1, end + 1)) for length, end in zip(lengths, accumulate(lengths), strict=True)]


def write_counting(write_phase: WritePhase, folder: Path, lengths: list[int], **how: Any) -> Phase:
    data = write_phase(folder, counting(lengths), vocab_size=sum(lengths) + 1, **how)
    return read_phase(data, "conversations" if "targets" in how else "documents")


@contextmanager
def folder() -> Any:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def rows(found: list[Batch]) -> list[Row]:
    return [
        (inputs.tolist(), labels.tolist(), numbers.tolist())
        for batch in found
        for inputs, labels, numbers in zip(batch.input_ids, batch.labels, batch.document_ids, strict=True)
    ]


def gathered(phase: Phase, length: int, batch_size: int, world: int, consumed: int = 0, **how: Any) -> list[Batch]:
    """All ranks' shares put together again, without the sequences of padding that even them out."""
    shares = [
        list(batches(phase, length, batch_size, rank=rank, world=world, consumed=consumed, **how))
        for rank in range(world)
    ]
    found = []
    for parts in zip(*shares, strict=True):
        assert len({(part.tokens, part.sequences, part.targets, part.input_ids.shape) for part in parts}) == 1
        count, consumed = parts[0].sequences - consumed, parts[0].sequences
        whole = {}
        for name, padding in (("input_ids", PADDING), ("labels", IGNORE_INDEX), ("document_ids", 0)):
            dealt = torch.stack([getattr(part, name) for part in parts], dim=1).flatten(0, 1)
            assert len(dealt) - count < world
            assert (dealt[count:] == padding).all()
            whole[name] = dealt[:count]
        found.append(replace(parts[0], **whole))
    return found


@dataclass(frozen=True)
class Case:
    lengths: list[int]
    length: int
    window: int
    batch_size: int
    world: int
    shards: int
    row_group: int
    seed: int
    epoch: int

    @property
    def order(self) -> dict[str, int]:
        return {"window": self.window, "seed": self.seed, "epoch": self.epoch}


CASES = st.builds(
    lambda a_rank, world, **rest: Case(batch_size=a_rank * world, world=world, **rest),
    a_rank=st.integers(1, 3),
    world=st.integers(1, 3),
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=40),
    length=st.integers(1, 20),
    window=st.integers(1, 12),
    shards=st.integers(1, 3),
    row_group=st.integers(1, 8),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 2),
)


def check_batches(found: list[Batch], batch_size: int, length: int) -> None:
    """The counts are those of the rows, and all batches but the last are whole."""
    sequences = 0
    for batch in found:
        sequences += len(batch.input_ids)
        assert batch.input_ids.dtype == batch.labels.dtype == batch.document_ids.dtype == torch.int64
        assert batch.input_ids.shape == batch.labels.shape == batch.document_ids.shape
        assert batch.tokens == int((batch.input_ids != PADDING).sum())
        assert batch.targets == int((batch.labels != IGNORE_INDEX).sum())
        assert batch.sequences == sequences
        assert batch.input_ids.shape[1] == length
    assert all(len(batch.input_ids) == batch_size for batch in found[:-1])


def check_document_ids(found: list[Batch], lengths: list[int]) -> None:
    """Within a row each run of one number is one document's, in a stretch, and the numbers count from 0."""
    owners = [-1, *(number for number, length in enumerate(lengths) for _ in range(length))]
    for inputs, _, numbers in rows(found):
        runs = [list(run) for _, run in groupby(zip(inputs, numbers, strict=True), key=lambda pair: pair[1])]
        assert [run[0][1] for run in runs] == list(range(len(runs)))
        assert len({owners[run[0][0]] for run in runs}) == len(runs)
        for run in runs:
            tokens = [token for token, _ in run]
            assert len({owners[token] for token in tokens}) == 1
            assert set(tokens) == {PADDING} or tokens == list(range(tokens[0], tokens[0] + len(tokens)))
        assert PADDING not in inputs or set(inputs[inputs.index(PADDING) :]) == {PADDING}


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_every_token_is_an_input_once_with_its_label(write_phase: WritePhase, case: Case) -> None:
    with folder() as path:
        phase = write_counting(write_phase, path, case.lengths, shards=case.shards, row_group=case.row_group)
        found = gathered(phase, case.length, case.batch_size, case.world, **case.order)
    check_batches(found, case.batch_size, case.length)
    check_document_ids(found, case.lengths)
    total, ends = sum(case.lengths), set(accumulate(case.lengths))
    labels = {
        token: label
        for inputs, row_labels, _ in rows(found)
        for token, label in zip(inputs, row_labels, strict=True)
        if token != PADDING
    }
    assert sum(batch.tokens for batch in found) == total == len(labels)
    assert labels == {token: IGNORE_INDEX if token in ends else token + 1 for token in range(1, total + 1)}
    assert all(
        label == IGNORE_INDEX
        for inputs, row_labels, _ in rows(found)
        for token, label in zip(inputs, row_labels, strict=True)
        if token == PADDING
    )
    sequences = [inputs for inputs, _, _ in rows(found)]
    assert len(sequences) == count_sequences(total, case.length)
    assert sum(inputs.count(PADDING) for inputs in sequences) < case.length
    for number, start in enumerate(range(0, total, case.window * case.length)):  # a window holds its span, all of it
        inside = chain(*sequences[number * case.window : (number + 1) * case.window])
        span = range(start + 1, min(start + case.window * case.length, total) + 1)
        assert sorted(token for token in inside if token != PADDING) == list(span)


@settings(max_examples=60, deadline=None)
@given(CASES, st.floats(0, 1), st.integers(1, 4), st.integers(1, 3))
def test_resumes_from_a_count_on_other_ranks_batches_and_files(
    write_phase: WritePhase, case: Case, at: float, world: int, a_rank: int
) -> None:
    with folder() as path:
        phase = write_counting(write_phase, path / "one", case.lengths, shards=case.shards, row_group=case.row_group)
        whole = rows(list(batches(phase, case.length, case.batch_size, **case.order)))
        consumed = round(at * len(whole))
        other = write_counting(write_phase, path / "two", case.lengths, shards=1, row_group=5)
        rest = gathered(other, case.length, a_rank * world, world, consumed, **case.order)
    assert rows(rest) == whole[consumed:]
    assert not rest or rest[-1].sequences == len(whole)


def test_seed_and_epoch_change_the_order_alone(tmp_path: Path, write_phase: WritePhase) -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 60).tolist()
    phase = write_counting(write_phase, tmp_path, lengths)
    window = 12

    def drawn(**order: int) -> list[Row]:
        return rows(list(batches(phase, 16, 4, window=window, **order)))

    plain = drawn()
    assert drawn() == plain
    for other in (drawn(seed=1), drawn(epoch=1), drawn(seed=1, epoch=1)):
        assert other != plain
        for start in range(0, len(plain), window):
            assert sorted(other[start : start + window]) == sorted(plain[start : start + window])
    assert drawn(seed=1) != drawn(epoch=1)


def test_a_stretch_of_a_phase_is_packed_by_itself(tmp_path: Path, write_phase: WritePhase) -> None:
    lengths = np.random.default_rng(1).integers(1, 40, 50).tolist()
    phase = write_counting(write_phase, tmp_path / "all", lengths, shards=3)
    start, stop = sum(lengths[:11]), sum(lengths[:37])
    found = list(batches(phase, 16, 4, window=6, start=start, stop=stop))
    tokens = [token for inputs, _, _ in rows(found) for token in inputs if token != PADDING]
    assert sorted(tokens) == list(range(start + 1, stop + 1))
    assert found[-1].sequences == count_sequences(stop - start, 16)
    rest = list(batches(phase, 16, 4, window=6, start=start, stop=stop, consumed=8))
    assert rows(rest) == rows(found)[8:]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Any]]:
    """What is read of Parquet files: (file, row group, columns) in turn, -1 where a file is opened."""
    found: list[tuple[str, int, Any]] = []
    read, start = pq.ParquetFile.read_row_group, pq.ParquetFile.__init__

    def open_file(self: pq.ParquetFile, source: Path, **arguments: Any) -> None:
        self.name = source.name
        found.append((source.name, -1, None))
        start(self, source, **arguments)

    def read_row_group(self: pq.ParquetFile, group: int, **arguments: Any) -> Any:
        found.append((self.name, group, arguments.get("columns")))
        return read(self, group, **arguments)

    monkeypatch.setattr(pq.ParquetFile, "__init__", open_file)
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read_row_group)
    return found


@pytest.mark.parametrize("shards", [4, 40])
def test_what_a_resume_reads_does_not_grow_with_the_phase(
    tmp_path: Path, write_phase: WritePhase, reads: list[tuple[str, int, Any]], shards: int
) -> None:
    """Documents of 10 tokens, 20 a shard and 2 a row group: a window of 4 · 16 tokens lies in 4 or 5 row groups."""
    phase = write_counting(write_phase, tmp_path, [10] * 20 * shards, shards=shards, row_group=2)
    for consumed in (0, count_sequences(phase.tokens, 16) // 8 * 4):
        reads.clear()
        next(batches(phase, 16, 4, window=4, consumed=consumed))
        assert sum(group < 0 for _, group, _ in reads) <= 2
        assert 4 <= sum(group >= 0 for _, group, _ in reads) <= 5
        assert {tuple(columns) for _, group, columns in reads if group >= 0} == {("tokens",)}
        shard, group = divmod(consumed // 4 * 64, 200)
        assert reads[:2] == [(f"shard-{shard:05d}.parquet", -1, None), (reads[0][0], group // 20, ["tokens"])]


def test_documents_without_tokens_are_passed_over(tmp_path: Path, write_phase: WritePhase) -> None:
    """In the footer they count as one token each, which must not move where a window begins."""
    lengths = [0, 7, 0, 0, 9, 5, 0, 11, 8, 0, 30, 0]
    phase = write_counting(write_phase, tmp_path, lengths, shards=1, row_group=2)
    footer = pq.read_metadata(phase.shards[0].path)
    assert sum(footer.row_group(g).column(6).num_values for g in range(6)) == phase.tokens + 6
    whole = rows(list(batches(phase, 8, 1, window=2)))
    for consumed in range(len(whole)):
        assert rows(list(batches(phase, 8, 1, window=2, consumed=consumed))) == whole[consumed:]


def test_sources_by_token(tmp_path: Path, write_phase: WritePhase) -> None:
    lengths = np.random.default_rng(2).integers(0, 40, 50).tolist()
    phase = write_counting(write_phase, tmp_path, lengths, sources=["web", "code", "maths"])
    assert phase.sources == ("code", "maths", "web")
    expected = [-1, *(number % 3 for number, length in enumerate(lengths) for _ in range(length))]
    found = list(batches(phase, 16, 4, window=6, with_sources=True))
    for batch in found:
        assert batch.sources is not None
        names = [1, 2, 0]  # of web, code, maths: the sorted names' places, turned round
        told = [-1 if source < 0 else names[source] for source in batch.sources.flatten().tolist()]
        assert told == [expected[token] for token in batch.input_ids.flatten().tolist()]
    assert next(batches(phase, 16, 4)).sources is None
    shares = list(batches(phase, 16, 4, window=6, with_sources=True, rank=1, world=2))
    for share, batch in zip(shares[:-1], found[:-1], strict=True):
        assert torch.equal(share.sources, batch.sources[1::2])


def test_a_source_that_the_manifest_does_not_list(tmp_path: Path, write_phase: WritePhase) -> None:
    phase = replace(write_counting(write_phase, tmp_path, [3, 4, 5], sources=["a", "b"], shards=1), sources=("a",))
    with pytest.raises(TrainerError, match=r"shard-00000.parquet: row 1: source: found 'b', expected one of \('a',\)"):
        list(batches(phase, 16, 4, with_sources=True))
    list(batches(phase, 16, 4))


def test_a_batch_that_the_ranks_cannot_share(tmp_path: Path, write_phase: WritePhase) -> None:
    phase = write_counting(write_phase, tmp_path, [30])
    with pytest.raises(TrainerError, match="found 4 sequences for 3 ranks, expected a multiple"):
        next(batches(phase, 16, 4, world=3))


def test_prompts_are_not_trained_on(tmp_path: Path, write_phase: WritePhase) -> None:
    phase = replace(write_counting(write_phase, tmp_path, [30]), kind="prompts")
    with pytest.raises(TrainerError, match="kind: found 'prompts', expected documents or conversations"):
        next(batches(phase, 16, 4))


# Conversations

TURNS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=3)  # others' tokens, then the assistant's
CONVERSATIONS = st.lists(st.tuples(TURNS, st.integers(0, 3)), min_size=1, max_size=30)


def spoken(turns: list[tuple[int, int]], rest: int) -> tuple[int, list[int]]:
    """A conversation's length and its targets."""
    bounds = list(accumulate(size for turn in turns for size in turn))
    return (bounds[-1] if bounds else 0) + rest, bounds


@settings(max_examples=60, deadline=None)
@given(CONVERSATIONS, CASES)
def test_conversations_are_whole_and_their_targets_labels(
    write_phase: WritePhase, conversations: list[tuple[list[tuple[int, int]], int]], case: Case
) -> None:
    lengths, targets = map(list, zip(*(spoken(*each) for each in conversations), strict=True))
    length = 36  # of the longest
    with folder() as path:
        how = {"targets": targets, "shards": case.shards, "row_group": case.row_group}
        phase = write_counting(write_phase, path, lengths, **how)
        found = gathered(phase, length, case.batch_size, case.world, **case.order)
        count = count_conversation_sequences(phase, length, case.window)
        whole = rows(found)
        for consumed in {0, count // 3, count}:
            rest = gathered(phase, length, 2, 2, consumed, **case.order)
            assert rows(rest) == whole[consumed:]
        again = rows(list(batches(phase, length, 1, **{**case.order, "epoch": 7})))
    check_batches(found, case.batch_size, length)
    check_document_ids(found, lengths)
    assert count == len(whole)
    assert sorted(again) == sorted(whole)
    begins = [end - size for end, size in zip(accumulate(lengths), lengths, strict=True)]
    wanted = {
        begin + position + 1
        for begin, bounds in zip(begins, targets, strict=True)
        for start, end in zip(bounds[::2], bounds[1::2], strict=True)
        for position in range(max(start, 1), end)  # nothing comes before a conversation's first token
    }
    labels = [label for _, row_labels, _ in whole for label in row_labels if label != IGNORE_INDEX]
    assert sorted(labels) == sorted(wanted)
    for inputs, row_labels, _ in whole:
        assert all(label in (IGNORE_INDEX, token + 1) for token, label in zip(inputs, row_labels, strict=True))
    pieces = sum(len({n for token, n in zip(i, n_, strict=True) if token != PADDING}) for i, _, n_ in whole)
    assert pieces == sum(size > 0 for size in lengths)


def test_a_conversation_that_is_too_long_is_named(tmp_path: Path, write_phase: WritePhase) -> None:
    phase = write_counting(write_phase, tmp_path, [5, 6, 7, 17, 8, 9], targets=[[1, 3]] * 6, shards=2)
    message = r"shard-00001.parquet: row 0: found a conversation of 17 tokens, expected at most the sequence length 16"
    with pytest.raises(TrainerError, match=message):
        next(batches(phase, 16, 2))
    assert len(rows(list(batches(phase, 17, 2)))) == 4


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1], "row 3: found targets that are no pairs"),
        ([1, 3, 2], "row 3: found targets that are no pairs"),
        ([2, 2], "row 3: found a target from 2 to 2, expected positions from 0 to 6"),
        ([-1, 2], "row 3: found a target from -1 to 2"),
        ([1, 2, 3, 7], "row 3: found a target from 3 to 7"),
        ([1, None], "row group 1: found targets that are null"),
        ([0, 6], None),
        ([], None),
        (None, None),
    ],
)
def test_targets_that_are_none(
    tmp_path: Path, write_phase: WritePhase, targets: list[int | None] | None, message: str | None
) -> None:
    good = [[1, 3]] * 3
    phase = write_counting(write_phase, tmp_path, [6] * 5, targets=[*good, targets, [0, 6]], shards=1)
    if message is None:
        assert sum(batch.targets for batch in batches(phase, 16, 2)) == 3 * 2 + len(targets or []) * 5 // 2 + 5
    else:
        with pytest.raises(TrainerError, match=f"shard-00000.parquet: {message}"):
            list(batches(phase, 16, 2))
