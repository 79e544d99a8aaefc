"""The outbox keeps its items through kills, full disks and long outages, and counts what it drops."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.config import OutboxLimits
from edge_agent.disk import RealDisk
from edge_agent.errors import StateError, StoreUnavailable
from edge_agent.outbox import ANSWERS_KEPT, Outbox
from edge_agent.outbox_index import EXPIRED, FIRST_IMAGE_TO_GO, NEXT_IMAGE, OLDEST_RESULTS
from edge_agent.outbox_recovery import _salvage
from edge_agent.outbox_schema import SCHEMA_VERSION, Priority, connect
from edge_agent.result import Result
from edge_agent.uploader import Uploader
from inspection import Capture, Reason, Verdict, capture_key, parse_raw_key
from tests.edge_agent.outbox_items import LIMITS, image, put, result
from tests.edge_agent.stores import FolderStore, MemoryStore


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    yield outbox
    outbox.close()


def test_a_frame_recorded_twice_is_recorded_once(outbox):
    """A start after a kill between recording and putting away does not double the frame."""
    assert put(outbox, 1) is True
    assert put(outbox, 1) is False
    assert outbox.depth()["result"] == outbox.depth()["uncertain"] == 1
    assert outbox.counters()["frames"] == 1
    outbox.forget("f1")
    assert outbox.recorded_keys() == ()


def test_results_leave_in_order_and_images_by_importance(outbox):
    """Results are sent in order; images are sent by importance, and the oldest first within a class."""
    kinds = [(Reason.CONTROL, Verdict.PASS), (Reason.UNCERTAIN, Verdict.PASS), (Reason.UNCERTAIN, Verdict.FAIL),
             (Reason.OBJECTION, Verdict.PASS), (Reason.UNCERTAIN, Verdict.PASS)]  # fmt: skip
    for number, (reason, verdict) in enumerate(kinds):
        put(outbox, number, reason=reason, verdict=verdict)
    assert [item.capture_id[-1] for item in outbox.results(10)] == ["0", "1", "2", "3", "4"]
    order = []
    while (item := outbox.next_image()) is not None:
        order.append((item.priority.name, item.capture_id[-1]))
        outbox.delivered(item)
    assert order == [("OBJECTION", "3"), ("DEFECT", "2"), ("UNCERTAIN", "1"), ("UNCERTAIN", "4"), ("CONTROL", "0")]
    assert list(outbox.image_folder.iterdir()) == []


def test_the_same_picture_twice_is_one_file_and_two_captures(outbox):
    """Two captures of one picture share a file, which stays until both are delivered."""
    for number in (1, 2):
        outbox.record(f"f{number}", result(number), image(number, seed=7), publish=False)
    assert len(list(outbox.image_folder.iterdir())) == 1
    outbox.delivered(outbox.next_image())
    assert outbox.next_image().image_file.exists()
    outbox.delivered(outbox.next_image())
    assert list(outbox.image_folder.iterdir()) == []


def test_over_the_cap_the_least_important_and_oldest_goes_and_is_counted(tmp_path):
    """Over the cap, control images are dropped first, then uncertain ones, then results, and each drop is counted."""
    size = len(image(0).data)
    outbox = Outbox(tmp_path, OutboxLimits(max_bytes=8 * (size + 1500), min_free_bytes=0))
    for number in range(40):
        put(outbox, number, reason=Reason.CONTROL if number % 2 else Reason.UNCERTAIN)
    depth, counters = outbox.depth(), outbox.counters()
    assert outbox.bytes_used() <= 8 * (size + 1500)
    assert depth["control"] == 0
    assert counters["dropped.control"] == 20
    assert counters["dropped.uncertain"] == 20 - depth["uncertain"]
    assert outbox.dropped() == 40 - depth["uncertain"] + (40 - depth["result"])
    assert len(list(outbox.image_folder.iterdir())) == depth["uncertain"]
    used = outbox.bytes_used()
    outbox.close()
    again = Outbox(tmp_path, OutboxLimits(min_free_bytes=0))
    assert again.bytes_used() == used
    again.close()


def test_what_is_too_old_goes(tmp_path):
    """Items that are older than the limit are dropped and counted."""
    now = [1_000_000.0]
    outbox = Outbox(tmp_path, OutboxLimits(max_age_days=10, min_free_bytes=0), monotonic=lambda: now[0])
    put(outbox, 1)
    now[0] += 11 * 86400
    put(outbox, 2)
    assert [item.capture_id[-1] for item in outbox.results(10)] == ["2"]
    assert outbox.dropped() == 2
    outbox.close()


class AlmostFull(RealDisk):
    def free_bytes(self, path: Path) -> int:
        return 1000


def test_without_free_disk_the_image_is_dropped_and_the_result_kept(tmp_path):
    """Without free disk the image is dropped and counted, and the result is recorded for the line."""
    outbox = Outbox(tmp_path, OutboxLimits(min_free_bytes=100_000), disk=AlmostFull())
    assert put(outbox, 1) is True
    assert (outbox.depth()["result"], outbox.depth()["uncertain"], outbox.dropped()) == (1, 0, 1)
    outbox.close()


class Full(RealDisk):
    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_a_result_in_memory_and_says_so(tmp_path):
    """The frame is known when it comes again, its result goes to the line, and nothing of it is on the disk."""
    outbox = Outbox(tmp_path, LIMITS, disk=Full())
    assert put(outbox, 1) is True
    assert outbox.is_recorded("f1")
    assert [item.capture_id for item in outbox.results(10)] == [result(1).capture_id]
    assert "free some disk" in outbox.problem
    assert outbox.counters() == {}
    outbox.close()


def test_a_file_without_a_row_is_removed_at_the_start(tmp_path):
    """A start removes image files without a row, which a kill between the two writes leaves behind."""
    Outbox(tmp_path, LIMITS).close()
    (tmp_path / "images" / "orphan.png").write_bytes(b"x")
    (tmp_path / "images" / ".half.tmp").write_bytes(b"x")
    outbox = Outbox(tmp_path, LIMITS)
    assert list(outbox.image_folder.iterdir()) == []
    outbox.close()


def test_uploads_put_the_image_then_its_capture(outbox):
    """An upload puts the image and its capture under the raw bucket's keys, and the capture has the time of sending."""
    put(outbox, 1, reason=Reason.CONTROL)
    store = MemoryStore()
    uploader = Uploader(outbox, store, "kizu-raw")
    assert uploader.send_next() is True
    assert uploader.send_next() is False
    expected = image(1, reason=Reason.CONTROL)
    assert store.objects["kizu-raw", expected.key] == expected.data
    capture = Capture.from_json(store.objects["kizu-raw", capture_key(expected.key, expected.capture.capture_id)])
    assert (capture.reason, capture.sha256) == (Reason.CONTROL, expected.capture.sha256)
    assert capture.sent_at is not None


def test_an_outage_keeps_everything(outbox):
    """An outage drops nothing, and afterwards every image and capture is sent once."""
    for number in range(10):
        put(outbox, number)
    store = MemoryStore()
    store.down = True
    uploader = Uploader(outbox, store, "kizu-raw")
    with pytest.raises(StoreUnavailable):
        uploader.send_next()
    assert outbox.depth()["uncertain"] == 10
    store.down = False
    while uploader.send_next():
        pass
    assert len(store.keys("kizu-raw")) == 20
    assert outbox.depth()["uncertain"] == 0


def test_a_damaged_image_is_dropped_counted_and_does_not_block_the_others(outbox):
    """A damaged image is dropped and counted, never sent under another image's key, and does not block the others."""
    put(outbox, 1)
    put(outbox, 2)
    outbox.next_image().image_file.write_bytes(b"rot")
    store = MemoryStore()
    uploader = Uploader(outbox, store, "kizu-raw")
    while uploader.send_next():
        pass
    assert len(store.keys("kizu-raw")) == 2
    assert outbox.dropped() == 1


def test_an_index_of_version_1_keeps_everything_under_columns_of_their_own(tmp_path):
    """Items, frames in hand and counters of an earlier agent are there, and work, after the start of this one."""
    from tests.edge_agent import old_outbox

    old_outbox.write(tmp_path)
    used = sum(path.stat().st_size for path in (tmp_path / "images").iterdir())
    outbox = Outbox(tmp_path, LIMITS)
    assert outbox.counters() == old_outbox.COUNTERS
    assert outbox.counts("verdict") == {"pass": 3, "fail": 1}
    assert outbox.counts("skipped") == {"top.left": 8}
    assert outbox.counts("verdict", day="2026-01-02") == {"pass": 1, "fail": 1}
    assert outbox.depth() == {
        "result": 4,
        "objection": 1,
        "defect": 0,
        "uncertain": 0,
        "control": 1,
        "nothing_found": 0,
    }
    assert outbox.bytes_used() > used
    assert [int(item.capture_id, 16) for item in outbox.results(10)] == [0, 1, 2, 3]
    assert [item.capture_id for item in outbox.results(10)] == [result(number).capture_id for number in range(4)]
    assert (outbox.is_recorded("top/3"), outbox.is_recorded("top/9")) == (True, False)
    assert sorted(outbox.recorded_keys()) == ["top/3", "top/9"]
    outbox.forget("top/3")
    outbox.forget("top/9")
    assert outbox.counts("rejected") == {"truncated": 6, "not-an-image": 1}
    first = outbox.next_image()
    assert (first.priority, first.image_file.read_bytes()) == (Priority.OBJECTION, image(1, Reason.OBJECTION).data)
    outbox.delivered(first)
    assert outbox.next_image().priority is Priority.CONTROL
    put(outbox, 1, reason=Reason.OBJECTION)
    assert outbox.depth()["result"] == 4, "the result of frame 1 waits already"
    outbox.close()
    again = Outbox(tmp_path, LIMITS)
    assert (again.depth()["result"], again.total("frames")) == (4, 5)
    again.close()


@pytest.mark.parametrize("table", ["item", "taken", "counter", "age"])
def test_a_start_that_an_earlier_agent_did_not_finish_is_finished(tmp_path, table):
    """An agent of version 1 made its tables one by one, and may have been killed before it made this one."""
    from tests.edge_agent import old_outbox

    old_outbox.write(tmp_path)
    db = sqlite3.connect(tmp_path / "outbox.sqlite", isolation_level=None)
    db.execute(f"DROP TABLE {table}")
    db.execute("PRAGMA user_version=0")
    db.close()
    outbox = Outbox(tmp_path, LIMITS)
    assert put(outbox, 20) is True
    assert outbox.depth()["result"] == (1 if table == "item" else 5)
    outbox.close()


def test_the_tables_are_the_same_whether_new_or_of_an_earlier_agent(tmp_path):
    """A new index and one that an earlier agent wrote end with the same tables and indexes."""
    from tests.edge_agent import old_outbox

    old_outbox.write(tmp_path / "old")
    columns = []
    for name in ("old", "new"):
        Outbox(tmp_path / name, LIMITS).close()
        db = sqlite3.connect(tmp_path / name / "outbox.sqlite")
        tables = ("item", "taken", "counter", "age", "answer")
        columns.append({table: db.execute(f"PRAGMA table_info({table})").fetchall() for table in tables})
        columns[-1]["indexes"] = db.execute("SELECT name FROM sqlite_schema WHERE type = 'index' ORDER BY 1").fetchall()
        db.close()
    assert columns[0] == columns[1]


def test_an_index_of_a_newer_agent_is_refused(tmp_path):
    """An index of a newer agent raises an error, because an older agent does not know its format."""
    Outbox(tmp_path, LIMITS).close()
    db = sqlite3.connect(tmp_path / "outbox.sqlite", isolation_level=None)
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StateError, match="written by a newer agent"):
        Outbox(tmp_path, LIMITS)


@pytest.mark.parametrize("clause", [OLDEST_RESULTS, NEXT_IMAGE, FIRST_IMAGE_TO_GO, EXPIRED])
def test_each_query_of_the_outbox_goes_through_an_index_and_sorts_nothing(outbox, tmp_path, clause):
    """Each query uses an index and no sort, so that a long outage does not make a frame slower."""
    db = sqlite3.connect(tmp_path / "outbox" / "outbox.sqlite")
    plan = " / ".join(
        row[3] for row in db.execute(f"EXPLAIN QUERY PLAN SELECT payload FROM item WHERE {clause}", (0, 1))
    )
    db.close()
    assert "USING" in plan, plan
    assert "SCAN" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan


_WRITER = """
import sys, json
from pathlib import Path
from edge_agent.outbox import Outbox
from edge_agent.uploader import Uploader
from tests.edge_agent.outbox_items import LIMITS, put
from tests.edge_agent.stores import FolderStore
outbox = Outbox(Path(sys.argv[1]) / "outbox", LIMITS)
uploader = Uploader(outbox, FolderStore(Path(sys.argv[1]) / "s3"), "kizu-raw")
for number in range(int(sys.argv[2]), 100000):
    put(outbox, number)
    print(number, flush=True)
    if number % 3 == 0:
        uploader.send_next()
"""


def test_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path):
    """A writer that also uploads is killed six times; all frames that it acknowledged arrive, each once."""
    start, acknowledged = 0, []
    spread = random.Random(5)
    root = Path(__file__).resolve().parents[2]
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(start)],
            stdout=subprocess.PIPE, env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"}, cwd=root,
        )  # fmt: skip
        lines = [process.stdout.readline()]  # it has begun
        time.sleep(spread.uniform(0.02, 0.4))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
        process.stdout.close()
        process.wait()
        acknowledged += [int(line) for line in lines if line.endswith(b"\n")]
        start = acknowledged[-1] + 2  # the next may or may not have been recorded
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    assert all(outbox.is_recorded(f"f{number}") for number in acknowledged)
    results = [json.loads(item.payload)["capture_id"] for item in outbox.results(100_000)]
    assert len(results) == len(set(results))
    assert {f"{number:032x}" for number in acknowledged} <= set(results)
    store = FolderStore(tmp_path / "s3")
    uploader = Uploader(outbox, store, "kizu-raw")
    while uploader.send_next():
        pass
    keys = [parse_raw_key(str(path.relative_to(store.folder))) for path in store.folder.rglob("*") if path.is_file()]
    sent = [key.capture_id for key in keys if key is not None and key.capture_id is not None]
    assert len(sent) == len(set(sent))
    assert {f"{number:032x}" for number in acknowledged} <= set(sent)
    assert outbox.dropped() == 0
    print(f"{len(acknowledged)} frames acknowledged over 6 kills")
    outbox.close()


def test_priorities_are_those_of_the_reasons():
    """A defect is more important than a doubt, and an objection more than both."""
    assert Priority.of(Reason.OBJECTION, Verdict.FAIL) is Priority.OBJECTION
    assert Priority.of(Reason.UNCERTAIN, Verdict.FAIL) is Priority.DEFECT
    assert Priority.of(Reason.UNCERTAIN, Verdict.UNCERTAIN) is Priority.UNCERTAIN
    assert Priority.of(Reason.NOTHING_FOUND, Verdict.PASS) is Priority.NOTHING_FOUND
    # A share of defects can be estimated only where control frames of all verdicts are dropped alike.
    assert {Priority.of(Reason.CONTROL, verdict) for verdict in Verdict} == {Priority.CONTROL}


def test_the_answers_to_idempotency_keys_outlive_the_agent_and_are_bounded(tmp_path):
    """Each is durable together with its result. The oldest keys go first; a key that comes again is the newest."""
    outbox = Outbox(tmp_path, LIMITS)
    outbox.record("f0", result(0), None, publish=True, request_key="first")
    for number in range(1, ANSWERS_KEPT):
        outbox._index._db.execute("INSERT INTO answer (request_key, result) VALUES (?, ?)", (f"k{number}", b"{}"))
    outbox.close()
    again = Outbox(tmp_path, LIMITS)
    assert again.answer("first") == result(0)
    assert again.answer("of nobody") is None
    again.record("f1", result(1), None, publish=True, request_key="newest")
    assert (again.answer("first"), again.answer("newest")) == (None, result(1))
    with pytest.raises(StateError, match="'k1' is damaged"):
        again.answer("k1")
    again.close()


def test_an_index_of_version_2_gets_the_table_of_answers_and_keeps_its_items(tmp_path):
    """An agent that is renewed goes on with what waits, and reads what it can from a damaged index of that version."""
    outbox = Outbox(tmp_path, LIMITS)
    put(outbox, 1)
    outbox.close()
    db = sqlite3.connect(tmp_path / "outbox.sqlite", isolation_level=None)
    db.executescript("DROP TABLE answer; PRAGMA user_version=2;")
    db.close()
    again = Outbox(tmp_path, LIMITS)
    assert (again.depth()["result"], again.answer("k")) == (1, None)
    again.close()
    db = sqlite3.connect(tmp_path / "outbox.sqlite", isolation_level=None)
    db.executescript("DROP TABLE answer; PRAGMA user_version=2;")
    db.close()
    with closing(connect(tmp_path / "new.sqlite")) as new:
        assert _salvage(tmp_path / "outbox.sqlite", new) >= 3
        assert new.execute("SELECT count(*) FROM item WHERE kind = 'result'").fetchone() == (1,)


def test_what_waits_is_counted_anew_where_a_damaged_index_is_replaced_in_use(tmp_path):
    """Rows that could not be read are not counted as waiting: they would take room for ever."""
    outbox = Outbox(tmp_path, LIMITS)
    for number in range(3):
        put(outbox, number)
    outbox._index._db.execute("DELETE FROM item")  # as if their pages could not be read
    error = sqlite3.DatabaseError("database disk image is malformed")
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    with pytest.raises(StateError, match="a new one began"), outbox._index.reading():
        raise error
    assert (sum(outbox.depth().values()), outbox.bytes_used()) == (0, 0)
    put(outbox, 9)
    assert outbox.depth()["result"] == 1
    outbox.close()


def test_recording_a_frame_writes_its_result_as_json_once(outbox, monkeypatch):
    """The message for the line and the answer to the sender are the same bytes."""
    written = []
    to_json = Result.to_json
    monkeypatch.setattr(Result, "to_json", lambda self: written.append(to_json(self)) or written[-1])
    outbox.record("f1", result(1), None, publish=True, request_key="order-1")
    assert [item.payload for item in outbox.results(10)] == written
    assert len(written) == 1
    assert outbox.answer("order-1") == result(1)


def test_all_counters_of_a_frame_go_up_together(outbox):
    """Those of the caller, the reason of a doubtful picture, and the verdict for ever and for the day."""
    doubted = replace(result(1, Verdict.UNCERTAIN), reason="dark")
    outbox.record("f1", doubted, None, publish=False, counters=("over_quota", "over_quota"))
    outbox.record("f2", result(2), None, publish=False)
    assert outbox.counters() | outbox.today() == {
        "frames": 2, "over_quota": 2, "doubted.dark": 1, "verdict.uncertain": 1, "verdict.pass": 1,
        **{f"day.{datetime.now(UTC):%Y-%m-%d}.{verdict}": 1 for verdict in ("uncertain", "pass")},
        "uncertain": 1, "pass": 1,
    }  # fmt: skip


def test_the_journal_of_the_index_is_written_over_and_not_cut_shorter(tmp_path):
    """Over several rounds of the journal its file grows to the size of one, and then stays as it is."""

    def unsynced(path):
        connection = connect(path)
        connection.execute("PRAGMA synchronous=OFF")  # the sizes are the same, and it takes a fraction of the time
        return connection

    sizes = []
    with closing(Outbox(tmp_path / "outbox", LIMITS, connect=unsynced)) as outbox:
        for number in range(250):
            outbox.record(f"f{number}", result(number), None, publish=True)
            sizes.append((tmp_path / "outbox" / "outbox.sqlite-wal").stat().st_size)
    assert sizes == sorted(sizes)
    assert sizes[-1] < 5_000_000
