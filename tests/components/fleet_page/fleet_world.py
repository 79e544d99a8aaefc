"""A fleet page with a fleet, a signer and an object store in memory, served on loopback."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import uvicorn

from components.fleet_page.accounts import Person
from components.fleet_page.acts import Acts
from components.fleet_page.app import Site, make_app
from components.fleet_page.audit import AuditLog
from components.fleet_page.history import History
from components.fleet_page.watcher import Watcher
from components.stores.fleet.reports import FleetReading, UnreadReport
from components.stores.objects.s3 import ObjectInfo, ObjectStoreError
from components.stores.releases.signer_client import SignerError
from inspection.documents import DesiredState, Reported, Wave
from inspection.report_parts import CameraState, FailedRelease, LineTally
from inspection.rollout import RolloutPlan, RolloutState, Stage
from kizu.commands.fleet_page import judge, judge_agents
from tests.components.servers import free_port

NOW = datetime(2025, 4, 1, 12, 0, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
PEOPLE = {
    "hanako": Person("hanako", approves=frozenset({"metal-tag"})),
    "admin": Person("admin", admin=True),
    "reader": Person("reader"),
}


def password_of(name):
    return f"password-of-{name}"


def plan(state=RolloutState.RUNNING, **changes):
    stages = (
        Stage(devices=("line-1",), min_executed=1, success_share=1.0, failure_share=0.0, min_frames=500),
        Stage(percent=25.0, min_executed=2, success_share=0.75, failure_share=0.1, by_hand=True),
        Stage(percent=100.0),
    )
    values = {
        "version": 8, "release_digest": NEW, "former_digest": OLD, "stages": stages, "open_stage": 1,
        "opened_at": NOW - timedelta(hours=1), "began_at": NOW - timedelta(hours=2), "state": state,
    }  # fmt: skip
    return RolloutPlan(**(values | changes))


def desired(rollout=None, *, use_case="metal-tag", sequence=5):
    waves = (
        Wave(release_digest=NEW, devices=("line-1",)),
        Wave(release_digest=NEW, percent=25.0),
        Wave(release_digest=OLD, percent=100.0),
    )
    return DesiredState(
        sequence=sequence, use_case=use_case, waves=waves, probation_s=60.0, report_timeout_s=600.0, rollout=rollout
    )


def report(device="line-1", running=NEW, *, minutes_ago=1.0, state="running", group="line", **more):
    values = {
        "use_case": "metal-tag", "site": "factory", "sequence_seen": 5, "outbox_depth": 3,
        "verdicts": {"pass": 90, "fail": 7, "uncertain": 3, "not-inspected": 1},
    }  # fmt: skip
    return Reported(
        device=device, group=group, reported_at=NOW - timedelta(minutes=minutes_ago), state=state,
        running_release=running, **(values | more),
    )  # fmt: skip


REPORTS = (
    report(
        "line-1",
        tallies=(LineTally(release_digest=NEW, since=NOW, frames=400, fail=20, uncertain=8, p95_ms=41.0, compared=50),),
        cameras={"top": CameraState(ok=True), "side": CameraState(ok=False, reason="read-failed: no frame")},
    ),
    report("line-2", OLD, state="probation", pending_release=NEW),
    report("line-3", OLD, minutes_ago=90),
    report("line-4", OLD, failures={OLD: FailedRelease(reason="too-slow: <b>900 ms</b>", at=NOW, sequence=4)}),
)
UNREAD = (UnreadReport("line-9", "expected JSON", "line", "metal-tag"),)


class MemoryStore:
    """Objects by key. away: the store does not answer."""

    def __init__(self):
        self.objects, self.away = {}, False

    def put(self, bucket, key, data, *, if_absent=False, content_type=""):
        if self.away:
            raise ObjectStoreError("the store is away")
        if if_absent and key in self.objects:
            return False
        self.objects[key] = data
        return True

    def get(self, bucket, key):
        return self.objects[key]

    def list(self, bucket, prefix=""):
        if self.away:
            raise ObjectStoreError("the store is away")
        return [ObjectInfo(key, 1, "", NOW) for key in sorted(self.objects) if key.startswith(prefix)]


class World:
    """The fleet, the signer and the accounts in memory, and the page over them."""

    def __init__(self, folder: Path, reports=REPORTS, unread=UNREAD, wanted=None):
        self.now = NOW
        self.read = FleetReading(tuple(reports), tuple(unread))
        self.wanted = {("metal-tag", "line"): desired(plan())} if wanted is None else wanted
        self.asked, self.refuses, self.away = [], "", False
        self.store = MemoryStore()
        self.history = History(folder / "history.db")
        self.watcher = Watcher(self, self, judge, self.history, lambda: self.now, judge_software=judge_agents)
        self.audit = AuditLog(self.store, "kizu-state", self.later)
        self.acts = Acts(self, self.audit)
        self.site = Site(self.watcher, self.history, self, self.acts, self.audit, lambda: self.now)
        self.checked = []

    def later(self):
        self.now += timedelta(milliseconds=1)
        return self.now

    # -- the signer
    def desired_names(self):
        if self.away:
            raise SignerError("the signer does not answer")
        return sorted(self.wanted)

    def desired(self, use_case, group):
        return self.wanted.get((use_case, group))

    def release(self, digest):
        class Found:
            version = {OLD: 7, NEW: 8}.get(digest)

        return Found if Found.version else None

    def rollout(self, use_case, group, sequence, step, *, by, reason):
        self.asked.append((use_case, group, sequence, step, by, reason))
        if self.refuses:
            raise SignerError(self.refuses)
        state = {"pause": RolloutState.PAUSED, "resume": RolloutState.RUNNING, "stop": RolloutState.STOPPED}[step]
        self.wanted[use_case, group] = desired(plan(state, reason=reason, by=by), sequence=sequence + 1)
        return sequence + 1

    # -- the fleet bucket and MLflow's server
    def reading(self):
        return self.read

    def check(self, name, password):
        self.checked.append(name)
        return PEOPLE.get(name) if password == password_of(name) else None


@contextmanager
def served(world: World) -> Iterator[str]:
    """Serve the page until the block ends; yields its URL."""
    port = free_port()
    config = uvicorn.Config(make_app(world.site), host="127.0.0.1", port=port, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
        world.history.close()


class Visitor:
    """A browser without pictures: it keeps cookies and follows no address by itself."""

    def __init__(self, app, language="en"):
        transport = httpx.ASGITransport(app)
        headers = {"Accept-Language": language}
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8088", headers=headers)
        self._runner = asyncio.Runner()

    @property
    def cookies(self):
        return self.client.cookies

    def close(self):
        self._runner.run(self.client.aclose())
        self._runner.close()

    def get(self, path, **more):
        return self._runner.run(self.client.get(path, **more))

    def post(self, path, **more):
        return self._runner.run(self.client.post(path, **more))

    def sign_in(self, name, password=None, to=""):
        fields = {"account": name, "password": password_of(name) if password is None else password}
        return self.post("/sign-in" + (f"?to={to}" if to else ""), data=fields)

    def word(self, path="/"):
        """The word that the session's forms carry."""
        return re.search(r'name="csrf" value="([0-9a-f]+)"', self.get(path).text)[1]

    def act(self, act, *, sequence=5, reason="too many rejects", csrf=None, group="line", **headers):
        fields = {"csrf": self.word() if csrf is None else csrf, "sequence": str(sequence), "reason": reason}
        return self.post(f"/groups/metal-tag/{group}/{act}", data=fields, headers=headers)
