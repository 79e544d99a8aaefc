"""Reports of devices, honest and not, on a real S3."""

import uuid
from datetime import UTC, datetime

from components.stores.fleet.reports import FleetReports
from inspection.documents import Reported


def reported(device, **more):
    return Reported(device=device, group="line", reported_at=datetime(2025, 4, 1, tzinfo=UTC), state="running", **more)


def test_reports_are_read_and_what_is_none_is_said_and_passed_over(s3, caplog):
    """A broken report, one that speaks for another device, another object, a number that overflows."""
    store, bucket = s3.store("admin"), "kizu-fleet"
    line = f"l{uuid.uuid4().hex[:8]}"  # other tests' devices report into the same bucket
    honest = reported(f"{line}-1", running_release="a" * 64)
    overflow = reported(f"{line}-4").to_json().replace(b'"uptime_s":0.0', b'"uptime_s":1' + b"0" * 400)
    for key, data in {
        f"{line}-1/reported.json": honest.to_json(),
        f"{line}-2/reported.json": b"{",
        f"{line}-3/reported.json": honest.to_json(),
        f"{line}-4/reported.json": overflow,
        f"{line}-5/other.json": reported(f"{line}-5").to_json(),
        f"{line}-6/deeper/reported.json": reported(f"{line}-6").to_json(),
        "reported.json": reported(f"{line}-7").to_json(),
    }.items():
        store.put(bucket, key, data)
    found = list(FleetReports(s3.store("reconciler"), bucket).reports())
    assert [report for report in found if report.device.startswith(line)] == [honest]
    passed_over = [message for message in caplog.messages if "passed over" in message]
    assert sum(line in message for message in passed_over) == 3
