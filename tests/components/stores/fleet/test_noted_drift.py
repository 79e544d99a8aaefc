"""The note about lines that drift, in a bucket in memory."""

from datetime import UTC, datetime, timedelta

import pytest

from components.stores.fleet.noted_drift import NotedDrift
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError
from inspection.drifting import DriftingLine

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


class Bucket:
    """Objects in memory; it counts what is written."""

    def __init__(self):
        self.objects, self.written = {}, 0

    def get(self, bucket, key):
        found = self.objects.get(key, ObjectNotFound("none"))
        if isinstance(found, Exception):
            raise found
        return found

    def put(self, bucket, key, data, **_):
        self.objects[key] = data
        self.written += 1


def test_what_drifts_is_written_when_it_changes_and_only_then():
    """Later windows of the same drift change nothing; a product without drift has no note at all."""
    bucket = Bucket()
    noted = NotedDrift(bucket, "state")
    assert noted.note("tags", (), NOON) is False
    assert noted.note("tags", [DriftingLine(device="d1", since=NOON)], NOON) is True
    assert noted.note("tags", [DriftingLine(device="d1", since=LATER)], LATER) is False
    assert noted.lines("tags") == (DriftingLine(device="d1", since=NOON),)
    assert noted.lines("plates") == ()
    assert noted.note("tags", (), LATER) is True
    assert (noted.lines("tags"), bucket.written) == ((), 2)


def test_a_note_that_cannot_be_read_is_none_and_is_replaced():
    """A damaged note holds up no labeling; a store that is away is an error of the caller's."""
    bucket = Bucket()
    bucket.objects["drift/tags.json"] = b"{"
    noted = NotedDrift(bucket, "state")
    assert noted.lines("tags") == ()
    assert noted.note("tags", [DriftingLine(device="d1", since=NOON)], NOON)
    bucket.objects["drift/tags.json"] = ObjectStoreError("away")
    with pytest.raises(ObjectStoreError):
        noted.lines("tags")
