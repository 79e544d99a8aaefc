"""The activation of a device in this process, with a repository in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.health import Health
from edge_agent.inference import RuntimeChoice
from edge_agent.ota.active import Active, Identity
from edge_agent.ota.driver import Updates
from edge_agent.ota.release_client import ReleaseClient
from edge_agent.ota.store import ReleaseStore
from edge_agent.ota.trial import try_release
from tests.edge_agent.publisher import Publisher
from tests.edge_agent.stores import MemoryStore

BUCKET = "kizu-releases"


@dataclass
class Device:
    """A device with its state folder, the publisher it trusts, and a clock that the test moves."""

    store: MemoryStore
    publisher: Publisher
    folder: Path
    now_s: float = 0.0
    held: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.health = Health(self.clock)
        self.start()

    def clock(self) -> float:
        return self.now_s

    def start(self) -> None:
        self.active = Active()
        self.updates = Updates(
            Identity("dev1", "line1", "tags"),
            ReleaseStore(self.folder),
            self.client,
            RuntimeChoice(threads=1),
            self.health,
            active=self.active,
            trial=lambda folder, digest, choice, stop: try_release(folder, digest, choice),
            held=lambda: self.held(),
            monotonic=self.clock,
        )
        self.updates.boot()

    def client(self) -> ReleaseClient:
        return ReleaseClient(self.store, BUCKET, self.publisher.root_bytes, self.folder / "tuf")

    def running(self) -> str | None:
        active = self.active.get()
        return active.digest if active else None

    def commit(self) -> None:
        """Let the probation pass, with an inspection loop that works."""
        self.now_s += 3600
        self.health.beat()
        self.updates.tick()

    def take(self, built, **desire) -> None:
        self.publisher.add_release(built)
        self.publisher.desire(built.digest, **desire)
        self.updates.poll()
