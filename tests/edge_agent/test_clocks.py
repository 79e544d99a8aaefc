"""A clock that jumps by a year, forward or back: nothing is dropped for it, and the order stays."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from edge_agent.camera_config import FolderCamera
from edge_agent.config import OutboxLimits
from edge_agent.outbox import Outbox
from edge_agent.sources.folder import FolderSource
from edge_agent.uploader import Uploader
from inspection import Reason
from tests.edge_agent import old_outbox
from tests.edge_agent.models import build_release, picture
from tests.edge_agent.outbox_items import put
from tests.edge_agent.publisher import Publisher
from tests.edge_agent.stores import MemoryStore
from tests.edge_agent.updating_device import BUCKET, Device

DAY, YEAR = 86400.0, 365 * 86400.0
TEN_DAYS = OutboxLimits(max_age_days=10, min_free_bytes=0)


class Clocks:
    """The time of day, and a clock that never jumps; a restart of the machine sets the second one back to its start."""

    def __init__(self) -> None:
        self.wall, self.steady = 1_800_000_000.0, 1000.0

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    def open(self, folder) -> Outbox:
        return Outbox(folder, TEN_DAYS, clock=lambda: self.wall, monotonic=lambda: self.steady)


@pytest.fixture
def clocks():
    return Clocks()


def ids(outbox) -> list[int]:
    return [int(item.capture_id, 16) for item in outbox.results(1000)]


@pytest.mark.parametrize("jump", [YEAR, -YEAR, 60 * YEAR, -50 * YEAR])
@pytest.mark.parametrize("restart", [False, True])
def test_a_jump_of_the_clock_drops_nothing_and_keeps_the_order(tmp_path, clocks, jump, restart):
    """A device without a battery starts in 1970 and learns the time later."""
    outbox = clocks.open(tmp_path)
    for number in range(5):
        put(outbox, number)
        clocks.pass_(60)
    clocks.wall += jump
    if restart:
        outbox.close()
        clocks.steady = 5.0
        outbox = clocks.open(tmp_path)
    for number in range(5, 10):
        put(outbox, number)
        clocks.pass_(60)
    clocks.wall -= jump
    for number in range(10, 15):
        put(outbox, number)
    assert outbox.dropped() == 0
    assert ids(outbox) == list(range(15))
    store = MemoryStore()
    uploader = Uploader(outbox, store, "kizu-raw")
    while uploader.send_next():
        pass
    assert len(store.keys("kizu-raw")) == 30
    outbox.close()


def test_age_is_the_time_of_use_over_restarts(tmp_path, clocks):
    """Six days of use, a year switched off, and five days of use are an age of eleven days."""
    outbox = clocks.open(tmp_path)
    put(outbox, 0)
    clocks.pass_(6 * DAY)
    put(outbox, 1)
    outbox.close()
    clocks.wall += YEAR
    clocks.steady = 5.0
    outbox = clocks.open(tmp_path)
    clocks.pass_(3 * DAY)
    put(outbox, 2)
    assert outbox.dropped() == 0
    clocks.pass_(2 * DAY)
    put(outbox, 3)
    assert ids(outbox) == [1, 2, 3]
    assert outbox.dropped() == 2
    outbox.close()


def test_an_outbox_of_an_earlier_agent_goes_on(tmp_path, clocks):
    """Rows of an early agent hold wall clock times; an item that waits keeps its age."""
    old_outbox.write(tmp_path, with_age=False, created_at=1_700_000_000.0)
    outbox = clocks.open(tmp_path)
    before = outbox.dropped()
    clocks.pass_(9 * DAY)
    put(outbox, 11)
    assert outbox.dropped() == before
    clocks.pass_(2 * DAY)
    put(outbox, 12)
    assert ids(outbox) == [11, 12]
    outbox.close()


def test_a_start_with_a_wrong_clock_keeps_the_counts_of_the_day(tmp_path, clocks):
    """Counts of older days are removed by how many days there are, not by what day the clock shows."""
    outbox = clocks.open(tmp_path)
    for day in range(50):
        put(outbox, day, reason=Reason.CONTROL)
        clocks.pass_(DAY)
    clocks.pass_(-DAY)
    assert outbox.today() == {"pass": 1}
    for jump in (YEAR, -YEAR):
        clocks.wall += jump
        outbox.close()
        outbox = clocks.open(tmp_path)
        assert outbox.today() == ({} if jump > 0 else {"pass": 1})
    assert sum(name.startswith("day.") for name in outbox.counters()) == 40
    assert outbox.counters()["frames"] == 50
    outbox.close()


@pytest.mark.parametrize(
    ("zone", "begins"),
    [("Asia/Tokyo", "2026-06-09 15:00"), ("America/New_York", "2026-06-10 04:00"), ("UTC", "2026-06-10 00:00")],
)
def test_today_begins_at_midnight_in_the_zone_of_the_plant(tmp_path, clocks, zone, begins):
    """A frame a second before midnight there belongs to the day before."""
    clocks.wall = datetime.fromisoformat(begins).replace(tzinfo=UTC).timestamp() - 1.0
    outbox = Outbox(tmp_path, TEN_DAYS, clock=lambda: clocks.wall, zone=ZoneInfo(zone))
    put(outbox, 1)
    assert outbox.today() == {"pass": 1}
    clocks.wall += 1.0
    assert outbox.today() == {}
    put(outbox, 2)
    assert (outbox.today(), outbox.counts("verdict", day="2026-06-10")) == ({"pass": 1}, {"pass": 1})
    outbox.close()


def test_a_half_written_file_is_waited_for_when_the_clock_went_back(tmp_path):
    """The time of the file lies in the future, so the agent counts how long it has not seen it change."""
    (tmp_path / "camera").mkdir()
    path = tmp_path / "camera" / "a.png"
    source = FolderSource(FolderCamera(path=path.parent, poll_interval_s=0.02, settle_s=0.6), tmp_path / "done")
    path.write_bytes(picture(9)[:50])
    os.utime(path, (time.time() + YEAR, time.time() + YEAR))
    assert source.reject(source.next(1.0), "truncated", "…") is False
    path.write_bytes(picture(9))
    frame = source.next(2.0)
    assert frame.data == picture(9)
    source.done(frame, None)
    path.write_bytes(b"half")
    os.utime(path, (time.time() + YEAR, time.time() + YEAR))
    refused = 0
    while not source.reject(source.next(2.0), "truncated", "…"):
        refused += 1
    assert refused >= 1


@pytest.fixture
def device(tmp_path):
    store = MemoryStore()
    publisher = Publisher(lambda key, data: store.objects.__setitem__((BUCKET, key), data))
    return Device(store, publisher, tmp_path / "state")


def shift(publisher: Publisher, days: int) -> None:
    """Set the expiry of the metadata to what a device sees whose clock is `days` days ahead."""
    for role in (publisher.targets, publisher.snapshot, publisher.timestamp):
        role.signed.expires = publisher.expires - timedelta(days=days)


def test_a_clock_a_year_ahead_takes_nothing_new_until_it_is_right_again(device):
    """With a clock a year ahead all metadata looks expired: inspection goes on, and no new release is taken."""
    first, second = build_release(1), build_release(2, gain=0.9)
    device.take(first)
    device.commit()
    shift(device.publisher, 365)
    device.take(second)
    device.start()
    device.updates.poll()
    assert device.running() == first.digest
    assert device.updates.reason.startswith("expired-metadata")
    shift(device.publisher, 0)
    device.publisher.commit()
    device.updates.poll()
    device.commit()
    assert device.running() == second.digest


def test_a_clock_a_year_behind_still_refuses_what_is_older_than_it_has_seen(device):
    """A slow clock hides that metadata is stale, but older metadata is still refused."""
    first, second = build_release(1), build_release(2, gain=0.9)
    shift(device.publisher, -365)
    device.take(first)
    device.commit()
    yesterday = dict(device.store.objects)
    device.take(second)
    device.commit()
    device.store.objects = yesterday
    device.start()
    device.updates.poll()
    assert device.running() == second.digest
    assert device.updates.reason.startswith("rolled-back")
