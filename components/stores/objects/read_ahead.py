"""Work on many items at once, in order, with a bound on what is in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

READERS: Final = 16
"""How many images are read from S3 at once. Reading mostly waits for the network, even on two cores."""

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    at_most: int,
    cost: Callable[[T], int] = lambda item: 1,
    threads: int = READERS,
) -> Iterator[R]:
    """Yield the result of `work` for each item, in the order of the items, while threads work on the next ones.

    An error is raised in its item's turn, so the first error in the order of the items is raised, whichever happened
    first. Items that are not begun by then are dropped; the call waits for those that are.

    Args:
        at_most: the total cost of the items that are begun and not yet yielded. One item is always allowed.
        cost: of an item, e.g. its pixels.
    """
    begun: deque[tuple[Future[R], int]] = deque()
    held = 0
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                more = cost(item)
                while begun and held + more > at_most:
                    done, less = begun.popleft()
                    yield done.result()
                    held -= less
                begun.append((pool.submit(work, item), more))
                held += more
            while begun:
                yield begun.popleft()[0].result()
        finally:
            for waiting, _ in begun:
                waiting.cancel()
