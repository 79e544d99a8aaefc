"""Which devices of a group stand on one page, and how many are in each state: a fleet may have ten thousand. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from components.stores.fleet.standing import DeviceStanding, Filter, GroupStanding

PAGE: Final = 200
"""Devices on a page."""
_LEAST: Final = 10


@dataclass(frozen=True, slots=True)
class Rows:
    """The devices of one page, by site. first: the number of the first one, from 1. of: how many there are in all."""

    sites: tuple[tuple[str, tuple[DeviceStanding, ...]], ...]
    first: int
    of: int
    page: int
    pages: int

    @property
    def last(self) -> int:
        """The number of the last device of the page."""
        return self.first - 1 + sum(len(devices) for _, devices in self.sites)


def rows_of(group: GroupStanding, page: int, size: int) -> Rows:
    """A page of a group's devices: by site, those whose site is not known last. A page that is too high is the last."""
    ordered = sorted(((_site(device), device) for device in group.devices), key=lambda item: (not item[0], item[0]))
    pages = max(1, -(-len(ordered) // size))
    page = min(max(1, page), pages)
    sites: dict[str, list[DeviceStanding]] = {}
    for site, device in ordered[(page - 1) * size : page * size]:
        sites.setdefault(site, []).append(device)
    shown = tuple((site, tuple(devices)) for site, devices in sites.items())
    return Rows(shown, (page - 1) * size + 1, len(ordered), page, pages)


def counts_of(group: GroupStanding) -> tuple[tuple[str, int], ...]:
    """How many devices of a group are in each state, the most frequent first."""
    return tuple(Counter(device.shown_state for device in group.devices).most_common())


def rows_for_each(groups: int) -> int:
    """How many devices of each group stand on the page of the whole fleet."""
    return max(_LEAST, PAGE // max(1, groups))


def page_of(text: str) -> int:
    """The number of a page as a visitor's address says it; 1 where it says none."""
    return int(text) if text.isdecimal() and len(text) < 7 else 1


def query_of(chosen: Filter) -> str:
    """The filters of devices as a part of an address: `&device=line-*`, or nothing."""
    given = {"device": chosen.device, "state": chosen.state, "software": chosen.software}
    kept = {name: value for name, value in given.items() if value} | ({"late": "1"} if chosen.late else {})
    return f"&{urlencode(kept)}" if kept else ""


def _site(device: DeviceStanding) -> str:
    return (device.report.site if device.report else None) or ""
