"""The listing of the raw bucket, divided by prefix and read by several threads.

Keys are `<site>/<device>/<yyyy>/<mm>/<dd>/<sha256>.<ext>`, so a listing can be divided by device and month, and can
begin at a date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol, TypeVar

from components.stores.objects.list_page import ListPage
from components.stores.objects.read_ahead import read_ahead

THREADS: Final = 8
_AHEAD: Final = 32  # requests or spans under way, per thread
_NAME: Final = r"[a-z0-9][a-z0-9-]{0,62}"
_LEVELS: Final = (_NAME, _NAME, "[0-9]{4}", "[0-9]{2}")  # site, device, year, month
_DEVICE_LEVEL: Final = 2

T = TypeVar("T")
Item = TypeVar("Item")


class Lister(Protocol):
    """Where pages of keys come from; `S3ObjectStore` is one. A page has at most a thousand keys, in their order."""

    def list_page(
        self, bucket: str, *, prefix: str = "", delimiter: str = "", start_after: str = "", token: str | None = None
    ) -> ListPage:
        """The next page of the keys that begin with `prefix` and sort after `start_after`."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the bucket: the keys with a prefix, after a key."""

    prefix: str
    start_after: str = ""


class RawListing:
    """Lists one raw bucket."""

    def __init__(self, lister: Lister, bucket: str, *, threads: int = THREADS) -> None:
        self._lister = lister
        self._bucket = bucket
        self._threads = threads

    def devices(self) -> list[str]:
        """`<site>/<device>` of all devices that ever sent an image."""
        return [prefix.rstrip("/") for prefix in self._below([""], _LEVELS[:_DEVICE_LEVEL])]

    def spans(self, devices: Iterable[str], since: date | None = None) -> list[Span]:
        """Spans with all keys of these devices, one a month; with `since`, one for each device from that day on."""
        below = [f"{device}/" for device in devices]
        if since is not None:
            # With the slash: given the bare name of a folder, SeaweedFS skips all keys in it.
            return [Span(prefix, f"{prefix}{since:%Y/%m/%d}/") for prefix in below]
        return [Span(prefix) for prefix in self._below(below, _LEVELS[_DEVICE_LEVEL:])]

    def read(self, spans: Iterable[Span], consume: Callable[[Iterator[Sequence[str]]], T]) -> list[T]:
        """Call `consume` with each span's pages of keys, several spans at once. Results have the order of the spans."""
        return list(self._in_order(lambda span: consume(self._pages(span)), spans))

    def _pages(self, span: Span) -> Iterator[Sequence[str]]:
        page = self._lister.list_page(self._bucket, prefix=span.prefix, start_after=span.start_after)
        yield page.keys
        while page.token is not None:
            page = self._lister.list_page(self._bucket, prefix=span.prefix, token=page.token)
            yield page.keys

    def _in_order(self, work: Callable[[Item], T], items: Iterable[Item]) -> Iterator[T]:
        return read_ahead(work, items, at_most=_AHEAD * self._threads, threads=self._threads)

    def _below(self, prefixes: list[str], levels: Sequence[str]) -> list[str]:
        for level in levels:
            fits = re.compile(rf"(?:.*/)?{level}/")
            found = self._in_order(self._prefixes, prefixes)
            prefixes = [prefix for under in found for prefix in under if fits.fullmatch(prefix)]
        return prefixes

    def _prefixes(self, below: str) -> list[str]:
        page = self._lister.list_page(self._bucket, prefix=below, delimiter="/")
        found = list(page.prefixes)
        while page.token is not None:
            page = self._lister.list_page(self._bucket, prefix=below, delimiter="/", token=page.token)
            found += page.prefixes
        return found
