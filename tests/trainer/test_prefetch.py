"""Items arrive in order and ahead, errors arrive too, and no thread outlives its consumer."""

import threading
import time
from collections.abc import Iterator

import pytest

from trainer.prefetch import prefetch


class Source:
    """Counts up to `count`, then raises `error` if there is one; knows what it made and whether it was closed."""

    def __init__(self, count: int, error: BaseException | None = None) -> None:
        self.made, self.closed = 0, False
        self.items = self._items(count, error)

    def _items(self, count: int, error: BaseException | None) -> Iterator[int]:
        try:
            for number in range(count):
                self.made += 1
                yield number
            if error is not None:
                raise error
        finally:
            self.closed = True


def wait_for(count: int, source: Source) -> None:
    deadline = time.monotonic() + 5
    while source.made < count and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)  # in which more would be made, if it could
    assert source.made == count


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize("depth", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 50])
def test_all_items_in_order(count: int, depth: int) -> None:
    source = Source(count)
    assert list(prefetch(source.items, depth)) == list(range(count))
    assert source.closed
    assert not alive()


@pytest.mark.parametrize("depth", [1, 3])
def test_so_many_are_made_ahead_and_no_more(depth: int) -> None:
    source = Source(50)
    found = prefetch(source.items, depth)
    assert source.made == 0
    next(found)
    wait_for(1 + depth, source)
    next(found)
    wait_for(2 + depth, source)
    del found
    assert not alive()


@pytest.mark.parametrize("error", [ValueError("row 3"), KeyboardInterrupt()])
def test_an_error_comes_after_the_items_before_it(error: BaseException) -> None:
    source, found = Source(3, error), []
    with pytest.raises(type(error)) as caught:
        for item in prefetch(source.items):
            found.append(item)
    assert caught.value is error
    assert found == [0, 1, 2]
    assert not alive()


@pytest.mark.parametrize("taken", [1, 4])
def test_a_consumer_that_stops_early_leaves_no_thread(taken: int) -> None:
    source = Source(1_000_000)
    for item in prefetch(source.items):
        if item == taken - 1:
            break
    assert not alive()
    assert source.closed
    assert source.made <= taken + 3


def test_a_consumer_that_fails_leaves_no_thread() -> None:
    source = Source(1_000_000)

    def consume() -> None:
        with_items = prefetch(source.items)
        next(with_items)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        consume()
    assert not alive()


def test_depth_of_none_is_refused() -> None:
    with pytest.raises(ValueError, match="depth: found 0"):
        prefetch(iter([1]), 0)
