"""What devices tell of their lines, as it lies in the fleet bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from components.stores.fleet.device_documents import Bucket, DeviceDocuments, FleetListing
from inspection.codec import DocumentError
from inspection.drift import LineWindows

_NAME: Final = "line.json"


@dataclass(frozen=True, slots=True)
class UnreadLine:
    """A document that is there and that nobody can rely on. reason: why, as the end of a sentence."""

    device: str
    reason: str


class FleetLines:
    """The documents `<device>/line.json`. One that cannot be read costs no other one.

    It remembers what it read. A later reading lists all documents, and reads those whose ETag changed since.

    Args:
        listing: where other readers share the listing of the bucket.
    """

    def __init__(self, store: Bucket, bucket: str, listing: FleetListing | None = None) -> None:
        self._documents = DeviceDocuments[LineWindows | UnreadLine](
            store, bucket, _NAME, read=_parsed, not_given=UnreadLine, listing=listing
        )

    def reading(self) -> tuple[tuple[LineWindows, ...], tuple[UnreadLine, ...]]:
        """What each device tells, by name, sixteen read at once; and which documents could not be read.

        Raises:
            ObjectStoreError: the bucket cannot be listed, or there is none.
        """
        lines: list[LineWindows] = []
        unread: list[UnreadLine] = []
        for found in self._documents.reading():
            if isinstance(found, LineWindows):
                lines.append(found)
            else:
                unread.append(found)
        return tuple(lines), tuple(unread)


def _parsed(device: str, data: bytes) -> LineWindows | UnreadLine:
    try:
        found = LineWindows.from_json(data)
    except DocumentError as e:
        return UnreadLine(device, str(e))
    return found if found.device == device else UnreadLine(device, f"it tells of {found.device}")
