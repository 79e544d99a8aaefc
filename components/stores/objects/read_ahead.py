"""Work on many images at once, in order, with so much and no more in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

READERS: Final = 16
"""Images that are asked of S3 at once: what is waited for is mostly the network, even on two cores."""

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
    """What `work` makes of each item, in the order of the items, while threads are busy with the next ones.

    An error is raised in its item's turn, so that the first in order is the one that is raised, whichever came first
    in time; what was not begun by then never is, and what was is waited for.

    Args:
        at_most: the costs of all items that are begun and not yet taken; one item is always let in.
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
