"""Work in threads whose results come in order."""

from threading import Barrier, Event, Lock

import pytest

from components.stores.objects.read_ahead import read_ahead


def test_results_come_in_the_order_of_the_items_whichever_is_done_first():
    """The first item waits for the last one's end."""
    last = Event()

    def work(item):
        if item == 0:
            assert last.wait(20)
        if item == 3:
            last.set()
        return item * 10

    assert list(read_ahead(work, range(4), at_most=4, threads=4)) == [0, 10, 20, 30]


def test_items_are_worked_on_at_once():
    """Four threads meet; one after the other they would wait for each other for ever."""
    meet = Barrier(4)
    assert list(read_ahead(lambda item: meet.wait(20) >= 0, range(4), at_most=4, threads=4)) == [True] * 4


def test_no_more_is_begun_than_the_costs_allow():
    """Costs 3, 3, 3, 9, 3 with at most 6: two at once, and the dear one alone."""
    lock, begun, most = Lock(), [], []

    def work(cost):
        with lock:
            begun.append(cost)
        return cost

    taken = 0
    for cost in read_ahead(work, [3, 3, 3, 9, 3], at_most=6, cost=lambda cost: cost, threads=5):
        with lock:
            most.append(sum(begun) - taken)
        taken += cost
    assert max(most) <= 9
    assert most[0] <= 6
    assert most[3] == 9


def test_of_two_errors_the_first_in_order_is_raised_and_what_was_not_begun_never_is():
    """The error of the earlier item is raised, even where the later item failed first."""
    second_failed = Event()
    begun = []

    def work(item):
        begun.append(item)
        if item == 1:
            assert second_failed.wait(20)
            raise ValueError("of item 1")
        if item == 2:
            second_failed.set()
            raise ValueError("of item 2")
        return item

    results = read_ahead(work, range(100), at_most=4, threads=4)
    assert next(results) == 0
    with pytest.raises(ValueError, match="of item 1"):
        next(results)
    assert max(begun) <= 5


def test_no_items_give_no_results():
    """Without items there are no results, and no thread is left."""
    assert list(read_ahead(lambda item: item, [], at_most=1)) == []
