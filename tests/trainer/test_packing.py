"""Best-fit packing places as the plain search does, loses nothing, and cuts fewer documents than cutting blindly."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trainer.packing import Pieces, pack_full, pack_whole

CAPACITIES = st.integers(1, 40)
LENGTHS = st.lists(st.integers(0, 60), max_size=60)


def rooms_by_search(rooms: list[int], sizes: list[int]) -> tuple[list[int], list[int]]:
    """Best-fit decreasing, O(n²): the room left in each bin, sorted, and the sizes that fit in none."""
    rooms, left = list(rooms), []
    for size in sorted(sizes, reverse=True):
        fitting = [place for place, room in enumerate(rooms) if room >= size]
        if fitting:
            rooms[min(fitting, key=lambda place: rooms[place])] -= size
        else:
            left.append(size)
    return sorted(rooms), left


def cut_documents(pieces: Pieces, lengths: np.ndarray, capacity: int) -> int:
    """Documents that would fit in a sequence and are in more than one."""
    return int((np.bincount(pieces.documents, minlength=len(lengths))[lengths <= capacity] > 1).sum())


def check(pieces: Pieces, lengths: list[int], capacity: int) -> None:
    """Every token is in one piece, each piece in one document, and no sequence is over-full."""
    ends = np.cumsum(lengths, dtype=np.int64)
    spans = sorted(zip(pieces.starts.tolist(), pieces.sizes.tolist(), pieces.documents.tolist(), strict=True))
    position = 0
    for start, size, document in spans:
        assert start == position
        assert size > 0
        position += size
        assert ends[document] - lengths[document] <= start
        assert position <= ends[document]
    assert position == sum(lengths)
    fill = np.diff(pieces.totals(pieces.sizes))
    assert pieces.firsts[-1] == len(spans)
    assert all(0 < tokens <= capacity for tokens in fill.tolist())
    order = np.random.default_rng(len(lengths)).permutation(pieces.sequences)
    drawn = pieces.reordered(order)
    for place, sequence in enumerate(order):
        ours = slice(*drawn.firsts[place : place + 2])
        theirs = slice(*pieces.firsts[sequence : sequence + 2])
        for name in ("documents", "starts", "sizes"):
            assert getattr(drawn, name)[ours].tolist() == getattr(pieces, name)[theirs].tolist()


@settings(max_examples=200, deadline=None)
@given(LENGTHS, CAPACITIES)
@example([3, 3, 3, 3], 4)
@example([], 4)
@example([0, 8, 0], 4)
def test_full_sequences_hold_every_token_once(lengths: list[int], capacity: int) -> None:
    pieces = pack_full(np.array(lengths, np.int64), capacity)
    check(pieces, lengths, capacity)
    assert pieces.sequences == -(-sum(lengths) // capacity)
    assert all(fill == capacity for fill in sorted(np.diff(pieces.totals(pieces.sizes)))[1:])  # one may be padded
    assert len(pieces.starts) <= len(lengths) + pieces.sequences + sum(n // capacity for n in lengths)


@settings(max_examples=200, deadline=None)
@given(LENGTHS, CAPACITIES)
@example([], 4)
def test_what_fits_is_placed_as_by_plain_search(lengths: list[int], capacity: int) -> None:
    pieces = pack_full(np.array(lengths, np.int64), capacity)
    documents = [n for n in lengths if 0 < n < capacity]
    rests = [n % capacity for n in lengths if n > capacity and n % capacity]
    bins = -(-sum(documents + rests) // capacity)
    rooms = [capacity] * bins
    if bins:
        rooms[-1] -= bins * capacity - sum(documents + rests)  # the padding
    rooms, left_documents = rooms_by_search(rooms, documents)
    _, left_rests = rooms_by_search(rooms, rests)
    parts = np.bincount(pieces.documents, minlength=len(lengths)) - np.array([n // capacity for n in lengths], np.int64)
    cut = [n for n, count in zip(lengths, parts, strict=True) if count > 1]
    assert sorted(n for n in cut if n < capacity) == sorted(left_documents)
    assert sorted(n % capacity for n in cut if n > capacity) == sorted(left_rests)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40).flatmap(lambda c: st.tuples(st.just(c), st.lists(st.integers(0, c), max_size=60))))
def test_whole_documents_take_as_many_sequences_as_by_plain_search(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    pieces = pack_whole(np.array(lengths, np.int64), capacity)
    check(pieces, lengths, capacity)
    assert len(pieces.documents) == len(set(pieces.documents.tolist()))
    rooms, left = rooms_by_search([capacity] * len(lengths), [n for n in lengths if n])
    assert not left
    assert sorted(capacity - np.diff(pieces.totals(pieces.sizes))) == [room for room in rooms if room < capacity]


def test_a_document_longer_than_a_sequence_is_cut_into_whole_ones_and_a_rest() -> None:
    pieces = pack_full(np.array([3, 11, 2]), 4)
    rows = [
        sorted(zip(pieces.documents[a:b].tolist(), pieces.sizes[a:b].tolist(), strict=True))
        for a, b in zip(pieces.firsts, pieces.firsts[1:], strict=False)
    ]
    assert rows[:2] == [[(1, 4)], [(1, 4)]]
    assert sorted(rows[2:]) == [[(0, 3), (1, 1)], [(1, 2), (2, 2)]]  # the rest is cut, and not a document
    assert pieces.starts[:2].tolist() == [3, 7]


def test_what_cannot_be_packed_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="found a document of 5 tokens, expected at most 4"):
        pack_whole(np.array([3, 5]), 4)


@pytest.mark.parametrize(("capacity", "window"), [(256, 1024), (2048, 128), (4096, 64)])
def test_fewer_documents_are_cut_than_by_concatenation(capacity: int, window: int) -> None:
    """One in a thousand, of those that fit; lengths as in web text: log-normal, median 300, mean 700 tokens."""
    drawn = np.random.default_rng(capacity).lognormal(np.log(300), 1.3, 40_000).astype(np.int64) + 1
    ends = np.cumsum(drawn)
    lengths = drawn[ends <= capacity * window]
    ends = ends[: len(lengths)]
    crossing = (ends - lengths) // capacity != (ends - 1) // capacity
    concatenated = int((crossing & (lengths <= capacity)).sum())
    assert concatenated > len(lengths) / 20
    assert cut_documents(pack_full(lengths, capacity), lengths, capacity) <= len(lengths) / 1000


def test_equal_documents_that_do_not_fit_twice_are_the_worst_case() -> None:
    """Nothing is left to fit into the rooms, so each sequence's room takes a piece of a document that is cut."""
    lengths = np.full(90, 70)
    pieces = pack_full(lengths, 100)
    assert pieces.sequences == 63
    assert cut_documents(pieces, lengths, 100) == 90 - 63
