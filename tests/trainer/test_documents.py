"""A shard that is not what the manifest and its footer say is refused by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trainer.config import PhaseData
from trainer.documents import read_documents, read_lengths
from trainer.errors import TrainerError
from trainer.model import IGNORE_INDEX
from trainer.shards import Phase, read_phase

DOCUMENTS = [[1, 2, 3], [4], [5, 6], [7, 8, 9, 10], [11, 12]]


@pytest.fixture
def phase(tmp_path: Path, write_phase: Callable[..., PhaseData]) -> Phase:
    return read_phase(write_phase(tmp_path, DOCUMENTS, shards=2, row_group=2))


def everything(phase: Phase) -> None:
    for _ in read_documents(phase, 0, phase.tokens):
        pass


def rewrite(phase: Phase, tokens: pa.Array) -> None:
    """Put other tokens in the place of the second shard's (three documents, in row groups of two)."""
    path = phase.shards[1].path
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index("tokens"), "tokens", tokens), path, row_group_size=2)


def test_any_stretch_with_its_labels(phase: Phase) -> None:
    tokens = np.concatenate([np.array(document) for document in DOCUMENTS])
    labels = np.concatenate([[*document[1:], IGNORE_INDEX] for document in DOCUMENTS])
    for start in range(len(tokens)):
        for stop in range(start, len(tokens) + 1):
            parts = list(read_documents(phase, start, stop))
            assert [token for part in parts for token in part.tokens] == tokens[start:stop].tolist()
            assert [label for part in parts for label in part.labels] == labels[start:stop].tolist()
            clipped = np.clip([3, 4, 6, 10, 12], start, stop) - np.clip([0, 3, 4, 6, 10], start, stop)
            assert [n for part in parts for n in part.lengths] == [n for n in clipped.tolist() if n]
    assert read_lengths(phase).tolist() == [3, 1, 2, 4, 2]


def test_token_outside_the_vocabulary(phase: Phase) -> None:
    rewrite(phase, pa.array([[5, 6], [7, 8, 9, 10], [11, 259]], pa.list_(pa.int32())))
    with pytest.raises(TrainerError, match=r"shard-00001.parquet: row group 1: found tokens from 11 to 259, expected"):
        everything(phase)
    rewrite(phase, pa.array([[5, 6], [7, -8, 9, 10], [11, 258]], pa.list_(pa.int32())))
    with pytest.raises(TrainerError, match=r"shard-00001.parquet: row group 0: found tokens from -8 to 10, expected"):
        everything(phase)
    rewrite(phase, pa.array([[5, 6], [7, 0, 9, 10], [11, 258]], pa.list_(pa.int32())))
    everything(phase)


def test_counts_that_disagree_with_the_manifest(phase: Phase) -> None:
    first, second = phase.shards
    for wrong in (replace(second, tokens=9), replace(second, rows=4)):
        expected = rf"shard-00001.parquet: found 3 rows and 8 tokens, expected {wrong.rows} and {wrong.tokens}"
        with pytest.raises(TrainerError, match=expected):
            list(read_documents(replace(phase, shards=(first, wrong)), 0, 12))
        with pytest.raises(TrainerError, match=expected):
            read_lengths(replace(phase, shards=(first, wrong)))


def test_an_empty_list_that_makes_the_footers_count_right(phase: Phase) -> None:
    """The footer counts an empty list as a token: seven of them and it are the eight that the manifest says."""
    rewrite(phase, pa.array([[5, 6], [], [7, 8, 9, 10, 11]], pa.list_(pa.int32())))
    with pytest.raises(TrainerError, match=r"shard-00001.parquet: row group 0: found 2 tokens, expected 3 from the"):
        everything(phase)


def test_null_lists_hold_no_tokens(phase: Phase) -> None:
    rewrite(phase, pa.array([[5, 6], None, [7, 8, 9, 10, 11, 12]], pa.list_(pa.int32())))
    (*_, before, last) = read_documents(phase, 0, phase.tokens)
    assert before.lengths.tolist() == [2]
    assert last.tokens.tolist() == [7, 8, 9, 10, 11, 12]


def test_null_tokens(phase: Phase) -> None:
    rewrite(phase, pa.array([[5, 6], [7, 8, 9, 10], [None, 12]], pa.list_(pa.int32())))
    with pytest.raises(TrainerError, match=r"shard-00001.parquet: row group 1: found 1 tokens, expected 2"):
        everything(phase)


def test_files_that_are_no_shards(phase: Phase) -> None:
    path = phase.shards[1].path
    pq.write_table(pq.read_table(path).drop_columns(["tokens"]), path)
    with pytest.raises(TrainerError, match=r"shard-00001.parquet: found no column of tokens"):
        everything(phase)
    path.write_bytes(b"no Parquet")
    with pytest.raises(TrainerError, match=r"shard-00001.parquet: cannot be read"):
        everything(phase)
    path.unlink()
    with pytest.raises(TrainerError, match=r"shard-00001.parquet: cannot be read"):
        everything(phase)
