"""The audit log: one object for each entry below `audit/` in the state bucket. An entry is never changed.

The page writes an entry before an act, and another one with what came of it. An object is put only where there is none,
and the rules of the bucket let nobody delete below `audit/`.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from components.stores.objects.list_page import ObjectInfo
from components.stores.objects.read_ahead import READERS, read_ahead
from components.stores.objects.s3 import ObjectNotFound
from inspection.codec import Document, DocumentError

_log = logging.getLogger(__name__)
PREFIX: Final = "audit/"


class Outcome(StrEnum):
    """ASKED: a person asked for it. DONE: the signer published it. REFUSED: it was not done, or nobody knows."""

    ASKED = "asked"
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(Document):
    """One entry. Times are UTC."""

    entry_id: str
    """The same for both entries of one act."""
    at: datetime
    """When."""
    by: str
    """The account of MLflow."""
    client: str
    """The address that the request came from."""
    act: str
    """`pause`, `resume`, `stop`, or `sign-in`."""
    outcome: Outcome
    """What came of it."""
    use_case: str = ""
    """The product."""
    group: str = ""
    """The group of devices."""
    sequence: int = 0
    """Of the desired state that the person saw."""
    reason: str = ""
    """What the person wrote."""
    said: str = ""
    """What the signer answered."""

    @property
    def key(self) -> str:
        """The name of its object. Names sort by time."""
        return f"{PREFIX}{self.at:%Y/%m/%d/%H%M%S%f}-{self.entry_id}-{self.outcome}.json"


class Store(Protocol):
    """The methods of the object store that the log needs."""

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = ..., content_type: str = ...) -> bool:
        """Write an object; returns False where there is one already."""

    def get(self, bucket: str, key: str) -> bytes:
        """Return an object."""

    def list(self, bucket: str, prefix: str = ...) -> Iterable[ObjectInfo]:
        """Yield the objects below a prefix, in order of their names."""


class AuditLog:
    """Appends entries and reads the latest."""

    def __init__(self, store: Store, bucket: str, now: Callable[[], datetime]) -> None:
        self._store = store
        self._bucket = bucket
        self.now = now

    def new_id(self) -> str:
        """An id for an act."""
        return secrets.token_hex(6)

    def append(self, entry: AuditEntry) -> None:
        """Write an entry.

        Raises:
            ObjectStoreError: it could not be written.
            FileExistsError: there is an object of that name, which stays as it is.
        """
        written = self._store.put(
            self._bucket, entry.key, entry.to_json(), if_absent=True, content_type="application/json"
        )
        if not written:
            raise FileExistsError(f"there is an entry {entry.key} already")

    def latest(self, most: int = 200) -> tuple[AuditEntry, ...]:
        """The latest entries of this month and the one before, newest first.

        Raises:
            ObjectStoreError: the log cannot be read.
        """
        today = self.now()
        keys: list[str] = []
        for day in (today.replace(day=1) - timedelta(days=1), today):
            keys += [info.key for info in self._store.list(self._bucket, f"{PREFIX}{day:%Y/%m}/")]
        found = read_ahead(self._read, sorted(keys)[-most:], at_most=READERS)
        return tuple(reversed([entry for entry in found if entry is not None]))

    def _read(self, key: str) -> AuditEntry | None:
        try:
            return AuditEntry.from_json(self._store.get(self._bucket, key))
        except (DocumentError, ObjectNotFound) as e:
            _log.warning("the entry %s of the audit log is passed over: %s", key, e)
            return None
