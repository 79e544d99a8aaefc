"""What the outbox could not write to its disk, in memory and in its order, until the disk can be written again."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from edge_agent.errors import STORAGE, StateError, Unwritable
from edge_agent.outbox_schema import Outgoing, Priority

if TYPE_CHECKING:
    from edge_agent.outbox import ImageToSend

_log = logging.getLogger(__name__)

_TRY_AGAIN_S: Final = 1.0
_MAX_TRIES: Final = 3
_MAX_WRITES: Final = 10_000
_MAX_BYTES: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Under which item ids a write puts its result and its image; None for the next ones.

    The ids of what waits in memory are promised to the publisher, so that it finds the items again on the disk.
    publish: whether the result still has to go to the line.
    """

    result_id: int | None = None
    image_id: int | None = None
    publish: bool = True


@dataclass(frozen=True, slots=True)
class Write:
    """One change of the outbox. Carried out again after a failure, it has the same effect as once.

    apply: carries it out. image: with no bytes, the image was lost and is counted as dropped. result: capture id and
    JSON of a result for the line. taken: (source key, whether it is recorded after the write). gone: an item that was
    delivered or dropped.
    """

    apply: Callable[[Place, ImageToSend | None], None]
    image: ImageToSend | None = None
    result: tuple[str, bytes] | None = None
    taken: tuple[str, bool] | None = None
    gone: int | None = None

    @property
    def size(self) -> int:
        """Bytes that it takes in memory, about."""
        return 500 + len(self.result[1] if self.result else b"") + len(self.image.data if self.image else b"")


class Deferred:
    """Writes that wait, oldest first, bounded in number and bytes. The caller holds a lock.

    Args:
        max_bytes: an image that does not fit is lost, and its result is kept.
    """

    def __init__(self, max_writes: int = _MAX_WRITES, max_bytes: int = _MAX_BYTES) -> None:
        self._max_writes = max_writes
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[Write, Place]] = deque()
        self._bytes = 0
        self._last_id = 0
        self._taken: dict[str, bool] = {}
        self.gone: set[int] = set()
        """Items on the disk that were delivered or dropped; their rows are removed later."""
        self.counts: dict[tuple[str, str], int] = {}
        """Counters, by kind and name, that are added to later."""

    def __len__(self) -> int:
        return len(self._waiting) + len(self.counts)

    def add(self, write: Write, last_id: Callable[[], int]) -> None:
        """Keep a write for later.

        Args:
            last_id: the highest item id on the disk; asked where no write waits.

        Raises:
            StateError: as many writes wait already as memory is given for, or the id cannot be read.
        """
        if len(self._waiting) >= self._max_writes or self._bytes + write.size > self._max_bytes:
            if write.image is None or not write.image.data or len(self._waiting) >= self._max_writes:
                raise StateError(
                    f"the state folder cannot be written, and {len(self._waiting)} writes wait in memory already"
                )
            self.add(replace(write, image=replace(write.image, data=b"")), last_id)
            return
        if write.result is not None or write.image is not None:
            first = max(self._last_id, last_id() if not self._last_id else 0) + 1
            self._last_id = first + 1
            place = Place(first, first + 1)
        else:
            place = Place()
        self._waiting.append((write, place))
        self._bytes += write.size
        if write.taken is not None:
            self._taken[write.taken[0]] = write.taken[1]
        if write.gone is not None:
            self.gone.add(write.gone)

    def first(self) -> tuple[Write, Place] | None:
        """The write to carry out next; None where none waits."""
        return self._waiting[0] if self._waiting else None

    def carried_out(self) -> None:
        """Forget the first write: it is on the disk."""
        write, _ = self._waiting.popleft()
        self._bytes -= write.size
        if write.gone is not None:
            self.gone.discard(write.gone)
        if not self._waiting:
            self._taken.clear()
            self._last_id = 0

    def is_recorded(self, source_key: str) -> bool | None:
        """Whether a frame is recorded here; None where nothing here says so."""
        return self._taken.get(source_key)

    def results(self, after: int, limit: int) -> list[Outgoing]:
        """At most `limit` results for the line with an id above `after`, oldest first."""
        found: list[Outgoing] = []
        for write, place in self._waiting:
            if len(found) >= limit:
                break
            if write.result is not None and place.publish and place.result_id is not None and place.result_id > after:
                found.append(Outgoing(place.result_id, Priority.RESULT, *write.result, None, None, None))
        return found

    def delivered(self, item_id: int) -> bool:
        """Note that a result has reached the line; False where it does not wait here."""
        for index, (write, place) in enumerate(self._waiting):
            if write.result is not None and place.result_id == item_id:
                self._waiting[index] = (write, replace(place, publish=False))
                return True
        return False


class Writer:
    """Carries writes out; where the disk cannot be written, it keeps them in memory until it can.

    Args:
        lock: held while a write is carried out.
        count: adds counters, by kind and name, on the disk.
        last_id: the highest item id on the disk.
        clock: seconds, by a clock that never jumps.
    """

    def __init__(
        self,
        deferred: Deferred,
        lock: threading.RLock,
        *,
        count: Callable[[Mapping[tuple[str, str], int]], None],
        last_id: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._deferred = deferred
        self._lock = lock
        self._count = count
        self._last_id = last_id
        self._clock = clock
        self._try_again_at = 0.0
        self._failed = 0
        self.problem = ""
        """Why nothing can be written at present; empty where all is well."""

    def write(self, write: Write) -> None:
        """Carry a write out now, or later.

        Raises:
            StateError: the disk takes other writes, but not this one; or memory has no room for it.
        """
        with self._lock:
            if self.catch_up():
                try:
                    _carry_out(write, Place())
                    self.problem = ""
                    return
                except Unwritable as e:
                    self.cannot(e)
            self._deferred.add(write, self._last_id)

    def count(self, kind: str, name: str, by: int) -> None:
        """Add to a counter now, or later."""
        with self._lock:
            if self.catch_up():
                try:
                    self._count({(kind, name): by})
                    return
                except Unwritable as e:
                    self.cannot(e)
            counts = self._deferred.counts
            counts[kind, name] = counts.get((kind, name), 0) + by

    def catch_up(self) -> bool:
        """Carry out what waits in memory, where that is due; whether nothing waits any more."""
        if not self._deferred:
            return True
        with self._lock:
            if self._clock() < self._try_again_at:
                return False
            try:
                while (first := self._deferred.first()) is not None:
                    _carry_out(*first)
                    self._deferred.carried_out()
                if self._deferred.counts:
                    self._count(self._deferred.counts)
                    self._deferred.counts.clear()
            except Unwritable as e:
                self.cannot(e)
                return False
            except StateError as e:
                # The index was damaged and a new one began, or this one write can never be carried out.
                self.cannot(e)
                self._drop_a_write_that_never_works()
                return False
            self.problem = ""
            self._failed = 0
            _log.warning("the state folder can be written again; what waited in memory is on the disk")
        return True

    def cannot(self, error: StateError) -> None:
        """Note that the disk cannot be written, and wait for a moment before the next try."""
        if not self.problem:
            _log.error("the state folder cannot be written: %s; results are kept in memory", error)
        self.problem = f"the state folder cannot be written ({error}); results are kept in memory, images may be lost"
        self._try_again_at = self._clock() + _TRY_AGAIN_S

    def _drop_a_write_that_never_works(self) -> None:
        self._failed += 1
        if self._failed >= _MAX_TRIES and self._deferred.first() is not None:
            _log.error("one change of the outbox cannot be written, and is lost")
            self._deferred.carried_out()
            self._failed = 0


def _carry_out(write: Write, place: Place) -> None:
    try:
        write.apply(place, write.image)
    except OSError as e:
        kind = Unwritable if e.errno in STORAGE else StateError
        raise kind(f"cannot keep an image: {e}; free some disk") from e
