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
    """Reports in the fleet bucket. One that cannot be read, or does not parse, is logged and costs no other one.

    It remembers what it read. A later reading lists all reports, and reads those whose ETag changed since.
    """

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._known: dict[str, tuple[str, Reported | UnreadReport]] = {}

    def reading(self) -> FleetReading:
        """The latest report of each device, sixteen read at once; and which reports could not be read, with the reason.

        Raises:
            ObjectStoreError: the bucket cannot be listed, or there is none.
        """
        listed = {
            device: info.etag
            for info in self._store.list(self._bucket)
            for device, _, name in (info.key.partition("/"),)
            if name == "reported.json"
        }
        known = {device: found for device, found in self._known.items() if listed.get(device) == found[0]}
        changed = [device for device in listed if device not in known]
        passing: dict[str, UnreadReport] = {}
        for device, (found, given) in zip(changed, read_ahead(self._read, changed, at_most=_AHEAD), strict=True):
            if isinstance(found, UnreadReport):
                _log.warning("the report of %s is passed over: %s", found.device, found.reason)
            if found is not None and given:
                # A report that is written between the listing and the reading has another ETag at the next listing.
                known[device] = (listed[device], found)
            elif isinstance(found, UnreadReport):
                passing[device] = found
        self._known = known
        reports: list[Reported] = []
        unread: list[UnreadReport] = []
        for device in listed:
            report = known[device][1] if device in known else passing.get(device)
            if isinstance(report, Reported):
                reports.append(report)
            elif report is not None:
                unread.append(report)
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

    def _read(self, device: str) -> tuple[Reported | UnreadReport | None, bool]:
        """The report, and whether the store gave it; None where it is gone since the listing: the device was revoked.

        What the store did not give is asked for again at the next reading, whatever its ETag.
        """
        try:
            return self._parsed(device, self._store.get(self._bucket, f"{device}/reported.json")), True
        except ObjectNotFound:
            return None, True
        except BucketNotFound:
            raise
        except ObjectStoreError as e:
            return UnreadReport(device, str(e)), False

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
