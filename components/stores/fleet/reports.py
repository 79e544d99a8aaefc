"""Reports of devices, as they lie in the fleet bucket."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from components.stores.objects.s3 import ObjectNotFound, S3ObjectStore
from inspection.codec import DocumentError
from inspection.documents import Reported

_log = logging.getLogger(__name__)


class FleetReports:
    """Reports in the fleet bucket; one that does not parse is said and passed over."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def reports(self) -> Iterator[Reported]:
        """The latest report of each device, by name."""
        for info in self._store.list(self._bucket):
            device, _, name = info.key.partition("/")
            if name == "reported.json" and (report := self.report(device)) is not None:
                yield report

    def report(self, device: str) -> Reported | None:
        """The latest report of one device; None where there is none that counts."""
        try:
            report = Reported.from_json(self._store.get(self._bucket, f"{device}/reported.json"))
        except ObjectNotFound:
            return None
        except DocumentError as e:
            _log.warning("the report of %s is passed over: %s", device, e)
            return None
        if report.device == device:
            return report
        _log.warning("%s reports as %s: passed over", device, report.device)
        return None
