"""A lease in S3: one run at a time makes tasks.

Each tenure is an object of its own, `leases/labeling/<use case>/<generation>.json`, made with `If-None-Match: *`. The
highest generation rules; it is free when it says so or has expired, and then the next generation is up for whoever
writes it first. No object is ever taken from somebody, so two takers cannot both win. The generation is a fencing
number: `renew` fails as soon as a higher one exists. Expiry compares clocks of two machines; a lease outlives a skew
of a few seconds, and what a late holder still does, the sweep for twins repairs.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from components.labeling.errors import LeaseError
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<generation>\d{9})\.json")


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """How long a tenure lasts without a renewal, and how long to wait for another run's. Seconds."""

    ttl_s: float = 60.0
    patience_s: float = 180.0
    poll_s: float = 0.5


class Lease:
    """A tenure; made by `hold`."""

    def __init__(
        self, store: S3ObjectStore, bucket: str, prefix: str, holder: str, rules: LeaseRules, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._bucket = bucket
        self._prefix = prefix
        self._holder = holder
        self._rules = rules
        self._now = now
        self.generation = 0
        self._expires_at = 0.0

    def renew(self) -> None:
        """Stay the holder; call it before each change.

        Raises:
            LeaseError: another run took over, so this one must stop.
        """
        if self._expires_at - self._now() > self._rules.ttl_s / 2:
            return
        if self._highest() != self.generation:
            raise LeaseError("another run took over the lease, because this one was too slow; run it again")
        self._write(self._now() + self._rules.ttl_s)

    def try_acquire(self) -> bool:
        """Take the lease if it is free."""
        ruling = self._highest()
        if ruling and not self._is_free(ruling):
            return False
        self.generation = ruling + 1
        expires_at = self._now() + self._rules.ttl_s
        if not self._store.put(self._bucket, self._key(self.generation), self._body(expires_at), if_absent=True):
            return False
        if self._highest() != self.generation:
            # Others came and went since the listing, and swept this number away: it is a stale one.
            self._store.delete(self._bucket, self._key(self.generation))
            return False
        self._expires_at = expires_at
        for generation in self._generations():
            if generation < self.generation:
                self._store.delete(self._bucket, self._key(generation))
        return True

    def release(self) -> None:
        """Free it for the next run."""
        if self._highest() == self.generation:
            self._write(0.0)

    def _write(self, expires_at: float) -> None:
        self._store.put(self._bucket, self._key(self.generation), self._body(expires_at))
        self._expires_at = expires_at

    def _body(self, expires_at: float) -> bytes:
        return json.dumps({"schema_version": 1, "holder": self._holder, "expires_at": expires_at}).encode()

    def _is_free(self, generation: int) -> bool:
        try:
            return float(json.loads(self._store.get(self._bucket, self._key(generation)))["expires_at"]) <= self._now()
        except ObjectNotFound:
            return False  # swept by a newer holder: look again
        except (ValueError, KeyError, TypeError):
            _log.warning("the lease %s is not readable; it counts as free", self._key(generation))
            return True

    def _key(self, generation: int) -> str:
        return f"{self._prefix}{generation:09d}.json"

    def _generations(self) -> list[int]:
        names = (info.key.removeprefix(self._prefix) for info in self._store.list(self._bucket, self._prefix))
        return [int(match["generation"]) for name in names if (match := _NAME.fullmatch(name))]

    def _highest(self) -> int:
        return max(self._generations(), default=0)


@contextmanager
def hold(
    store: S3ObjectStore,
    bucket: str,
    use_case: str,
    rules: LeaseRules,
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Hold the lease of a use case for the time of the block.

    Raises:
        LeaseError: another run held it for longer than `rules.patience_s`.
    """
    lease = Lease(store, bucket, f"leases/labeling/{use_case}/", uuid.uuid4().hex, rules, now)
    give_up_at = now() + rules.patience_s
    while not lease.try_acquire():
        if now() >= give_up_at:
            raise LeaseError(
                f"another labeling run of {use_case} has been at work for {rules.patience_s:.0f} s; try again later"
            )
        sleep(rules.poll_s)
    try:
        yield lease
    finally:
        with suppress(ObjectStoreError):  # it expires by itself
            lease.release()
