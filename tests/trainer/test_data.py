"""Packing loses no token, crosses no document and resumes anywhere."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from trainer.config import PhaseData
from trainer.data import Batch, batches, count_sequences
from trainer.errors import TrainerError
from trainer.model import IGNORE_INDEX
from trainer.shards import Phase, read_phase

LENGTH, BATCH = 16, 4
END_OF_TEXT = 256

WritePhase = Callable[..., PhaseData]


@pytest.fixture
def documents(random_documents: Callable[..., list[list[int]]]) -> list[list[int]]:
    return random_documents(50)


@pytest.fixture
def phase(tmp_path: Path, write_phase: WritePhase, documents: list[list[int]]) -> Phase:
    return read_phase(write_phase(tmp_path, documents, shards=3))


def flat(found: list[Batch], name: str) -> list[int]:
    return torch.cat([getattr(batch, name).flatten() for batch in found]).tolist()


def test_every_token_is_an_input_once(phase: Phase, documents: list[list[int]]) -> None:
    found = list(batches(phase, LENGTH, BATCH))
    expected = [token for document in documents for token in document]
    inputs = flat(found, "input_ids")
    assert inputs[: len(expected)] == expected
    assert 0 < len(inputs) - len(expected) < LENGTH  # only the last sequence is padded
    assert sum(batch.tokens for batch in found) == len(expected) == phase.tokens
    assert {tuple(batch.input_ids.shape) for batch in found[:-1]} == {(BATCH, LENGTH)}
    assert found[-1].sequences == count_sequences(phase.tokens, LENGTH)


def test_every_token_but_a_documents_first_is_a_label_once(phase: Phase, documents: list[list[int]]) -> None:
    expected = [label for document in documents for label in [*document[1:], IGNORE_INDEX]]
    labels = flat(list(batches(phase, LENGTH, BATCH)), "labels")
    assert labels[: len(expected)] == expected
    assert set(labels[len(expected) :]) == {IGNORE_INDEX}


def test_document_ids_tell_the_pieces_apart(phase: Phase, documents: list[list[int]]) -> None:
    owners = [number for number, document in enumerate(documents) for _ in document]
    owners += [-1] * (-len(owners) % LENGTH)
    ids = flat(list(batches(phase, LENGTH, BATCH)), "document_ids")
    for start in range(0, len(ids), LENGTH):
        row, owner = ids[start : start + LENGTH], owners[start : start + LENGTH]
        assert [a == b for a in row for b in row] == [a == b for a in owner for b in owner]


@pytest.mark.parametrize("window", [1, 10])
@pytest.mark.parametrize("consumed", [0, 4, 10, 13, 40])
def test_resumes_from_a_count(phase: Phase, consumed: int, window: int) -> None:
    whole = list(batches(phase, LENGTH, 1, window=window))
    rest = list(batches(phase, LENGTH, 1, consumed=consumed, window=window))
    assert len(rest) == len(whole) - consumed > 0
    for resumed, straight in zip(rest, whole[consumed:], strict=True):
        assert resumed.sequences == straight.sequences
        for name in ("input_ids", "labels", "document_ids"):
            assert torch.equal(getattr(resumed, name), getattr(straight, name))


def test_shards_that_are_skipped_are_not_opened(phase: Phase) -> None:
    consumed = count_sequences(phase.shards[0].tokens, LENGTH)
    expected = flat(list(batches(phase, LENGTH, 1, consumed=consumed)), "input_ids")
    phase.shards[0].path.unlink()
    assert flat(list(batches(phase, LENGTH, 1, consumed=consumed)), "input_ids") == expected


def test_sequences_are_shuffled_within_their_window(phase: Phase) -> None:
    def rows(window: int, seed: int = 0) -> list[tuple[list[int], list[int], list[int]]]:
        found = batches(phase, LENGTH, BATCH, window=window, seed=seed)
        return [
            row
            for b in found
            for row in zip(*map(torch.Tensor.tolist, (b.input_ids, b.labels, b.document_ids)), strict=True)
        ]

    plain, drawn = rows(BATCH), rows(3 * BATCH + 1)  # rounded down to three batches
    assert drawn != plain
    assert drawn == rows(3 * BATCH)
    assert drawn != rows(3 * BATCH, seed=1)
    for start in range(0, len(plain), 3 * BATCH):
        window = slice(start, start + 3 * BATCH)
        assert sorted(drawn[window]) == sorted(plain[window])
    batch_sizes = [batch.tokens for batch in batches(phase, LENGTH, BATCH, window=3 * BATCH)]
    assert sum(batch_sizes) == phase.tokens


@pytest.mark.parametrize(("shards", "row_group"), [(1, 100), (1, 1), (7, 2)])
def test_layout_of_the_files_does_not_matter(
    tmp_path: Path, write_phase: WritePhase, phase: Phase, documents: list[list[int]], shards: int, row_group: int
) -> None:
    other = read_phase(write_phase(tmp_path / "other", documents, shards=shards, row_group=row_group))
    for ours, theirs in zip(batches(phase, LENGTH, BATCH), batches(other, LENGTH, BATCH), strict=True):
        assert torch.equal(ours.input_ids, theirs.input_ids)
        assert torch.equal(ours.labels, theirs.labels)


def test_text_columns_are_not_read(phase: Phase, monkeypatch: pytest.MonkeyPatch) -> None:
    read, columns = pq.ParquetFile.read_row_group, []

    def spy(self: pq.ParquetFile, group: int, **arguments: object) -> object:
        columns.append(arguments.get("columns"))
        return read(self, group, **arguments)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", spy)
    list(batches(phase, LENGTH, BATCH))
    assert len(columns) > 3
    assert columns == [["tokens"]] * len(columns)


def test_sequences_that_end_even_have_no_padding(tmp_path: Path, write_phase: WritePhase) -> None:
    phase = read_phase(write_phase(tmp_path, [[1] * 15 + [END_OF_TEXT], [2] * 15 + [END_OF_TEXT]]))
    (batch,) = batches(phase, LENGTH, BATCH)
    assert batch.input_ids.shape == (2, LENGTH)
    assert batch.labels[:, -1].tolist() == [IGNORE_INDEX, IGNORE_INDEX]


def test_token_outside_the_vocabulary_is_an_error(tmp_path: Path, write_phase: WritePhase) -> None:
    phase = read_phase(write_phase(tmp_path, [[1, 900, END_OF_TEXT]], shards=1))
    with pytest.raises(TrainerError, match=r"shard-00000.parquet: row group 0: found tokens from 1 to 900"):
        list(batches(phase, LENGTH, BATCH))


def test_a_stretch_of_a_phase_is_packed_by_itself(phase: Phase, documents: list[list[int]]) -> None:
    sizes = [len(document) for document in documents]
    start, stop = sum(sizes[:11]), sum(sizes[:37])
    expected = [token for document in documents[11:37] for token in document]
    found = list(batches(phase, LENGTH, BATCH, start=start, stop=stop))
    assert flat(found, "input_ids")[: len(expected)] == expected
    assert sum(batch.tokens for batch in found) == stop - start
    assert found[-1].sequences == count_sequences(stop - start, LENGTH)
    rest = list(batches(phase, LENGTH, BATCH, start=start, stop=stop, consumed=8))
    assert flat(rest, "input_ids") == flat(found[2:], "input_ids")
    whole = list(batches(phase, LENGTH, BATCH, start=0, stop=phase.tokens))
    assert flat(whole, "labels") == flat(list(batches(phase, LENGTH, BATCH)), "labels")
