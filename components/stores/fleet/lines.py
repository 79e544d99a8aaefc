"""What devices tell of their lines, as it lies in the fleet bucket."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from components.stores.objects.read_ahead import READERS, read_ahead
from components.stores.objects.s3 import BucketNotFound, ObjectNotFound, ObjectStoreError, S3ObjectStore
from inspection.codec import DocumentError
from inspection.drift import LineWindows

_log = logging.getLogger(__name__)
_AHEAD: Final = 4 * READERS
_NAME: Final = "line.json"


@dataclass(frozen=True, slots=True)
class UnreadLine:
    """A document that is there and that nobody can rely on. reason: why, as the end of a sentence."""

    device: str
    reason: str


class FleetLines:
    """The documents `<device>/line.json`. One that cannot be read costs no other one."""

    def __init__(self, store: S3ObjectStore, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    def reading(self) -> tuple[tuple[LineWindows, ...], tuple[UnreadLine, ...]]:
        """What each device tells, by name, sixteen read at once; and which documents could not be read.

        Raises:
            ObjectStoreError: the bucket cannot be listed, or there is none.
        """
        keys = (info.key.partition("/") for info in self._store.list(self._bucket))
        devices = (device for device, _, name in keys if name == _NAME)
        lines: list[LineWindows] = []
        unread: list[UnreadLine] = []
        for found in read_ahead(self._read, devices, at_most=_AHEAD):
            if isinstance(found, LineWindows):
                lines.append(found)
            elif found is not None:
                unread.append(found)
        return tuple(lines), tuple(unread)

    def _read(self, device: str) -> LineWindows | UnreadLine | None:
        """The document; None where it is gone since the listing: the device was revoked."""
        try:
            found = LineWindows.from_json(self._store.get(self._bucket, f"{device}/{_NAME}"))
        except ObjectNotFound:
            return None
        except BucketNotFound:
            raise
        except (ObjectStoreError, DocumentError) as e:
            return UnreadLine(device, str(e))
        return found if found.device == device else UnreadLine(device, f"it tells of {found.device}")
