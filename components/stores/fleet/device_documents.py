"""The documents of one name that devices keep in the fleet bucket, `<device>/<name>`, read again where they changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final, Generic, Protocol, TypeVar

from components.stores.objects.list_page import ObjectInfo
from components.stores.objects.read_ahead import READERS, read_ahead
from components.stores.objects.s3 import BucketNotFound, ObjectNotFound, ObjectStoreError

T = TypeVar("T")
_AHEAD: Final = 4 * READERS
_LONGEST_TURN: Final = 16
"""So many documents a thread reads in one turn at most: handing over one by one costs as much as parsing them."""


class Bucket(Protocol):
    """Lists and reads objects."""

    def list(self, bucket: str) -> Iterable[ObjectInfo]:
        """Return all objects of a bucket."""

    def get(self, bucket: str, key: str) -> bytes:
        """Return an object. Raises ObjectNotFound, ObjectStoreError."""


class FleetListing:
    """The listing of the fleet bucket. It is asked for anew each time, or once in each pass where `new_pass` is called.

    Several readers of one pass share it, so that a bucket of ten thousand devices is listed once.
    """

    def __init__(self, store: Bucket, bucket: str) -> None:
        self._store = store
        self._bucket = bucket
        self._by_name: dict[str, dict[str, str]] | None = None
        self._of_a_pass = False

    def new_pass(self) -> None:
        """List again at the next question, and keep that for all later ones."""
        self._of_a_pass = True
        self._by_name = None

    def etags(self, name: str) -> Mapping[str, str]:
        """The devices that keep a document of this name, in order -> its ETag.

        Raises:
            ObjectStoreError: the bucket cannot be listed, or there is none.
        """
        found = self._by_name
        if found is None:
            found = {}
            for info in self._store.list(self._bucket):
                device, _, rest = info.key.partition("/")
                found.setdefault(rest, {})[device] = info.etag
        self._by_name = found if self._of_a_pass else None
        return found.get(name, {})


class DeviceDocuments(Generic[T]):
    """Documents of one name. It remembers what it read, and reads those whose ETag changed since.

    Args:
        read: makes a value of a device's document.
        not_given: makes a value of a device whose document the store did not give, and of the reason.
    """

    def __init__(
        self,
        store: Bucket,
        bucket: str,
        name: str,
        *,
        read: Callable[[str, bytes], T],
        not_given: Callable[[str, str], T],
        listing: FleetListing | None = None,
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._name = name
        self._parse = read
        self._not_given = not_given
        self._listing = listing or FleetListing(store, bucket)
        self._known: dict[str, tuple[str, T]] = {}

    def reading(self, *, changed: Callable[[T], None] = lambda found: None) -> Iterator[T]:
        """The latest document of each device, by name, sixteen read at once; none of a device that is gone meanwhile.

        What the store did not give is asked for again at the next reading, whatever its ETag.

        Args:
            changed: is called with each document that was read now.

        Raises:
            ObjectStoreError: the bucket cannot be listed, or there is none.
        """
        listed = self._listing.etags(self._name)
        known = {device: found for device, found in self._known.items() if listed.get(device) == found[0]}
        wanted = [device for device in listed if device not in known]
        passing: dict[str, T] = {}
        size = max(1, min(_LONGEST_TURN, len(wanted) // _AHEAD))
        turns = [wanted[start : start + size] for start in range(0, len(wanted), size)]
        read = chain.from_iterable(read_ahead(self._read_all, turns, at_most=_AHEAD))
        for device, (found, given) in zip(wanted, read, strict=True):
            if found is None:
                continue
            changed(found)
            if given:
                # A document that is written between the listing and the reading has another ETag at the next listing.
                known[device] = (listed[device], found)
            else:
                passing[device] = found
        self._known = known
        for device in listed:
            if device in known:
                yield known[device][1]
            elif device in passing:
                yield passing[device]

    def _read_all(self, devices: Sequence[str]) -> list[tuple[T | None, bool]]:
        return [self._read(device) for device in devices]

    def _read(self, device: str) -> tuple[T | None, bool]:
        """The document, and whether the store gave it; None where it is gone since the listing."""
        try:
            data = self._store.get(self._bucket, f"{device}/{self._name}")
        except ObjectNotFound:
            return None, True
        except BucketNotFound:
            raise
        except ObjectStoreError as e:
            return self._not_given(device, str(e)), False
        return self._parse(device, data), True
