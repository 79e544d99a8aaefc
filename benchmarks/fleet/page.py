"""The fleet page with ten thousand devices: seconds and bytes of each page, and what a reading of the fleet takes."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import httpx

from components.fleet_page.accounts import Person
from components.fleet_page.app import Site, make_app
from components.fleet_page.history import History
from components.fleet_page.watcher import Watcher
from components.stores.fleet.reports import FleetReading
from inspection.documents import DesiredState, Reported, Wave
from inspection.report_parts import AgentState, CameraState, LineTally
from kizu.commands.fleet_page import judge, judge_agents

BEGIN: Final = "<!-- bench-fleet-page: begin -->"
END: Final = "<!-- bench-fleet-page: end -->"
_RELEASE: Final = "b" * 64
_REPEATS: Final = 5
_PAGES: Final = {
    "the fleet": "/",
    "the fleet, filtered by a pattern of names": "/?device=press-*7",
    "a group": "/groups/product-0/line",
    "a group, its last page": "/groups/product-0/line?page=9999",
    "a device": "/devices/press-00000",
    "metrics": "/metrics",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One page. seconds: the median of some visits."""

    what: str
    seconds: float
    size: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured. reading_s: seconds to compare all reports with the desired states and keep their history."""

    devices: int
    groups: int
    reading_s: float
    pages: tuple[Shown, ...]


class _Fleet:
    """The signer and the fleet bucket in memory: their own time is not that of the page."""

    def __init__(self, devices: int, groups: int) -> None:
        self._wanted = {
            (f"product-{number}", "line"): DesiredState(
                sequence=5, use_case=f"product-{number}", waves=(Wave(release_digest=_RELEASE, percent=100.0),),
                probation_s=60.0,
            )
            for number in range(groups)
        }  # fmt: skip
        now = datetime.now(UTC)
        self._reports = tuple(_report(number, f"product-{number % groups}", now) for number in range(devices))

    def desired_names(self) -> list[tuple[str, str]]:
        return sorted(self._wanted)

    def desired(self, use_case: str, group: str) -> DesiredState | None:
        return self._wanted.get((use_case, group))

    def release(self, digest: str) -> Any:
        return SimpleNamespace(version=7)

    def reading(self) -> FleetReading:
        return FleetReading(self._reports, ())


def _report(number: int, use_case: str, now: datetime) -> Reported:
    return Reported(
        device=f"press-{number:05}", group="line", use_case=use_case, site=f"plant-{number % 20}", state="running",
        reported_at=now - timedelta(seconds=number % 60), running_release=_RELEASE, sequence_seen=5,
        verdicts={"pass": 10_000 + number, "fail": 200, "uncertain": 90, "not-inspected": 1},
        cameras={"top": CameraState(ok=True)}, failures={},
        tallies=(LineTally(release_digest=_RELEASE, since=now, frames=2000, fail=40, uncertain=20, p95_ms=41.0),),
        agent=AgentState(version="0.3.1", slot="a", state="kept", release_digest="c" * 64, wanted_digest="c" * 64),
    )  # fmt: skip


def measure(devices: int, groups: int, work: Path) -> Measured:
    """Read a fleet once, and visit each page some times."""
    fleet, history = _Fleet(devices, groups), History(work / "history.db")
    try:

        def now() -> datetime:
            return datetime.now(UTC)

        watcher = Watcher(fleet, fleet, judge, history, now, judge_software=judge_agents)
        watcher.read()
        began = time.perf_counter()
        watcher.read()
        reading_s = time.perf_counter() - began
        accounts = SimpleNamespace(check=lambda name, password: Person(name, admin=True))
        acts: Any = SimpleNamespace(signed_in=lambda person, client: None)
        site = Site(watcher, history, accounts, acts, acts, now)
        return Measured(devices, groups, reading_s, asyncio.run(_visits(site)))
    finally:
        history.close()


async def _visits(site: Site) -> tuple[Shown, ...]:
    transport = httpx.ASGITransport(make_app(site))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        signed_in = await client.post("/sign-in", data={"account": "qa", "password": "x"})
        assert signed_in.status_code == 303, signed_in.text
        found = []
        for what, path in _PAGES.items():
            took = []
            for _ in range(_REPEATS):
                began = time.perf_counter()
                answer = await client.get(path)
                took.append(time.perf_counter() - began)
                assert answer.status_code == 200, (path, answer.status_code)
                assert path == "/metrics" or re.search(r"press-\d{5}", answer.text), path
            found.append(Shown(what, statistics.median(took), len(answer.content)))
        return tuple(found)


def render(found: Measured, load: float) -> str:
    """The table."""
    lines = "\n".join(f"| {page.what} | {page.seconds:.3f} s | {page.size:,} |" for page in found.pages)
    return (
        f"{found.devices:,} devices in {found.groups} groups; the signer and the bucket answer from memory. To compare "
        "all reports with the desired states, every 15 seconds and not for a visitor, takes "
        f"{found.reading_s:.2f} s. Load of the machine before: {load:.1f} (other programs).\n\n"
        f"| Page | Time (median of {_REPEATS}) | Bytes |\n|---|---:|---:|\n{lines}\n"
    )
