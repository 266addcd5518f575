"""Best-fit packing: documents into sequences of one length, cut as seldom as possible.

Ding et al. 2024, "Fewer Truncations Improve Language Modeling" (arXiv 2404.10830): the longest first, each into the
sequence whose room it fills best. A tree over the rooms, 0 to the sequence's length, finds that sequence in
O(log length) steps, so n documents are packed in O(n log length) (`python -m benchmarks loader` times a million).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True)
class Pieces:
    """Stretches of documents, laid out in sequences: those of sequence r are `firsts[r]` to `firsts[r + 1] - 1`.

    int64 arrays, the first three one entry a piece: the document's number, where the piece starts in the
    concatenation of all documents, and its tokens.
    """

    documents: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    firsts: np.ndarray

    @property
    def sequences(self) -> int:
        """How many sequences there are."""
        return len(self.firsts) - 1

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of the pieces' `values` (int64) before each sequence, and of all: `sequences` + 1 numbers."""
        return np.concatenate((np.zeros(1, np.int64), np.cumsum(values)))[self.firsts]

    def reordered(self, order: np.ndarray) -> "Pieces":
        """Return the sequences in another order, a permutation of their numbers."""
        counts = np.diff(self.firsts)[order]
        firsts = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        taken = np.repeat(self.firsts[order] - firsts[:-1], counts) + np.arange(firsts[-1])
        return Pieces(self.documents[taken], self.starts[taken], self.sizes[taken], firsts)


def pack_full(lengths: np.ndarray, capacity: int) -> Pieces:
    """Pack documents of `lengths` tokens into ⌈tokens / capacity⌉ sequences, all full but for one that may be padded.

    A document longer than a sequence is first cut into whole ones and a rest. Then documents that fit in a sequence,
    and after them those rests, the longest first, go where they fit best. What fits nowhere whole fills the largest
    room there is, and what is left of it goes where that fits best. As the rests come last, it is mostly they that are
    cut again, and hardly a document that need not be; the paper packs both together.
    """
    lengths = np.asarray(lengths, np.int64)
    begins = np.cumsum(lengths) - lengths
    whole, rests = lengths // capacity, lengths % capacity
    full = int(whole.sum())
    documents = np.repeat(np.arange(len(lengths)), whole)
    nth = np.arange(full) - np.repeat(np.cumsum(whole) - whole, whole)  # of its document's whole sequences
    owners = np.flatnonzero(rests)
    bins = -(-int(rests.sum()) // capacity)
    padding = bins * capacity - int(rests.sum())
    items, offsets, sizes, places = _best_fit(rests[owners], whole[owners] > 0, capacity, bins, padding)
    owners = owners[items]
    return _pieces(
        np.concatenate((documents, owners)),
        np.concatenate((begins[documents] + nth * capacity, (begins + whole * capacity)[owners] + offsets)),
        np.concatenate((np.full(full, capacity), sizes)),
        np.concatenate((np.arange(full), full + places)),
        full + bins,
    )


def pack_whole(lengths: np.ndarray, capacity: int) -> Pieces:
    """Pack documents of `lengths` tokens, `capacity` at most, into as many sequences as it takes, none of them cut.

    Raises:
        ValueError: a document is longer than a sequence.
    """
    lengths = np.asarray(lengths, np.int64)
    if (longest := lengths.max(initial=0)) > capacity:
        raise ValueError(f"found a document of {longest} tokens, expected at most {capacity}")
    begins = np.cumsum(lengths) - lengths
    owners = np.flatnonzero(lengths)
    items, _, sizes, places = _best_fit(lengths[owners], np.zeros(len(owners), np.bool_), capacity, len(owners), 0)
    owners = owners[items]
    return _pieces(owners, begins[owners], sizes, places, int(places.max(initial=-1)) + 1)


def _pieces(documents: np.ndarray, starts: np.ndarray, sizes: np.ndarray, places: np.ndarray, count: int) -> Pieces:
    order = np.argsort(places, kind="stable")
    firsts = np.concatenate((np.zeros(1, np.int64), np.cumsum(np.bincount(places, minlength=count))))
    return Pieces(documents[order], starts[order], sizes[order], firsts)


@njit(cache=True, nogil=True)
def _best_fit(
    sizes: np.ndarray, last: np.ndarray, capacity: int, bins: int, padding: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # pragma: no cover - compiled
    """Place items of 1 to `capacity` in `bins` bins, taken in turn, of which the last has `padding` less room.

    Those that are `last` come after the others. All in all there must be room for them.

    Returns:
        Each piece's item, offset in it, size and bin. Nothing is cut where there are as many bins as items.
    """
    count = len(sizes)
    most = count + bins  # a cut fills a bin, so there are no more cuts than bins
    items, offsets = np.empty(most, np.int64), np.zeros(most, np.int64)
    taken, places = np.empty(most, np.int64), np.empty(most, np.int64)
    leaves = 1
    while leaves <= capacity:
        leaves *= 2
    tree = np.zeros(2 * leaves, np.bool_)  # of node n: 2n and 2n + 1; leaf r: is there a bin with room for just r?
    top = np.full(capacity + 1, -1)  # by room, the first of the bins that have it …
    below = np.empty(bins, np.int64)  # … and by bin, the next of them
    for place in range(bins - 1, -1, -1):
        _push(tree, top, below, place, capacity if place < bins - 1 else capacity - padding)

    # the longest first, of equal ones the earlier, all of `last` behind the others: a counting sort
    keys = capacity - sizes + capacity * last
    ends = np.zeros(2 * capacity + 1, np.int64)
    for key in keys:
        ends[key + 1] += 1
    ends = np.cumsum(ends)
    order = np.empty(count, np.int64)
    for i in range(count):
        order[ends[keys[i]]] = i
        ends[keys[i]] += 1

    found = left = 0
    for item in order:
        room = _least_room(tree, sizes[item])
        if room < 0:
            order[left] = item  # behind what is read already
            left += 1
        else:
            items[found], taken[found], places[found] = item, sizes[item], _pop(tree, top, below, room)
            _push(tree, top, below, places[found], room - sizes[item])
            found += 1
    for item in order[:left]:
        offset = 0
        while offset < sizes[item]:
            rest = sizes[item] - offset
            room = _least_room(tree, rest)
            if room < 0:
                room = _most_room(tree)
                rest = room
            items[found], offsets[found], taken[found] = item, offset, rest
            places[found] = _pop(tree, top, below, room)
            _push(tree, top, below, places[found], room - rest)
            found += 1
            offset += rest
    return items[:found], offsets[:found], taken[:found], places[:found]


@njit(cache=True, nogil=True)
def _push(
    tree: np.ndarray, top: np.ndarray, below: np.ndarray, place: int, room: int
) -> None:  # pragma: no cover - compiled
    """Put a bin among those of its room; a full one is not kept."""
    if room == 0:
        return
    below[place] = top[room]
    top[room] = place
    node = len(tree) // 2 + room
    while node and not tree[node]:
        tree[node] = True
        node //= 2


@njit(cache=True, nogil=True)
def _pop(tree: np.ndarray, top: np.ndarray, below: np.ndarray, room: int) -> int:  # pragma: no cover - compiled
    """Take a bin of just this room."""
    place = top[room]
    top[room] = below[place]
    if top[room] < 0:
        node = len(tree) // 2 + room
        tree[node] = False
        while node > 1 and not tree[node ^ 1]:
            node //= 2
            tree[node] = False
    return int(place)


@njit(cache=True, nogil=True)
def _least_room(tree: np.ndarray, size: int) -> int:  # pragma: no cover - compiled
    """Return the least room of a bin that `size` fits in, or -1."""
    leaves = len(tree) // 2
    node = leaves + size
    if tree[node]:
        return size
    while node > 1:
        if node % 2 == 0 and tree[node + 1]:
            node += 1
            while node < leaves:
                node = 2 * node if tree[2 * node] else 2 * node + 1
            return node - leaves
        node //= 2
    return -1


@njit(cache=True, nogil=True)
def _most_room(tree: np.ndarray) -> int:  # pragma: no cover - compiled
    """Return the most room of a bin; there must be one that is not full."""
    leaves = len(tree) // 2
    node = 1
    while node < leaves:
        node = 2 * node + 1 if tree[2 * node + 1] else 2 * node
    return node - leaves
