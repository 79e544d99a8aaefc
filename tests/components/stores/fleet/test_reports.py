"""Reports of devices, honest and not, on a real S3."""

import threading
import uuid
from datetime import UTC, datetime

import pytest

from components.stores.fleet.reports import FleetReports, UnreadReport
from components.stores.objects.s3 import AccessDenied, BucketNotFound, ObjectInfo, ObjectNotFound, ObjectStoreError
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


class Bucket:
    """Reports in memory: bytes, an error to raise, or a call that gives the bytes."""

    def __init__(self, **found):
        self._found = {f"{device}/reported.json": data for device, data in found.items()}

    def list(self, bucket):
        return (ObjectInfo(key, 1, "", datetime(2025, 4, 1, tzinfo=UTC)) for key in sorted(self._found))

    def get(self, bucket, key):
        data = self._found[key]
        if isinstance(data, Exception):
            raise data
        return data() if callable(data) else data


def test_a_report_that_cannot_be_read_skips_its_device_alone(caplog):
    """A refusal, a broken line, a report of a newer form: the others are read, and each of these is named with why."""
    newer = reported("d4").to_json().replace(b'"schema_version":1', b'"schema_version":99')
    found = FleetReports(
        Bucket(
            d1=reported("d1").to_json(), d2=AccessDenied("refused"), d3=ObjectStoreError("the line broke"), d4=newer,
            d5=reported("d1", use_case="tags").to_json(), d6=b"[]", d7=ObjectNotFound("revoked since"),
            d8=reported("d8").to_json(),
        ),
        "fleet",
    ).reading()  # fmt: skip
    assert [report.device for report in found.reports] == ["d1", "d8"]
    assert found.unread[:2] == (UnreadReport("d2", "refused"), UnreadReport("d3", "the line broke"))
    assert [(u.device, u.group, u.use_case) for u in found.unread[2:]] == [
        ("d4", "line", None),
        ("d5", "line", "tags"),
        ("d6", None, None),
    ]
    assert [line for line in caplog.messages if "d3" in line] == ["the report of d3 is passed over: the line broke"]


def test_sixteen_reports_are_read_at_once():
    """Reading waits for the network: each of sixteen reads ends only when all sixteen have begun."""
    meet = threading.Barrier(16)

    def read(device):
        meet.wait(20)
        return reported(device).to_json()

    devices = [f"d{number:02}" for number in range(32)]
    bucket = Bucket(**{device: lambda device=device: read(device) for device in devices})
    assert [report.device for report in FleetReports(bucket, "fleet").reports()] == devices


def test_a_bucket_that_is_not_there_is_no_empty_fleet():
    """Where the bucket itself is gone, the pass fails: no device is unknown for a reason of its own."""
    with pytest.raises(BucketNotFound):
        FleetReports(Bucket(d1=BucketNotFound("no such bucket")), "fleet").reading()


class Changing:
    """A bucket whose reports change; it notes which are read."""

    def __init__(self, **reports):
        self.reports, self.read = reports, []

    def list(self, bucket):
        at = datetime(2025, 4, 1, tzinfo=UTC)
        return [ObjectInfo(f"{name}/reported.json", 1, f"e{len(data)}", at) for name, data in self.reports.items()]

    def get(self, bucket, key):
        device = key.partition("/")[0]
        self.read.append(device)
        data = self.reports[device]
        if data == b"away":
            raise ObjectStoreError("the line broke")
        return data


def test_only_reports_that_changed_are_read_again():
    """A later reading lists the bucket, and reads what has another ETag, what is new, and what the store kept back."""
    bucket = Changing(d1=reported("d1").to_json(), d2=reported("d2").to_json(), d3=b"away", d4=b"{")
    fleet = FleetReports(bucket, "fleet")
    first = fleet.reading()
    assert sorted(bucket.read) == ["d1", "d2", "d3", "d4"]
    bucket.read.clear()
    assert fleet.reading() == first
    assert bucket.read == ["d3"]
    bucket.read.clear()
    bucket.reports |= {"d2": reported("d2", reason="slow").to_json(), "d3": reported("d3").to_json()}
    bucket.reports["d5"] = reported("d5").to_json()
    del bucket.reports["d1"]
    later = fleet.reading()
    assert sorted(bucket.read) == ["d2", "d3", "d5"]
    assert [(report.device, report.reason) for report in later.reports] == [("d2", "slow"), ("d3", ""), ("d5", "")]
    assert [found.device for found in later.unread] == ["d4"]


def test_an_unread_report_counts_wherever_it_does_not_exclude_its_device():
    """A newer agent's report says its group, a damaged one says nothing: that device may be of any group."""
    assert UnreadReport("d1", "damaged").may_count_for("tags", "line")
    said = UnreadReport("d1", "newer", "line", "tags")
    assert said.may_count_for("tags", "line")
    assert not said.may_count_for("tags", "other")
    assert not said.may_count_for("plates", "line")
    assert UnreadReport("d1", "newer", group="line").may_count_for("plates", "line")
