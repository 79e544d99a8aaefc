"""A week without S3 and broker, one frame every five seconds, on a clock that the test sets."""

from __future__ import annotations

import json
import logging
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_agent.config import OutboxLimits
from edge_agent.disk import RealDisk
from edge_agent.errors import StoreUnavailable
from edge_agent.outbox import ImageToSend, Outbox
from edge_agent.outbox_schema import Priority
from edge_agent.result import Result
from edge_agent.sampling import Quota, reason_to_send
from edge_agent.uploader import Uploader
from inspection import Capture, Detection, Inspection, Sampling, decide, parse_raw_key, raw_image_key, sha256_of
from tests.edge_agent.models import QUADRANTS, build_release
from tests.edge_agent.stores import MemoryStore

WEEK = 7 * 24 * 3600 // 5
THRESHOLDS = build_release().release.thresholds
SAMPLING = Sampling(uncertain_low=0.3, uncertain_high=0.7, nothing_found_rate=0.01, control_rate=0.01, max_per_hour=60)


def recorded_inspections() -> list[Inspection]:
    """What a line shows: mostly good parts, one defect in fifty, one doubtful part in a hundred."""
    chance = random.Random(7)
    found = []
    for _ in range(1000):
        kind = chance.random()
        score = chance.uniform(0.8, 1.0) if kind < 0.02 else chance.uniform(0.3, 0.79) if kind < 0.03 else 0.0
        detections = (Detection("scratch", score, QUADRANTS[0]),) if score else ()
        found.append(Inspection(detections, decide(detections, THRESHOLDS)))
    return found


class Line:
    """What the loop does between an inspection and the outbox, one frame every five seconds."""

    def __init__(self, folder: Path, limits: OutboxLimits, disk=None) -> None:
        self.now, self.steady = 1_800_000_000.0, 0.0
        self.outbox = Outbox(folder, limits, disk=disk, clock=lambda: self.now, monotonic=lambda: self.steady)
        self.inspections = recorded_inspections()
        self.quota = Quota()
        self.store = MemoryStore()
        self.store.down = True
        self.uploader = Uploader(self.outbox, self.store, "kizu-raw")
        self.results: list[str] = []
        self.images: dict[Priority, list[str]] = {priority: [] for priority in Priority}

    def frame(self, number: int) -> None:
        self.now, self.steady = self.now + 5, self.steady + 5
        inspection = self.inspections[number % len(self.inspections)]
        when = datetime.fromtimestamp(self.now, UTC)
        data = b"\x89PNG\r\n\x1a\n" + number.to_bytes(8) + bytes(400)
        sha256 = sha256_of(data)
        result = Result(
            capture_id=f"{number:032x}", sha256=sha256, captured_at=when, decided_at=when, device="dev1", camera="c",
            release_digest="r", model_sha256="m", detections=inspection.detections, verdict=inspection.verdict,
            infer_ms=1.0,
        )  # fmt: skip
        image = None
        reason = reason_to_send(inspection, THRESHOLDS, SAMPLING, sha256)
        if reason is not None and self.quota.take(SAMPLING, self.steady):
            capture = Capture(
                capture_id=result.capture_id, sha256=sha256, device="dev1", camera="c", captured_at=when,
                reason=reason, detections=inspection.detections, verdict=inspection.verdict,
            )  # fmt: skip
            image = ImageToSend(capture, raw_image_key("plant1", "dev1", when, sha256, "png"), data)
            self.images[image.priority].append(result.capture_id)
        assert self.outbox.record(f"f{number}", result, image, publish=True)
        self.outbox.forget(f"f{number}")
        self.results.append(result.capture_id)
        if number % 720 == 0 and self.store.down and self.outbox.next_image() is not None:
            with pytest.raises(StoreUnavailable):
                self.uploader.send_next()

    def network_is_back(self) -> tuple[list[str], list[str]]:
        """Capture ids as they reach the line and the store."""
        self.store.down = False
        line = []
        while items := self.outbox.results(20):
            for item in items:
                line.append(json.loads(item.payload)["capture_id"])
                self.outbox.delivered(item)
        while self.uploader.send_next():
            pass
        keys = [parse_raw_key(key) for _, key in self.store.objects]
        return line, [key.capture_id for key in keys if key.capture_id is not None]


@pytest.fixture
def quiet():
    """Silence the log: it would hold a hundred thousand warnings of dropped items."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def show(capsys, record_property, **numbers: int) -> None:
    record_property("outage", json.dumps(numbers))
    with capsys.disabled():
        print("\n" + ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in numbers.items()), end=" ")


def test_a_week_without_a_network_loses_nothing_under_the_caps(fast_folder, capsys, record_property):
    """When the network is back, results arrive in order and images by importance, each once."""
    line = Line(fast_folder / "outbox", OutboxLimits(min_free_bytes=0))
    for number in range(WEEK):
        line.frame(number)
    waiting = sum(len(ids) for ids in line.images.values())
    assert line.outbox.depth()["result"] == WEEK == 120_960
    assert sum(line.outbox.depth().values()) == WEEK + waiting
    assert sum(line.outbox.today().values()) > 0
    results, images = line.network_is_back()
    assert results == line.results
    # As Priority counts: objections, defects, doubts, control; in each the oldest first.
    assert images == [capture_id for priority in Priority for capture_id in line.images[priority]]
    assert line.store.puts == 2 * waiting == len(line.store.objects)
    assert line.outbox.dropped() == line.outbox.bytes_used() == 0
    assert line.outbox.counters()["frames"] == WEEK
    assert list((fast_folder / "outbox" / "images").iterdir()) == []
    line.outbox.close()
    show(capsys, record_property, frames=WEEK, results_in_order=len(results), images=len(images), dropped=0)


def test_over_the_caps_the_least_important_and_oldest_is_dropped_and_counted(
    fast_folder, quiet, capsys, record_property
):
    """The newest items of the most important classes remain, in order, and every drop is counted."""
    limits = OutboxLimits(max_bytes=5_000_000, min_free_bytes=0)
    line = Line(fast_folder / "outbox", limits)
    frames = WEEK
    for number in range(frames):
        line.frame(number)
        assert line.outbox.bytes_used() <= limits.max_bytes
    depth, counters = line.outbox.depth(), line.outbox.counters()
    sent = {Priority.RESULT: line.results, **{p: line.images[p] for p in Priority if p is not Priority.RESULT}}
    for priority, ids in sent.items():
        name = priority.name.lower()
        assert depth[name] + counters.get(f"dropped.{name}", 0) == len(ids), name
    assert depth["control"] == depth["uncertain"] == 0 < depth["result"] < frames
    results, images = line.network_is_back()
    assert results == line.results[-len(results) :]
    assert Counter(images) == Counter()
    dropped = frames - len(results) + sum(len(ids) for ids in line.images.values())
    assert line.outbox.dropped() == dropped
    line.outbox.close()
    show(capsys, record_property, frames=frames, results_kept=len(results), dropped_and_counted=dropped)


class SmallDisk(RealDisk):
    """A disk of `size` bytes, of which only images take some."""

    def __init__(self, images: Path, size: int) -> None:
        super().__init__()
        self._images, self._size = images, size

    def free_bytes(self, path: Path) -> int:
        return self._size - sum(image.stat().st_size for image in self._images.iterdir())


def test_a_floor_of_free_disk_is_kept_and_costs_images_only(fast_folder, quiet):
    """The least important and oldest images are dropped; all results, which are small, stay."""
    folder = fast_folder / "outbox"
    (folder / "images").mkdir(parents=True)
    disk = SmallDisk(folder / "images", 30_000)
    line = Line(folder, OutboxLimits(min_free_bytes=20_000), disk)
    frames = 10_000
    for number in range(frames):
        line.frame(number)
        assert disk.free_bytes(folder) >= 20_000
    depth, counters = line.outbox.depth(), line.outbox.counters()
    assert depth["result"] == frames
    for priority in (Priority.UNCERTAIN, Priority.CONTROL):
        name = priority.name.lower()
        assert depth[name] + counters.get(f"dropped.{name}", 0) == len(line.images[priority])
    assert counters["dropped.control"] > 0
    results, images = line.network_is_back()
    assert results == line.results
    # The room of 24 images holds the newest doubts and defects, and one place is reserved for the newest control frame.
    defects = line.images[Priority.DEFECT]
    assert len(images) == 24 > len(defects)
    control = line.images[Priority.CONTROL][-1:]
    assert images == defects + line.images[Priority.UNCERTAIN][len(defects) - 23 :] + control
    line.outbox.close()
