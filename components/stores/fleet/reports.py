"""Reports of devices, as they lie in the fleet bucket."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Final

from components.stores.objects.read_ahead import READERS, read_ahead
from components.stores.objects.s3 import BucketNotFound, ObjectNotFound, ObjectStoreError, S3ObjectStore
from inspection.codec import DocumentError
from inspection.documents import Reported

_log = logging.getLogger(__name__)
_AHEAD: Final = 4 * READERS


@dataclass(frozen=True, slots=True)
class UnreadReport:
    """A report that is there and that nobody can rely on. reason: why, as the end of a sentence.

    group, use_case: what the report says of them, as far as it can be read; None where it cannot.
    """

    device: str
    reason: str
    group: str | None = None
    use_case: str | None = None


@dataclass(frozen=True, slots=True)
class FleetReading:
    """One reading of the fleet bucket, by name of the device. unread: the devices whose report cannot be relied on."""

    reports: tuple[Reported, ...]
    unread: tuple[UnreadReport, ...]


class FleetReports:
    """Reports in the fleet bucket. One that cannot be read, or does not parse, is logged and costs no other one."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def reading(self) -> FleetReading:
        """The latest report of each device, sixteen read at once; and which reports could not be read, with the reason.

        Raises:
            ObjectStoreError: the bucket cannot be listed, or there is none.
        """
        keys = (info.key.partition("/") for info in self._store.list(self._bucket))
        devices = (device for device, _, name in keys if name == "reported.json")
        reports: list[Reported] = []
        unread: list[UnreadReport] = []
        for found in read_ahead(self._read, devices, at_most=_AHEAD):
            if isinstance(found, Reported):
                reports.append(found)
            elif found is not None:
                unread.append(found)
                _log.warning("the report of %s is passed over: %s", found.device, found.reason)
        return FleetReading(tuple(reports), tuple(unread))

    def reports(self) -> tuple[Reported, ...]:
        """The latest report of each device, by name; those that could not be read are logged."""
        return self.reading().reports

    def report(self, device: str) -> Reported | None:
        """The latest report of one device; None where there is none that counts.

        Raises:
            ObjectStoreError: the store did not give it.
        """
        try:
            found = self._parsed(device, self._store.get(self._bucket, f"{device}/reported.json"))
        except ObjectNotFound:
            return None
        if isinstance(found, Reported):
            return found
        _log.warning("the report of %s is passed over: %s", device, found.reason)
        return None

    def _read(self, device: str) -> Reported | UnreadReport | None:
        """The report; None where it is gone since the listing: the device was revoked."""
        try:
            return self._parsed(device, self._store.get(self._bucket, f"{device}/reported.json"))
        except ObjectNotFound:
            return None
        except BucketNotFound:
            raise
        except ObjectStoreError as e:
            return UnreadReport(device, str(e))

    def _parsed(self, device: str, data: bytes) -> Reported | UnreadReport:
        try:
            report = Reported.from_json(data)
        except DocumentError as e:
            return UnreadReport(device, str(e), *_said(data))
        if report.device != device:
            return UnreadReport(device, f"it reports as {report.device}", report.group, report.use_case)
        return report


def _said(data: bytes) -> tuple[str | None, str | None]:
    """The group and the use case in a report that is none, where it says them: a newer agent's says both."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(value, dict):
        return None, None
    group, use_case = value.get("group"), value.get("use_case")
    return group if isinstance(group, str) else None, use_case if isinstance(use_case, str) else None
