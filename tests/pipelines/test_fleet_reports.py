"""Reports of devices, honest and not, on a real S3."""

from datetime import UTC, datetime

from inspection.documents import Reported
from pipelines.ports import S3Fleet


def reported(device, **more):
    return Reported(device=device, group="line", reported_at=datetime(2025, 4, 1, tzinfo=UTC), state="running", **more)


def test_reports_are_read_and_what_is_none_is_said_and_passed_over(s3, caplog):
    """A broken report, one that speaks for another device, another object, a number that overflows."""
    store, bucket = s3.store("admin"), "kizu-fleet"
    honest = reported("line-1", running_release="a" * 64)
    overflow = reported("line-4").to_json().replace(b'"uptime_s":0.0', b'"uptime_s":1' + b"0" * 400)
    for key, data in {
        "line-1/reported.json": honest.to_json(),
        "line-2/reported.json": b"{",
        "line-3/reported.json": honest.to_json(),
        "line-4/reported.json": overflow,
        "line-5/other.json": reported("line-5").to_json(),
        "line-6/deeper/reported.json": reported("line-6").to_json(),
        "reported.json": reported("line-7").to_json(),
    }.items():
        store.put(bucket, key, data)
    assert list(S3Fleet(s3.store("reconciler"), bucket).reports()) == [honest]
    assert sum("passed over" in message for message in caplog.messages) == 3
