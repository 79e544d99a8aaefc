"""Scenarios of an update, which are killed at every moment, and what the next start must do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge_agent.damaged import DamagedFiles
from edge_agent.disk import Steps
from edge_agent.errors import UpdateError
from edge_agent.health import Health
from edge_agent.inference import RuntimeChoice
from edge_agent.memory_budget import MemoryBudget
from edge_agent.ota.activation import Phase
from edge_agent.ota.active import Active, Identity
from edge_agent.ota.driver import Updates
from edge_agent.ota.release_client import ReleaseClient
from edge_agent.ota.store import ReleaseStore
from edge_agent.ota.trial import try_release
from edge_agent.shadow.files import METADATA_FOLDER as SHADOW_METADATA
from edge_agent.shadow.files import ShadowFiles
from edge_agent.shadow.shadow import Shadow, order_for
from inspection import ShadowOrder, decode_image
from tests.edge_agent.models import BAD, build_candidate, build_release, picture
from tests.edge_agent.publisher import Publisher
from tests.edge_agent.stores import MemoryStore

BUCKET = "kizu-releases"
ONE_THREAD = RuntimeChoice(threads=1)


class Scenario:
    """prepare: the state before. run: what is interrupted. check: the next start, and what is wrong after it."""

    def on(self, steps: Steps, folder: Path) -> Steps:
        """The disk that it runs on."""
        return steps


class Update(Scenario):
    """A device with a factory, a previous and a current release takes a fourth; the previous one's files go."""

    before = 3

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.publisher = Publisher(lambda key, data: self.store.objects.__setitem__((BUCKET, key), data))
        # Each answers a white quadrant with a score of its own, so that what runs shows which it is.
        self.releases = [build_release(n, gain=1 - n / 10) for n in range(1, self.before + 2)]
        self.new = self.releases[-1]

    def prepare(self, folder: Path, ports) -> None:
        (folder / "state").mkdir()
        for built in self.releases[:-1]:
            self._publish(built)
            assert self._take(self._updates(folder, ports), built), "the scenario's own releases must be taken"
        self._publish(self.new)

    def run(self, folder: Path, ports, said) -> None:
        self._publish_all()
        updates = self._updates(folder, ports)
        said(f"running {self._running()}")
        assert self._take(updates, self.new)
        updates.stop()

    def check(self, folder: Path, ports, said: list[str]) -> Iterator[str]:
        self._publish_all()
        state = ReleaseStore(folder / "state").load_state()
        to_probation = state.phase is Phase.PAUSED or (state.phase is Phase.PROBATION and state.current is None)
        updates = self._updates(folder, ports)
        # Not only some whole release: the very one that the state names, or one was committed that is not there.
        if self._running() != (state.pending if to_probation else state.current):
            yield f"expected the release of {state} to run, but got {self._running()}"
        if self.before and self._running() not in [built.digest for built in self.releases[-2:]]:
            yield f"expected the release before or the new one to run, but got {self._running()}"
        yield from self._answers()
        if not self._take(updates, self.new):
            failed = updates.state.failed.get(self.new.digest)
            if failed is None or not failed.reason.startswith("agent-stopped: without warning"):
                yield f"expected the update to complete, but: {updates.reason}"
            # After a crash a release waits, unless somebody orders it again.
            self.publisher.desire(self.new.digest, probation_s=0.001)
            if not self._take(updates, self.new):
                yield f"expected the update to complete when asked for again, but: {updates.reason}"
        yield from self._answers()
        digests = [built.digest for built in self.releases]
        kept = {digests[0], *digests[-2:]}
        there = {path.name for path in (folder / "state" / "releases").iterdir()}
        if there != kept:
            yield f"expected the releases {sorted(kept)} on the disk, but got {sorted(there)}"
        yield from rubbish(folder)

    def _publish_all(self) -> None:
        # prepare() ran in a process of its own: the same state again, here.
        for built in self.releases:
            self._publish(built)

    def _publish(self, built) -> None:
        self.publisher.add_release(built)
        self.publisher.desire(built.digest, probation_s=0.001)

    def _updates(self, folder: Path, ports) -> Updates:
        state = folder / "state"
        self.active = Active()
        updates = Updates(
            Identity("dev1", "line1", "tags"),
            ReleaseStore(state, disk=ports.disk),
            lambda: ReleaseClient(
                ports.store(self.store), BUCKET, self.publisher.root_bytes, state / "tuf",
                disk=ports.disk, piece_bytes=300,
            ),
            ONE_THREAD, Health(), active=self.active,
            trial=lambda folder, digest, choice, stop: try_release(folder, digest, choice),
        )  # fmt: skip
        updates.boot()
        return updates

    def _take(self, updates: Updates, built) -> bool:
        for _ in range(2):  # the second look finds it up to date and cleans up
            while updates.state.phase is Phase.PROBATION:
                updates.tick()
            updates.poll()
        return updates.state.current == built.digest

    def _running(self) -> str | None:
        release = self.active.get()
        return release.digest if release else None

    def _answers(self) -> Iterator[str]:
        """Check that the running release answers as the release with its digest should."""
        release = self.active.get()
        if release is None:
            return
        number = [built.digest for built in self.releases].index(release.digest) + 1
        (found,) = release.inspect(decode_image(picture(*BAD)))[0].detections
        if abs(found.score - (1 - number / 10)) > 0.001:
            yield f"release {number} runs, but answers {found.score:.3f}"


class FirstInstall(Update):
    """A device without a release takes its first."""

    before = 0


class Beside(Scenario):
    """A device that runs a release gets a candidate, which judges a frame, and then the order for it ends."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.publisher = Publisher(lambda key, data: self.store.objects.__setitem__((BUCKET, key), data))
        self.built, self.candidate = build_release(1), build_candidate(2, gain=0.5)
        self.order = ShadowOrder(release_digest=self.candidate.digest, devices=("dev1",))
        self.publisher.add_release(self.built)
        self.publisher.add_candidate(self.candidate)

    def prepare(self, folder: Path, ports) -> None:
        self.publisher.desire(self.built.digest, probation_s=0.001)
        updates, _ = self._start(folder, ports)
        self._settle(updates)

    def run(self, folder: Path, ports, said) -> None:
        # prepare() ran in a process of its own: the same state again, here.
        self.publisher.desire(self.built.digest, probation_s=0.001)
        self.publisher.desire(self.built.digest, shadow=self.order)
        updates, shadow = self._start(folder, ports)
        updates.poll()
        for _ in range(3):
            shadow.step()
        assert shadow.tally().reason == "", shadow.tally()
        said("ordered")
        self.publisher.desire(self.built.digest)
        said("ended")
        updates.poll()
        shadow.step()
        shadow.stop()
        updates.stop()

    def check(self, folder: Path, ports, said: list[str]) -> Iterator[str]:
        """The release runs whatever became of the candidate, and the candidate comes and goes as it is ordered."""
        self.publisher.desire(self.built.digest, probation_s=0.001)
        self.publisher.desire(self.built.digest, shadow=self.order)
        self.publisher.desire(self.built.digest)
        self.publisher.desire(self.built.digest, shadow=self.order)
        updates, shadow = self._start(folder, ports)
        if self._running() != self.built.digest:
            yield f"expected the release to run, but got {self._running()}"
        self._settle(updates)
        for _ in range(3):
            shadow.step()
        tally = shadow.tally()
        if tally is None or tally.reason:
            yield f"expected the candidate to judge where it is ordered, but: {tally}"
        self.publisher.desire(self.built.digest)
        updates.poll()
        shadow.step()
        left = sorted(path.name for path in (folder / "state" / "shadow").rglob("*"))
        if shadow.tally() is not None or left:
            yield f"expected nothing of a candidate where none is ordered, but got {left}"
        if updates.state.current != self.built.digest or updates.state.failed:
            yield f"expected the release to be left alone, but got {updates.state}"
        yield from rubbish(folder)

    def _start(self, folder: Path, ports) -> tuple[Updates, Shadow]:
        state = folder / "state"
        self.active = Active()
        shadow = Shadow(
            ShadowFiles(state, ports.disk, DamagedFiles(state / "damaged", ports.disk)),
            lambda interrupted: self._client(state / SHADOW_METADATA, ports),
            lambda digest_folder, digest, interrupted: Checks(digest_folder, self.candidate),
            budget=MemoryBudget(60_000_000), monotonic=lambda: 0.0, rest=lambda event, seconds: None, wait_s=0.0,
        )  # fmt: skip
        updates = Updates(
            Identity("dev1", "line1", "tags"), ReleaseStore(state, disk=ports.disk),
            lambda: self._client(state / "tuf", ports), ONE_THREAD, Health(), active=self.active,
            trial=lambda folder, digest, choice, stop: try_release(folder, digest, choice),
            accepted=lambda desired: shadow.want(order_for(desired, device="dev1", use_case="tags")),
        )  # fmt: skip
        updates.boot()
        shadow.boot()
        return updates, shadow

    def _client(self, metadata: Path, ports) -> ReleaseClient:
        return ReleaseClient(
            ports.store(self.store), BUCKET, self.publisher.root_bytes, metadata, disk=ports.disk, piece_bytes=2000
        )

    def _settle(self, updates: Updates) -> None:
        for _ in range(2):
            updates.poll()
            while updates.state.phase is Phase.PROBATION:
                updates.tick()

    _running = Update._running


class Checks:
    """A candidate's process that looks whether its files are whole, and judges nothing."""

    def __init__(self, folder: Path, built) -> None:
        for name, data in built.files.items():
            if (folder / name).read_bytes() != data:
                raise UpdateError("damaged", name)

    def close(self) -> None:
        pass


class UnsyncedUpdate(Update):
    """The update on a disk that does not sync; the tests must notice that."""

    def on(self, steps: Steps, folder: Path) -> Steps:
        return Unsynced(steps)


class Unsynced(Steps):
    """Steps whose `sync` does nothing."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __getattribute__(self, name: str):
        if name.startswith("_"):
            return super().__getattribute__(name)
        return (lambda path: None) if name == "sync" else getattr(self._steps, name)


def rubbish(folder: Path) -> Iterator[str]:
    """Temporary files that a crash left and that no later start would remove."""
    for path in folder.rglob("*"):
        if path.is_file() and (path.name.startswith((".", "tmp")) or path.suffix in (".tmp", ".part")):
            yield f"left behind: {path.relative_to(folder)}"
