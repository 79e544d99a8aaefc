"""Real update clients: how many requests, bytes and seconds one release costs, and what grows with the fleet.

The clients are the device's own code over real TUF metadata, in one real S3 (SeaweedFS). The signer's own code
publishes them. What a device does with a release after the download is left out: no network is loaded, and a broken
device refuses.
"""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import SecretStr

from benchmarks.fleet.campaign import OLD, POLICY, release
from benchmarks.reconcile.passes import serve
from benchmarks.server import object_store
from components.deployment import keys
from components.deployment.rollout_steps import Asked, Order, Step, begin, take
from components.settings import Settings
from components.stores.fleet.device_documents import FleetListing
from components.stores.fleet.reports import FleetReports
from components.stores.objects.s3 import S3ObjectStore
from components.stores.releases.repository import ReleaseRepository
from edge_agent.config import Credentials
from edge_agent.object_store import S3ObjectStore as DeviceStore
from edge_agent.ota.offer import Keep, choose
from edge_agent.ota.release_client import ReleaseClient
from inspection.documents import DesiredState, ModelFile, Reported, Wave
from inspection.image import sha256_of
from inspection.paths import desired_path
from inspection.report_parts import FailedRelease
from inspection.rollout import RolloutState

SIZES: Final = (10, 100, 1000)
LISTED: Final = (10, 100, 1000, 10_000, 100_000)
"""For so many devices the reports are listed."""
MODEL_BYTES: Final = 500_000
_BROKEN: Final = 0.01
_AWAY: Final = 0.03
_THREADS: Final = 8
_RELEASES: Final = "kizu-releases"
_FLEET: Final = "kizu-fleet"
_REGION: Final = "us-east-1"


@dataclass(slots=True)
class Counted:
    """A device's store that counts requests, and the bytes that came."""

    store: DeviceStore
    requests: int = 0
    received: int = 0

    def put(self, bucket: str, key: str, data: bytes, *, if_absent: bool = False, content_type: str = "") -> bool:
        """As the store."""
        self.requests += 1
        return self.store.put(bucket, key, data, if_absent=if_absent, content_type=content_type)

    def get(self, bucket: str, key: str) -> bytes:
        """As the store."""
        self.requests += 1
        data = self.store.get(bucket, key)
        self.received += len(data)
        return data

    def get_range(self, bucket: str, key: str, offset: int, length: int) -> bytes:
        """As the store."""
        self.requests += 1
        data = self.store.get_range(bucket, key, offset, length)
        self.received += len(data)
        return data

    def stream(self, bucket: str, key: str) -> Iterator[bytes]:
        """As the store."""
        self.requests += 1
        return self._counted(self.store.stream(bucket, key))

    def _counted(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.received += len(piece)
            yield piece


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll of one device cost."""

    requests: int
    received: int
    took_s: float


@dataclass(slots=True)
class Taken:
    """A fleet that took one release. away: devices that were away, and caught up later."""

    devices: int
    away: int
    broken: int
    took: list[Poll] = field(default_factory=list)
    quiet: list[Poll] = field(default_factory=list)
    signer_s: float = 0.0
    reading_s: float = 0.0
    whole_s: float = 0.0


class Device:
    """One device: its own metadata, its own folder, and the decision of the agent."""

    def __init__(self, name: str, store: DeviceStore, root: bytes, folder: Path, *, broken: bool) -> None:
        self.name, self._root, self._folder, self._broken = name, root, folder, broken
        self._store = Counted(store)
        self._running, self._sequence = OLD, 1
        self._failures: dict[str, FailedRelease] = {}

    def poll(self) -> Poll:
        """Look at the repository as the agent does, and take what is offered; then report."""
        requests, received, began = self._store.requests, self._store.received, time.perf_counter()
        client = ReleaseClient(self._store, _RELEASES, self._root, self._folder / "tuf")
        client.refresh()
        desired = client.desired_state("part", "line")
        if desired is not None:
            self._follow(client, desired)
        self._report()
        return Poll(
            self._store.requests - requests, self._store.received - received, time.perf_counter() - began
        )  # fmt: skip

    def _follow(self, client: ReleaseClient, desired: DesiredState) -> None:
        answer = choose(
            desired, device=self.name, use_case="part", sequence_seen=self._sequence, running=self._running, failed={},
            now=datetime.now(UTC), agent_version="1.0.0",
        )  # fmt: skip
        if isinstance(answer, Keep) or answer.digest in self._failures:
            return
        client.fetch_release(answer.digest, self._folder / "release")
        self._sequence = answer.sequence
        if self._broken:
            self._failures[answer.digest] = FailedRelease(
                reason="wrong-golden", at=datetime.now(UTC), sequence=answer.sequence, attempts=1, transient=False
            )
        else:
            self._running = answer.digest

    def _report(self) -> None:
        report = Reported(
            device=self.name, group="line", use_case="part", reported_at=datetime.now(UTC), state="running",
            running_release=self._running, sequence_seen=self._sequence, failures=self._failures,
        )  # fmt: skip
        self._store.put(_FLEET, f"{self.name}/reported.json", report.to_json(), content_type="application/json")


def listing_s(devices: int) -> float:
    """Seconds of processor time to list the reports of so many devices.

    The listing is served by another process from memory, in pages of a thousand, whose own time is not that of a store.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    serving = context.Process(target=serve, args=(there, 1, 1, devices, 0), daemon=True)
    serving.start()
    try:
        if not here.poll(300):
            raise RuntimeError("expected the fakes to start within five minutes, but they did not")
        store = S3ObjectStore(here.recv(), _REGION, "key", "secret")
        began = time.process_time()
        found = FleetListing(store, _FLEET).etags("reported.json")
        took = time.process_time() - began
        assert len(found) == devices, len(found)
        here.send("end")
        return took
    finally:
        serving.join(10)
        serving.kill()


def measure(sizes: Sequence[int], work: Path) -> list[Taken]:
    """Have fleets of these sizes take one release each, from one store and one signer."""
    found = []
    with object_store(work) as settings, tempfile.TemporaryDirectory(dir=work, prefix="devices-") as folder:
        store = S3ObjectStore.from_settings(settings)
        for bucket in (_RELEASES, _FLEET):
            store._client.create_bucket(Bucket=bucket)
        for number, size in enumerate(sizes):
            for bucket in (_RELEASES, _FLEET):
                for info in list(store.list(bucket)):
                    store.delete(bucket, info.key)
            place = Path(folder) / str(number)
            found.append(_one_fleet(size, settings, store, place))
            shutil.rmtree(place)
    return found


def _one_fleet(size: int, settings: Settings, store: S3ObjectStore, place: Path) -> Taken:
    random = np.random.default_rng(size)
    broken = set(random.choice(size, round(size * _BROKEN), replace=False).tolist())
    away = set(random.choice(size, round(size * _AWAY), replace=False).tolist())
    taken = Taken(size, len(away), len(broken))
    root = keys.init(place / "root", place / "signer").read_bytes()
    repository = ReleaseRepository(
        store, _RELEASES, keys.load_root(place / "signer"), keys.load_signers(place / "signer")
    )
    repository.initialise()
    secret = settings.secret_access_key.get_secret_value() if settings.secret_access_key else ""
    local = threading.local()

    def store_of_thread() -> DeviceStore:
        if not hasattr(local, "store"):
            known = Credentials(settings.access_key_id or "", SecretStr(secret))
            local.store = DeviceStore(settings.s3_endpoint or "", _REGION, known)
        found: DeviceStore = local.store
        return found

    devices = [f"d{number}" for number in range(size)]
    made: dict[int, Device] = {}

    def poll(number: int) -> Poll:
        if number not in made:
            made[number] = Device(
                devices[number], store_of_thread(), root, place / devices[number], broken=number in broken
            )
        return made[number].poll()

    before = DesiredState(
        sequence=1, use_case="part", waves=(Wave(release_digest=OLD, percent=100.0),), probation_s=1.0
    )
    repository.publish([(desired_path("part", "line"), before.to_json())])
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(poll, range(size)))
        began = time.perf_counter()
        desired, taken.signer_s = _publish(repository, before)
        there = [number for number in range(size) if number not in away]
        taken.took = list(pool.map(poll, there))
        taken.quiet = list(pool.map(poll, there))
        taken.took += pool.map(poll, sorted(away))
        taken.whole_s = time.perf_counter() - began
    began = time.perf_counter()
    reading = FleetReports(store.for_many_small(), _FLEET).reading()
    taken.reading_s = time.perf_counter() - began
    digest = desired.waves[-1].release_digest
    ran = sum(report.running_release == digest for report in reading.reports)
    assert (len(reading.reports), ran) == (size, size - len(broken)), (len(reading.reports), ran)
    return taken


def _publish(repository: ReleaseRepository, before: DesiredState) -> tuple[DesiredState, float]:
    """Publish a release and take its rollout to all devices, as the signer does. Returns its state and the seconds."""
    model = np.random.default_rng(1).bytes(MODEL_BYTES)
    document = replace(
        release(), models=(ModelFile(precision="fp32", file="m.onnx", sha256=sha256_of(model), bytes=len(model)),)
    )
    began = time.perf_counter()
    files = [("release.json", document.to_json()), ("m.onnx", model)]
    repository.publish([(f"releases/{document.digest}/{name}", data) for name, data in files])
    desired = begin(document, POLICY, before, Order(), datetime.now(UTC))
    path = desired_path("part", "line")
    repository.publish([(path, desired.to_json())])
    while desired.rollout is not None and desired.rollout.state is RolloutState.RUNNING and not desired.rollout.is_last:
        asked = Asked(Step.ADVANCE, desired.sequence, "reconciler", "measured")
        desired = take(desired, asked, datetime.now(UTC))
        repository.publish([(path, desired.to_json())])
    return desired, time.perf_counter() - began
