"""What a device counts of its line, keeps over a restart, and tells the fleet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.damaged import DamagedFiles
from edge_agent.disk import RealDisk
from edge_agent.line_counts import LineCounts
from edge_agent.line_report import LineReport
from edge_agent.result import Result
from inspection import Box, Detection, Inspection, Verdict
from inspection.drift import LineWindows
from inspection.picture import PictureMeasure
from tests.edge_agent.bench import Bench, loaded
from tests.edge_agent.models import BAD, DOUBTFUL, GOOD, picture
from tests.edge_agent.stores import MemoryStore

A, B = "a" * 64, "b" * 64
BUCKET = "kizu-fleet"


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def go_on(self, **passed: float) -> None:
        self.now += timedelta(**passed)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def counts_of(clock: Clock) -> LineCounts:
    return LineCounts(frames=5, utc_now=clock)


def see(counts: LineCounts, frames: int, digest: str = A) -> None:
    detections = (Detection("scratch", 0.9, Box(0, 0, 10, 10)),)
    result = Result(
        capture_id="0" * 32, sha256="1" * 64, captured_at=datetime(2026, 1, 2, tzinfo=UTC), device="dev1",
        decided_at=datetime(2026, 1, 2, tzinfo=UTC), camera="top", release_digest=digest, model_sha256="2" * 64,
        verdict=Verdict.FAIL, detections=detections, infer_ms=20.0,
    )  # fmt: skip
    for _ in range(frames):
        counts.add(result, Inspection(detections, Verdict.FAIL, None, PictureMeasure(100.0, 30.0, 55.0)), 300, 400)


def told(counts: LineCounts) -> list[int]:
    found = counts.windows("dev1", "metal-tag")
    return [window.detections.frames for window in found.windows] if found else []


def test_a_window_is_full_by_frames_and_not_before_ten_minutes(clock):
    """A fast line counts on until its time has come, from its first frame on; the latest two windows are told."""
    counts = counts_of(clock)
    for frames, expected in ((9, []), (6, [10]), (3, [10, 6]), (1, [10, 6]), (3, [6, 5])):
        see(counts, frames)
        assert told(counts) == expected, frames
        clock.go_on(minutes=10)


def test_a_slow_line_closes_its_window_after_a_day_and_one_without_a_frame_never(clock):
    """Also where no frame comes any more."""
    counts = counts_of(clock)
    for _ in range(2):
        clock.go_on(days=3)
        counts.close_if_full()
        assert told(counts) == []
    see(counts, 2)
    clock.go_on(hours=23)
    counts.close_if_full()
    assert told(counts) == []
    clock.go_on(hours=1)
    counts.close_if_full()
    assert told(counts) == [2]


def test_another_release_begins_anew(clock):
    """Windows of one release are never told as those of another."""
    counts = counts_of(clock)
    clock.go_on(minutes=10)
    see(counts, 5)
    see(counts, 1, B)
    assert told(counts) == []
    clock.go_on(minutes=10)
    see(counts, 4, B)
    assert counts.windows("dev1", "metal-tag").release_digest == B
    assert told(counts) == [5]
    found = counts.windows("dev1", "metal-tag")
    assert found.first == found.windows[0]


def report_of(counts, folder, store, clock) -> LineReport:
    return LineReport(
        counts, folder, RealDisk(), DamagedFiles(folder / "damaged"), store, BUCKET, device="dev1",
        use_case="metal-tag", clock=clock.seconds,
    )  # fmt: skip


def test_a_full_window_is_told_once_and_again_after_an_outage(clock, tmp_path):
    """Nothing is put while nothing is new; a store that is away gets the window later."""
    counts, store = counts_of(clock), MemoryStore()
    report = report_of(counts, tmp_path, store, clock)
    see(counts, 4)
    report.step()
    assert store.puts == 0
    clock.go_on(minutes=10)
    see(counts, 1)
    store.down = True
    report.step()
    store.down = False
    clock.go_on(seconds=2)
    report.step()
    report.step()
    assert store.puts == 1
    line = LineWindows.from_json(store.objects[BUCKET, "dev1/line.json"])
    assert (line.device, line.release_digest, line.windows) == ("dev1", A, counts.windows("dev1", "metal-tag").windows)


def test_what_was_counted_survives_a_restart_and_full_windows_are_told_again(clock, tmp_path):
    """A kill after a window was closed loses none of it, whether or not it had been told."""
    counts, store = counts_of(clock), MemoryStore()
    report = report_of(counts, tmp_path, store, clock)
    see(counts, 4)
    clock.go_on(minutes=10)
    see(counts, 3)
    store.down = True
    report.step()
    again, store.down = counts_of(clock), False
    after = report_of(again, tmp_path, store, clock)
    after.load()
    after.step()
    assert LineWindows.from_json(store.objects[BUCKET, "dev1/line.json"]).windows[0].detections.frames == 5
    clock.go_on(minutes=10)
    see(again, 3)
    assert told(again) == [5, 5]
    clock.go_on(minutes=10)
    for _ in range(2):
        see(again, 6)
        clock.go_on(minutes=10)
    assert again.windows("dev1", "metal-tag").first == counts.windows("dev1", "metal-tag").windows[0]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"schema_version":1,"release_digest":"x"}'])
def test_a_damaged_file_is_set_aside_and_the_counts_begin_anew(clock, tmp_path, damage):
    """Counts are no reason to stop an agent."""
    (tmp_path / "line.json").write_bytes(damage)
    counts = counts_of(clock)
    report_of(counts, tmp_path, MemoryStore(), clock).load()
    assert counts.kept() is None
    assert DamagedFiles(tmp_path / "damaged").count() == 1


def test_the_loop_counts_each_frame_with_its_picture_and_its_detections(tmp_path):
    """A part that passes, one that fails, one in doubt: all three pictures, and the boxes of the two."""
    counts = LineCounts()
    bench = Bench(tmp_path, looked=counts.add)
    release = loaded(tmp_path)
    for name, kind in (("1.png", GOOD), ("2.png", BAD), ("3.png", DOUBTFUL)):
        bench.feed(name, picture(*kind))
        assert bench.loop.step(release, 2.0)
    bench.outbox.close()
    digest, _, _, begun = counts.kept()
    assert digest == release.digest
    assert begun.detections.verdicts == {"pass": 1, "fail": 1, "uncertain": 1}
    assert sum(begun.pictures.brightness) == sum(begun.pictures.sharpness) == 3
    assert sum(sum(counts) for counts in begun.detections.scores.values()) == 2
