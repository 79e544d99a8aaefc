"""A lease: one process at a time does some work, and a holder that died is followed after a time.

The lease of a use case is one object, `leases/<work>/<use case>/<number>.json`, which names the holder and the time
when the lease expires. It is made and changed under a condition (`fenced.py`). A lease is free when it was released,
when it has expired, or when it cannot be read. A holder renews it before each change of its work, and stops if another
process took it over.

Kizu 0.1 wrote an object with the next higher number for each tenure. Of several objects the one with the highest number
is therefore the lease, so that both versions see each other's holders.

Expiry compares the clocks of two machines; a lease outlives a difference of a few seconds. The work under a lease must
be repairable, because a holder that is late may act once more: labeling removes tasks that were made twice.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from components.stores.objects.fenced import FencedObject
from components.stores.objects.s3 import ObjectNotFound, ObjectStoreError, S3ObjectStore

_log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<number>\d{9})\.json")


class LeaseError(RuntimeError):
    """Another process holds the lease, or took it over; try again later."""


@dataclass(frozen=True, slots=True)
class LeaseRules:
    """How long a lease lasts without a renewal, and how long to wait for another holder. Seconds."""

    ttl_s: float = 60.0
    patience_s: float = 180.0
    poll_s: float = 0.5


class Lease:
    """The lease below a prefix, as one holder sees it; `hold` makes one. generation: one higher with each holder."""

    def __init__(
        self, store: S3ObjectStore, bucket: str, prefix: str, holder: str, rules: LeaseRules, now: Callable[[], float]
    ) -> None:
        """holder: a name for people. now: the time, in seconds since 1970."""
        self._store = store
        self._bucket = bucket
        self._prefix = prefix
        self._holder = f"{holder}-{uuid.uuid4().hex}"  # no two leases are of one holder
        self._rules = rules
        self._now = now
        self._object = FencedObject(store, bucket, "")
        self._etag = ""
        self._expires_at = 0.0
        self.generation = 0

    def renew(self) -> None:
        """Stay the holder; call it before each change.

        Raises:
            LeaseError: another process took over, so this one must stop.
        """
        if self._expires_at - self._now() > self._rules.ttl_s / 2:
            return
        expires_at = self._now() + self._rules.ttl_s
        etag = self._object.replace(self._body(expires_at), self._etag)
        if etag is None:
            raise LeaseError("another run took over the lease, because this one was too slow; run it again")
        self._etag, self._expires_at = etag, expires_at

    def try_acquire(self) -> bool:
        """Take the lease if it is free. Returns whether this holder has it now."""
        number = max(self._numbers(), default=1)
        self._object = FencedObject(self._store, self._bucket, f"{self._prefix}{number:09d}.json")
        expires_at = self._now() + self._rules.ttl_s
        self.generation = 1
        mine = self._body(expires_at)
        try:
            found, etag = self._object.make(mine)
        except ObjectNotFound:  # a holder of an older version removed it just now
            return False
        if found != mine:
            ends_at, generation = self._read(found)
            if ends_at > self._now():
                return False
            self.generation = max(generation, number) + 1
            taken = self._object.replace(self._body(expires_at), etag)
            if taken is None:
                return False
            etag = taken
        self._etag, self._expires_at = etag, expires_at
        return True

    def release(self) -> None:
        """Free it for the next holder; no error where another one has it."""
        self._object.replace(self._body(0.0), self._etag)

    def _body(self, expires_at: float) -> bytes:
        document = {
            "schema_version": 1,
            "holder": self._holder,
            "expires_at": expires_at,
            "generation": self.generation,
        }
        return json.dumps(document).encode()

    def _read(self, data: bytes) -> tuple[float, int]:
        """When the lease expires, and its generation; a lease that cannot be read has expired."""
        try:
            document = json.loads(data)
            return float(document["expires_at"]), int(document.get("generation", 0))
        except (ValueError, KeyError, TypeError, AttributeError):
            _log.warning("the lease %s is not readable and counts as free", self._object.key)
            return 0.0, 0

    def _numbers(self) -> list[int]:
        names = (info.key.removeprefix(self._prefix) for info in self._store.list(self._bucket, self._prefix))
        return [int(match["number"]) for name in names if (match := _NAME.fullmatch(name))]


@contextmanager
def hold(
    store: S3ObjectStore,
    bucket: str,
    work: str,
    use_case: str,
    rules: LeaseRules,
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Hold the lease for some work of a use case while the block runs.

    Raises:
        LeaseError: another process held it for longer than `rules.patience_s`.
    """
    lease = Lease(store, bucket, f"leases/{work}/{use_case}/", f"{socket.gethostname()}-{os.getpid()}", rules, now)
    give_up_at = now() + rules.patience_s
    while not lease.try_acquire():
        if now() >= give_up_at:
            raise LeaseError(
                f"another {work} run of {use_case} has been at work for {rules.patience_s:.0f} s; try again later"
            )
        sleep(rules.poll_s)
    try:
        yield lease
    finally:
        with suppress(ObjectStoreError):  # it expires by itself
            lease.release()
