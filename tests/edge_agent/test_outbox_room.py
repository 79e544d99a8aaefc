"""Room in the outbox: nothing is dropped in vain, the index shrinks again, and counting does not look at each row."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config import OutboxLimits
from edge_agent.disk import RealDisk
from edge_agent.errors import StateError
from edge_agent.outbox import Outbox
from edge_agent.outbox_order import droppable_bytes, next_to_go, standing
from edge_agent.outbox_schema import Priority, connect
from inspection import Reason, Verdict
from tests.edge_agent.outbox_items import LIMITS, image, put, result


class SharedDisk(RealDisk):
    """A disk that other programs write to as well: `others` are their bytes."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.others, self.folder = size, 0, Path()

    def free_bytes(self, path: Path) -> int:
        return self.size - self.others - sum(file.stat().st_size for file in path.iterdir())


def test_where_other_data_fills_the_disk_only_the_new_image_goes(tmp_path):
    """To drop all that waits would not make room, so it stays for the day when there is room again."""
    disk = SharedDisk(10_000_000)
    outbox = Outbox(tmp_path, OutboxLimits(min_free_bytes=1_000_000), disk=disk)
    for number in range(20):
        put(outbox, number, reason=Reason.CONTROL)
    disk.others = 9_500_000
    put(outbox, 20, verdict=Verdict.FAIL)
    assert outbox.depth() == {
        "result": 21,
        "objection": 0,
        "defect": 0,
        "uncertain": 0,
        "control": 20,
        "nothing_found": 0,
    }
    assert outbox.counts("dropped") == {"defect": 1}
    outbox.close()


def test_where_dropping_helps_less_important_images_make_room(tmp_path):
    """As many as needed go, oldest first, and no more."""
    size = len(image(0).data)
    disk = SharedDisk(20 * size + size // 2)
    outbox = Outbox(tmp_path, OutboxLimits(min_free_bytes=0), disk=disk)
    for number in range(20):
        put(outbox, number, reason=Reason.CONTROL)
    put(outbox, 20, verdict=Verdict.FAIL)
    assert outbox.depth()["defect"] == 1
    assert 17 <= outbox.depth()["control"] <= 19
    outbox.close()


def test_an_image_that_is_larger_than_the_outbox_empties_nothing(tmp_path):
    """Its result is kept, and it is counted as dropped."""
    small = image(0)
    outbox = Outbox(tmp_path, OutboxLimits(min_free_bytes=0, max_bytes=6 * (len(small.data) + 1500)))
    for number in range(3):
        put(outbox, number)
    large = image(9)
    outbox.add_image(type(large)(large.capture, large.key, large.data * 1000))
    assert outbox.depth()["uncertain"] == 3
    assert outbox.dropped() == 1
    outbox.close()


def test_the_tally_is_that_of_the_rows_after_any_history(tmp_path):
    """Bytes and numbers are kept while they change; an image that items share counts once, whichever leaves first."""
    outbox = Outbox(tmp_path, LIMITS)
    for number in range(6):
        put(outbox, number, seed=number // 3, reason=Reason.CONTROL if number % 2 else Reason.UNCERTAIN)
    files = {path.name: path.stat().st_size for path in outbox.image_folder.iterdir()}
    assert len(files) == 2
    while (item := outbox.next_image()) is not None:
        waiting = outbox.images(100) + outbox.results(100)
        on_disk = sum(path.stat().st_size for path in outbox.image_folder.iterdir())
        assert outbox.bytes_used() == on_disk + sum(len(other.payload) for other in waiting)
        assert sum(outbox.depth().values()) == len(waiting)
        outbox.delivered(item)
    before = outbox.depth(), outbox.bytes_used()
    outbox.close()
    again = Outbox(tmp_path, LIMITS)
    assert (again.depth(), again.bytes_used()) == before
    again.close()


def test_a_transaction_that_fails_changes_no_tally(tmp_path):
    """Otherwise the outbox would think itself fuller with each error."""
    outbox = Outbox(tmp_path, LIMITS)
    put(outbox, 1)
    before = outbox.depth(), outbox.bytes_used()
    index = outbox._index

    def fail() -> None:
        with index.transaction() as db:
            index.insert("result", Priority.RESULT, 1.0, "x", b"payload")
            db.execute("SELECT * FROM a_table_that_is_not_there")

    with pytest.raises(StateError):
        fail()
    assert (outbox.depth(), outbox.bytes_used()) == before
    outbox.close()


def fill_and_empty(outbox: Outbox, number: int) -> tuple[int, int]:
    """Sizes of the index when full and when everything is delivered."""
    index = outbox.image_folder.parent / "outbox.sqlite"
    with outbox._index.transaction():
        for at in range(number):
            outbox._index.insert("result", Priority.RESULT, 1.0, f"{at:032x}", b"x" * 3000)
    outbox._index._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    full = index.stat().st_size
    items = outbox.results(number)
    with outbox._index.transaction():
        for item in items:
            outbox._index.delete(item.item_id)
    outbox._index._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return full, index.stat().st_size


def test_the_index_shrinks_again_after_an_outage(tmp_path):
    """The pages of what was delivered go back to the disk, but for a megabyte."""
    outbox = Outbox(tmp_path, LIMITS)
    full, empty = fill_and_empty(outbox, 2000)
    outbox.close()
    assert full > 6_000_000
    assert empty < 1_500_000


def test_the_index_of_an_earlier_agent_shrinks_too(tmp_path):
    """It is written anew once, at the first start of this agent, and holds what it held."""
    old = connect(tmp_path / "outbox.sqlite")
    old.execute("PRAGMA auto_vacuum=NONE")
    old.execute("PRAGMA journal_mode=DELETE")
    old.execute("VACUUM")
    assert old.execute("PRAGMA auto_vacuum").fetchone() == (0,)
    old.close()
    outbox = Outbox(tmp_path, LIMITS)
    outbox.record("f1", result(1), None, publish=True)
    outbox.close()
    outbox = Outbox(tmp_path, LIMITS)
    _, empty = fill_and_empty(outbox, 1000)
    assert empty < 1_500_000
    outbox.close()


def test_a_few_control_frames_stay_when_an_outbox_fills_up_with_other_images(tmp_path):
    """They alone estimate the line. The oldest of what is over their share goes first, and defects go before them."""
    size = len(image(0).data) + len(image(0).capture.to_json())
    outbox = Outbox(tmp_path, OutboxLimits(min_free_bytes=0, max_bytes=60 * size))

    def add(number: int, **kind) -> None:
        outbox.record(f"f{number}", result(number), image(number, **kind), publish=False)

    for number in range(30):
        add(number, reason=Reason.CONTROL)
    for number in range(30, 200):
        add(number, verdict=Verdict.FAIL if number % 2 else Verdict.UNCERTAIN)
    depth = outbox.depth()
    images = depth["control"] + depth["defect"] + depth["uncertain"]
    assert 1 <= depth["control"] <= max(2, 0.06 * images)
    assert depth["uncertain"] == 0
    assert depth["defect"] > 10
    before = outbox.depth()["defect"]
    for number in range(200, 202):
        add(number, reason=Reason.NOTHING_FOUND)
    assert outbox.depth()["nothing_found"] == 0
    assert before - outbox.depth()["defect"] <= 2
    outbox.close()


def test_the_order_in_which_classes_go():
    """Control frames over their share go before doubtful ones; within it, after defects and before objections."""
    waiting = dict.fromkeys(Priority, 100)
    assert next_to_go(waiting, 50, 0.0) is Priority.NOTHING_FOUND
    waiting[Priority.NOTHING_FOUND] = 0
    assert next_to_go(waiting, 50, 0.0) is Priority.CONTROL
    assert next_to_go(waiting, 100, 0.0) is Priority.UNCERTAIN
    waiting[Priority.UNCERTAIN] = 0
    assert next_to_go(waiting, 100, 0.0) is Priority.DEFECT
    waiting[Priority.DEFECT] = 0
    assert next_to_go(waiting, 100, 0.0) is Priority.CONTROL
    assert next_to_go(waiting, 100, 2.0) is None
    waiting[Priority.CONTROL] = 0
    assert next_to_go(waiting, 100, 0.0) is Priority.OBJECTION
    assert next_to_go(dict.fromkeys(Priority, 0), 100, 0.0) is None
    full = dict.fromkeys(Priority, 100)
    assert droppable_bytes(full, 30, standing(Priority.DEFECT, 100, 30)) == 100 + 100 + 70 + 100
    assert droppable_bytes(full, 30, standing(Priority.CONTROL, 30, 30)) == 100 + 100 + 100 + 100
    assert droppable_bytes(full, 30, standing(Priority.NOTHING_FOUND, 100, 30)) == 100
