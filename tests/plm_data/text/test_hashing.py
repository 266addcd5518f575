"""Identities that no machine, process or seed of Python's moves."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from plm_data.text.hashing import document_id, nodes, partition_of, partitions_of, rank_hash

IDS = st.lists(st.binary(min_size=16, max_size=16).map(bytes.hex), max_size=20)


def test_ids_and_ranks_are_pinned() -> None:
    """They name documents in every lock and ledger: a change of theirs is a change of format."""
    assert document_id("python-code", "stdlib/json/decoder.py") == "085bea3788709935e021394b85783ee6"
    assert document_id("ab", "c") != document_id("a", "bc")
    assert rank_hash(7, "order/phase1", "x") == 13542257490582252629
    assert rank_hash(1, "x", "y") != rank_hash(2, "x", "y") != rank_hash(2, "z", "y")


def test_every_partition_gets_its_documents() -> None:
    assert {partition_of(document_id("s", str(i)), 4) for i in range(64)} == {0, 1, 2, 3}


@given(IDS, st.integers(1, 4096))
def test_nodes_are_the_first_64_bits_and_know_the_partition(ids: list[str], partitions: int) -> None:
    found = nodes(pl.Series(ids, dtype=pl.String))
    assert found.tolist() == [int(identity[:16], 16) for identity in ids]
    assert partitions_of(found, partitions).tolist() == [partition_of(identity, partitions) for identity in ids]
