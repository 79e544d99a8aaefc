"""A device whose agent is started by the launcher, in this process: each start makes the parts anew."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edge_agent import launcher
from edge_agent.damaged import DamagedFiles
from edge_agent.disk import RealDisk
from edge_agent.errors import UpdateError
from edge_agent.ota.release_client import ReleaseClient
from edge_agent.software.rules import Launched
from edge_agent.software.software import Software
from edge_agent.software.store import SoftwareStore
from edge_agent.software.trial import SoftwareTrial
from inspection import AgentOrder, Wave
from tests.edge_agent.agent_wheels import MACHINE, PYTHON
from tests.edge_agent.publisher import Publisher
from tests.edge_agent.stores import MemoryStore

BUCKET = "kizu-releases"
RELEASE = "ab" * 32
PASSED = SoftwareTrial(True)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class CountingStore(MemoryStore):
    """Counts the bytes of targets that were fetched, by key."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: dict[str, int] = {}

    def get_range(self, bucket, key, offset, length):
        piece = super().get_range(bucket, key, offset, length)
        self.fetched[key] = self.fetched.get(key, 0) + len(piece)
        return piece


@dataclass
class SoftwareDevice:
    """The device's folder, the repository that it reads, a clock that the test moves, and what the agent shows."""

    folder: Path
    store: CountingStore = field(default_factory=CountingStore)
    disk: object = field(default_factory=RealDisk)
    python: str = PYTHON
    launcher_version: int = launcher.VERSION
    now_s: float = 0.0
    silent_s: float = 0.0
    inspects: bool = True
    problem: str = ""
    needed: str = "0"
    idle: bool = True
    contact: bool = True
    trial: SoftwareTrial = PASSED
    piece_bytes: int = 1_000_000
    min_free_bytes: int = 0
    launched: bool = True
    image_digest: str = ""
    publisher: Publisher | None = None

    def __post_init__(self) -> None:
        self.publisher = self.publisher or Publisher(self.put)
        self.tried: list[Path] = []
        self.alarms: list[int] = []
        self.slot = ""

    def put(self, key: str, data: bytes) -> None:
        self.store.objects[BUCKET, key] = data

    def order(self, digest: str, *, since: int | None = None, probation_s: float = 60.0, **wave) -> None:
        """Order software, for all devices unless a wave is given."""
        assert self.publisher is not None
        waves = (Wave(release_digest=digest, **(wave or {"percent": 100.0})),)
        since = self.publisher.sequence + 1 if since is None else since
        self.publisher.desire(RELEASE, agent=AgentOrder(waves=waves, since=since, probation_s=probation_s))

    def start(self) -> str:
        """What the service manager does: the launcher decides, and the agent of that slot boots. Returns the slot."""
        self.left = False
        agent_folder = self.folder / "agent"
        start = launcher.decide(agent_folder, self.is_usable, self.write_state)
        self.slot, self.on_trial = start.slot, start.trial
        self.began_s = self.now_s
        self.software = Software(
            SoftwareStore(self.folder, self.disk, DamagedFiles(self.folder / "damaged", RealDisk())),
            lambda interrupted: self.client("agent-tuf"),
            Launched(self.slot, self.launcher_version, "python3", self.python, MACHINE) if self.launched else None,
            self.try_it,
            device="dev1",
            use_case="tags",
            observe=lambda: (self.silent_s, self.inspects, self.problem),
            needed=lambda: self.needed,
            idle=lambda: self.idle,
            leave=self.leave,
            image_digest=self.image_digest,
            min_free_bytes=self.min_free_bytes,
            alarm=self.alarms.append,
            monotonic=lambda: self.now_s,
            utc_now=lambda: NOON + timedelta(seconds=self.now_s),
        )
        self.software.boot()
        return self.slot

    def write_state(self, path: Path, state) -> None:
        """As `launcher.write_state`, in the same steps, on the disk of this device."""
        self.disk.write(path, json.dumps(state, sort_keys=True, separators=(",", ":")).encode())

    def is_usable(self, slot: str) -> bool:
        if slot == launcher.INSTALLED:
            return True
        place = self.folder / "agent" / "slots" / slot
        return (place / "agent.json").is_file() and (place / "python").read_text() == self.python

    def leave(self) -> None:
        self.left = True

    def try_it(self, site: Path, stop) -> SoftwareTrial:
        self.tried.append(site)
        return self.trial

    def client(self, metadata: str) -> ReleaseClient:
        return ReleaseClient(
            self.store, BUCKET, self.publisher.root_bytes, self.folder / metadata, disk=self.disk,
            piece_bytes=self.piece_bytes,
        )  # fmt: skip

    def look(self) -> None:
        """Read the desired state, as the thread of releases does, and do the next step with software."""
        if self.contact:
            try:
                client = self.client("tuf")
                client.refresh()
                self.software.want(client.desired_state("tags", "line1"))
            except UpdateError:
                pass
        self.software.step()

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.look()

    def restart(self) -> str:
        """The agent has ended in order, and the service manager starts it again."""
        self.software.stop()
        return self.start()

    def take(self, digest: str) -> None:
        """Order software and let it come to its end: kept, unless something stands in the way."""
        self.order(digest)
        self.look()
        if self.left:
            self.restart()
            self.look()
            self.pass_time(61)

    @property
    def state(self):
        return self.software.state

    def running(self) -> str | None:
        return self.state.digest_of(self.slot)

    def code(self) -> str:
        """The code in the slot that runs."""
        return (self.folder / "agent" / "slots" / self.slot / "site" / "edge_agent" / "__init__.py").read_text()
