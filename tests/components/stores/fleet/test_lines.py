"""What devices tell of their lines, honest and not, on a real S3."""

import uuid

from components.stores.fleet.lines import FleetLines
from inspection.drift import DetectionCounts, LineWindow, LineWindows, count_pictures
from tests.components.stores.fleet.test_reports import reported

NOTHING = DetectionCounts(verdicts={}, scores={}, sizes={})


def line_of(device):
    at = reported(device).reported_at
    window = LineWindow(since=at, until=at, pictures=count_pictures([]), detections=NOTHING)
    return LineWindows(device=device, use_case="metal-tag", release_digest="a" * 64, windows=(window,))


def test_lines_are_read_and_what_cannot_be_relied_on_is_named(s3):
    """A device's report beside it is no line; a damaged one and one that tells of another device cost no other one."""
    store, bucket = s3.store("admin"), "kizu-fleet"
    name = f"l{uuid.uuid4().hex[:8]}"  # other tests' devices report into the same bucket
    honest = line_of(f"{name}-1")
    for key, data in {
        f"{name}-1/line.json": honest.to_json(),
        f"{name}-1/reported.json": reported(f"{name}-1").to_json(),
        f"{name}-2/line.json": b"{",
        f"{name}-3/line.json": honest.to_json(),
    }.items():
        store.put(bucket, key, data)
    lines, unread = FleetLines(s3.store("reconciler"), bucket).reading()
    assert [line for line in lines if line.device.startswith(name)] == [honest]
    assert [one.device for one in unread if one.device.startswith(name)] == [f"{name}-2", f"{name}-3"]
