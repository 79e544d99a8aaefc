"""The outbox keeps what it promised: through kills, full disks and long outages; what it drops it counts."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.config import OutboxLimits
from edge_agent.disk import RealDisk
from edge_agent.errors import StateError, StoreUnavailable
from edge_agent.outbox import ImageToSend, Outbox
from edge_agent.outbox_schema import Priority
from edge_agent.result import Result
from edge_agent.uploader import Uploader
from inspection import Capture, Reason, Verdict, capture_key, parse_raw_key, raw_image_key, sha256_of
from tests.edge_agent.models import picture
from tests.edge_agent.stores import MemoryStore

LIMITS = OutboxLimits(min_free_bytes=0)
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def result(number: int, verdict: Verdict = Verdict.PASS) -> Result:
    return Result(
        capture_id=f"{number:032x}", sha256="0" * 64, captured_at=WHEN, decided_at=WHEN, device="dev1", camera="c",
        release_digest="r", model_sha256="m", verdict=verdict, infer_ms=1.0,
    )  # fmt: skip


def image(number: int, reason: Reason = Reason.UNCERTAIN, verdict: Verdict = Verdict.PASS, seed: int | None = None):
    data = picture(1, seed=number if seed is None else seed)
    sha256 = sha256_of(data)
    capture = Capture(
        capture_id=f"{number:032x}", sha256=sha256, device="dev1", camera="c", captured_at=WHEN, reason=reason,
        verdict=verdict,
    )  # fmt: skip
    return ImageToSend(capture, raw_image_key("plant1", "dev1", WHEN, sha256, "png"), data)


@pytest.fixture
def outbox(tmp_path):
    outbox = Outbox(tmp_path / "outbox", LIMITS)
    yield outbox
    outbox.close()


def put(outbox, number, **kind):
    return outbox.record(f"f{number}", result(number), image(number, **kind), publish=True)


def test_a_frame_recorded_twice_is_recorded_once(outbox):
    """Killed between recording and putting the frame away, the next start does not double it."""
    assert put(outbox, 1) is True
    assert put(outbox, 1) is False
    assert outbox.depth()["result"] == outbox.depth()["uncertain"] == 1
    assert outbox.counters()["frames"] == 1
    outbox.forget("f1")
    assert outbox.recorded_keys() == ()


def test_results_leave_in_order_and_images_by_importance(outbox):
    """Oldest first in each class."""
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
    """The file stays until both are delivered."""
    for number in (1, 2):
        outbox.record(f"f{number}", result(number), image(number, seed=7), publish=False)
    assert len(list(outbox.image_folder.iterdir())) == 1
    outbox.delivered(outbox.next_image())
    assert outbox.next_image().image_file.exists()
    outbox.delivered(outbox.next_image())
    assert list(outbox.image_folder.iterdir()) == []


def test_over_the_cap_the_least_important_and_oldest_goes_and_is_counted(tmp_path):
    """Results go last of all."""
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
    """A device that was offline for long sends what is still worth it."""
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
    """The line is told in any case."""
    outbox = Outbox(tmp_path, OutboxLimits(min_free_bytes=100_000), disk=AlmostFull())
    assert put(outbox, 1) is True
    assert (outbox.depth()["result"], outbox.depth()["uncertain"], outbox.dropped()) == (1, 0, 1)
    outbox.close()


class Full(RealDisk):
    def write(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_records_nothing_and_says_so(tmp_path):
    """The frame stays with the camera and comes again."""
    outbox = Outbox(tmp_path, LIMITS, disk=Full())
    with pytest.raises(StateError, match="free some disk"):
        put(outbox, 1)
    assert not outbox.is_recorded("f1")
    assert outbox.counters() == {}
    outbox.close()


def test_a_damaged_index_is_named(tmp_path):
    """Nobody deletes it silently."""
    (tmp_path / "outbox.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StateError, match=r"outbox\.sqlite"):
        Outbox(tmp_path, LIMITS)


def test_a_file_without_a_row_is_removed_at_the_start(tmp_path):
    """As a kill between the two leaves one."""
    Outbox(tmp_path, LIMITS).close()
    (tmp_path / "images" / "orphan.png").write_bytes(b"x")
    (tmp_path / "images" / ".half.tmp").write_bytes(b"x")
    outbox = Outbox(tmp_path, LIMITS)
    assert list(outbox.image_folder.iterdir()) == []
    outbox.close()


def test_uploads_put_the_image_then_its_capture(outbox):
    """In the layout of the raw bucket, with the time of sending."""
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
    """And the end of it sends everything once."""
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
    """Wrong bytes under a good name are never sent."""
    put(outbox, 1)
    put(outbox, 2)
    outbox.next_image().image_file.write_bytes(b"rot")
    store = MemoryStore()
    uploader = Uploader(outbox, store, "kizu-raw")
    while uploader.send_next():
        pass
    assert len(store.keys("kizu-raw")) == 2
    assert outbox.dropped() == 1


_WRITER = """
import sys, json
from pathlib import Path
from edge_agent.outbox import Outbox
from edge_agent.uploader import Uploader
from tests.edge_agent.test_outbox import LIMITS, FolderStore, put
outbox = Outbox(Path(sys.argv[1]) / "outbox", LIMITS)
uploader = Uploader(outbox, FolderStore(Path(sys.argv[1]) / "s3"), "kizu-raw")
for number in range(int(sys.argv[2]), 100000):
    put(outbox, number)
    print(number, flush=True)
    if number % 3 == 0:
        uploader.send_next()
"""


class FolderStore(MemoryStore):
    """Objects as files, so that they outlive the process that put them; each put is counted in a log."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, bucket, key, data, *, if_absent=False, content_type=""):
        path = self.folder / key
        if if_absent and path.exists():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".new")
        temporary.write_bytes(data)
        temporary.replace(path)
        return True


def test_kill_9_at_any_moment_loses_nothing_and_doubles_nothing(tmp_path):
    """A writer that also uploads is killed again and again; all it acknowledged arrives, each once."""
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
    """A defect is worth more than a doubt, an objection more than both."""
    assert Priority.of(Reason.OBJECTION, Verdict.FAIL) is Priority.OBJECTION
    assert Priority.of(Reason.UNCERTAIN, Verdict.FAIL) is Priority.DEFECT
    assert Priority.of(Reason.UNCERTAIN, Verdict.UNCERTAIN) is Priority.UNCERTAIN
    assert Priority.of(Reason.NOTHING_FOUND, Verdict.PASS) is Priority.CONTROL
