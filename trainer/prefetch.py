"""Makes a loader's batches in the background, while the model is at work on the one before."""

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import TypeVar

T = TypeVar("T")


def prefetch(iterator: Iterator[T], depth: int = 2) -> Iterator[T]:
    """Yield the iterator's items in its order; a thread makes up to `depth` of them ahead.

    The thread begins with the first item that is asked for. An exception of the iterator reaches the caller in its
    place. When the caller stops early (the generator is closed or goes out of use), the thread ends after the item
    that it is at, the iterator is closed, and only then does this return.

    Raises:
        ValueError: `depth` is less than one.
    """
    if depth < 1:
        raise ValueError(f"depth: found {depth}, expected at least one item ahead")
    return _prefetch(iterator, depth)


def _prefetch(iterator: Iterator[T], depth: int) -> Iterator[T]:
    ready: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()  # an item, or why there is none any more
    free = Semaphore(depth)
    stopped = False

    def produce() -> None:
        end: BaseException | None = None
        try:
            while free.acquire() and not stopped:
                try:
                    item = next(iterator)
                except StopIteration:
                    break
                ready.put((item,))
            close = getattr(iterator, "close", None)  # in the thread that ran it
            if close is not None:
                close()
        except BaseException as error:  # it is raised where the items are taken
            end = error
        ready.put(end)

    thread = Thread(target=produce, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            found = ready.get()
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            free.release()
            yield found[0]
    finally:
        stopped = True
        free.release()
        thread.join()
