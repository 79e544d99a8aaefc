"""Reports of devices, as they lie in the fleet bucket."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Final

from components.settings import Settings
from components.stores.fleet.device_documents import Bucket, DeviceDocuments, FleetListing
from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from inspection.codec import DocumentError
from inspection.documents import Reported

_log = logging.getLogger(__name__)
_NAME: Final = "reported.json"


@dataclass(frozen=True, slots=True)
class UnreadReport:
    """A report that is there and that nobody can rely on. reason: why, as the end of a sentence.

    group, use_case: what the report says of them, as far as it can be read; None where it cannot.
    """

    device: str
    reason: str
    group: str | None = None
    use_case: str | None = None

    def may_count_for(self, use_case: str, group: str) -> bool:
        """Whether the device may inspect this product in this group: its report does not exclude that."""
        return self.group in (None, group) and self.use_case in (None, use_case)


@dataclass(frozen=True, slots=True)
class FleetReading:
    """One reading of the fleet bucket, by name of the device. unread: the devices whose report cannot be relied on."""

    reports: tuple[Reported, ...]
    unread: tuple[UnreadReport, ...]


class FleetReports:
    """Reports in the fleet bucket. One that cannot be read, or does not parse, is logged and costs no other one.

    It remembers what it read. A later reading lists all reports, and reads those whose ETag changed since.

    Args:
        listing: where other readers share the listing of the bucket.
    """

    def __init__(self, store: Bucket, bucket: str, listing: FleetListing | None = None) -> None:
        self._store = store
        self._bucket = bucket
        self._documents = DeviceDocuments[Reported | UnreadReport](
            store, bucket, _NAME, read=self._parsed, not_given=UnreadReport, listing=listing
        )

    @classmethod
    def from_settings(cls, settings: Settings) -> FleetReports:
        """The reports in the fleet bucket that the settings name.

        Raises:
            SettingsError: a setting is missing.
        """
        return cls(S3ObjectStore.from_settings(settings).for_many_small(), settings.bucket("fleet"))

    def reading(self) -> FleetReading:
        """The latest report of each device, sixteen read at once; and which reports could not be read, with the reason.

        Raises:
            ObjectStoreError: the bucket cannot be listed, or there is none.
        """
        reports: list[Reported] = []
        unread: list[UnreadReport] = []
        for found in self._documents.reading(changed=_log_unread):
            if isinstance(found, Reported):
                reports.append(found)
            else:
                unread.append(found)
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
            found = self._parsed(device, self._store.get(self._bucket, f"{device}/{_NAME}"))
        except ObjectNotFound:
            return None
        _log_unread(found)
        return found if isinstance(found, Reported) else None

    def _parsed(self, device: str, data: bytes) -> Reported | UnreadReport:
        try:
            report = Reported.from_json(data)
        except DocumentError as e:
            return UnreadReport(device, str(e), *_said(data))
        if report.device != device:
            return UnreadReport(device, f"it reports as {report.device}", report.group, report.use_case)
        return report


def _log_unread(found: Reported | UnreadReport) -> None:
    if isinstance(found, UnreadReport):
        _log.warning("the report of %s is passed over: %s", found.device, found.reason)


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
