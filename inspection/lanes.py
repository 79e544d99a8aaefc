"""Runs the same work on several things at once, on a few threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def each(work: Callable[[int], T], count: int, lanes: int) -> list[T]:
    """The results of `work(0)`, …, `work(count - 1)`, in this order, computed by `lanes` threads at the same time.

    The caller's thread is one of them; with one lane, or one thing, there is no other. The other threads end before
    this returns.

    Raises:
        Exception: the first that `work` raised; nothing is begun after it.
    """
    if lanes <= 1 or count <= 1:
        return [work(number) for number in range(count)]
    results: dict[int, T] = {}
    failures: list[BaseException] = []
    numbers = iter(range(count))
    lock = threading.Lock()

    def run() -> None:
        while not failures:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            try:
                results[number] = work(number)
            except BaseException as e:
                failures.append(e)

    others = [threading.Thread(target=run, name=f"lane-{lane}") for lane in range(1, min(lanes, count))]
    for other in others:
        other.start()
    run()
    for other in others:
        other.join()
    if failures:
        raise failures[0]
    return [results[number] for number in range(count)]
