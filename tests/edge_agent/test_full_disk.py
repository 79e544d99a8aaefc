"""A disk that is full: the agent says so, loses nothing, and goes on when there is room again."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import FolderCamera
from edge_agent.camera_states import CameraStates
from edge_agent.config import OutboxLimits
from edge_agent.disk import RealDisk, Steps
from edge_agent.errors import EdgeError, StateError
from edge_agent.health import Health
from edge_agent.inference import RuntimeChoice
from edge_agent.ota.activation import Phase
from edge_agent.ota.active import Active, Identity
from edge_agent.ota.driver import Updates
from edge_agent.ota.release_client import ReleaseClient
from edge_agent.ota.store import ReleaseStore
from edge_agent.ota.trial import try_release
from edge_agent.outbox import Outbox
from edge_agent.outbox_schema import connect
from edge_agent.recent_frames import RecentFrames
from edge_agent.sources.folder import FolderSource
from tests.edge_agent.bench import Bench, loaded
from tests.edge_agent.models import DOUBTFUL, build_release, picture
from tests.edge_agent.outbox_items import LIMITS, put
from tests.edge_agent.publisher import Publisher
from tests.edge_agent.servers import wait_for
from tests.edge_agent.stores import MemoryStore

BUCKET = "kizu-releases"
FRAMES = 4


class FillingUp(Steps):
    """A disk with room for a number of writes, and then for none until the test makes room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.asked = 0

    def write(self, path: Path, data: bytes, mode: int) -> None:
        self._take()
        super().write(path, data, mode)

    def append(self, path: Path, data: bytes) -> None:
        self._take()
        super().append(path, data)

    def make_folder(self, path: Path) -> None:
        if not path.exists():
            self._take()
        super().make_folder(path)

    def _take(self) -> None:
        self.asked += 1
        if self.asked > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")


def inspect_on(steps: FillingUp, folder: Path, release) -> list[str]:
    """Inspect everything in the camera's folder; make room at the first error. Returns the errors."""
    camera = folder / "camera"
    camera.mkdir(parents=True)
    for number in range(FRAMES):
        (camera / f"{number}.png").write_bytes(picture(*DOUBTFUL, seed=number))
    (camera / "broken.png").write_bytes(b"no picture")
    problems: list[str] = []

    def until_it_works(act):
        while True:
            try:
                return act()
            except EdgeError as e:
                problems.append(str(e))
                steps.room = 10**9

    def step() -> None:
        loop.step(release, 0.05)
        if steps.room < 10**9 and (said := cameras.problem() or outbox.problem):
            problems.append(said)
            steps.room = 10**9

    disk, cameras = RealDisk(steps), CameraStates()
    outbox = until_it_works(
        lambda: Outbox(folder / "outbox", LIMITS, disk=disk, monotonic=lambda: 1000 * time.monotonic())
    )
    (folder / "done").mkdir()
    source = FolderSource(
        FolderCamera(path=camera, poll_interval_s=0.001, settle_s=0.0), folder / "done", disk=disk, retry_s=0.001
    )
    loop = InspectionLoop(
        [source], Active(), outbox, Health(), RecentFrames(), site="s", device="d", publish=True, cameras=cameras
    )
    while any(path.is_file() for path in camera.iterdir()) or not outbox.catch_up():
        until_it_works(step)
    assert (cameras.problem(), outbox.problem) == ("", "")
    names = [json.loads(item.payload)["original_name"] for item in outbox.results(100)]
    assert names == [f"{number}.png" for number in range(FRAMES)]
    assert outbox.depth()["uncertain"] == len(list((folder / "outbox" / "images").iterdir())) == FRAMES
    assert (outbox.dropped(), outbox.recorded_keys()) == (0, ())
    counters = outbox.counters()
    assert (counters["frames"], counters["rejected.not-an-image"]) == (FRAMES, 1)
    assert sorted(path.name for path in (camera / "rejected").iterdir()) == ["broken.png", "broken.png.reason.txt"]
    outbox.close()
    return problems


def test_a_disk_that_fills_up_at_any_write_costs_no_frame(tmp_path, capsys):
    """What cannot be written is kept in memory and written later. A frame stays with its camera until it can go."""
    release = loaded(tmp_path)
    plenty = FillingUp(10**9)
    assert inspect_on(plenty, tmp_path / "plenty", release) == []
    for room in range(plenty.asked):
        problems = inspect_on(FillingUp(room), tmp_path / str(room), release)
        assert len(problems) == 1, f"room for {room} writes: {problems}"
        assert "No space left" in problems[0]
    with capsys.disabled():
        print(f"\ninspection: {plenty.asked} writes, each of them on a full disk", end=" ")


def updates_on(
    steps: Steps, folder: Path, store: MemoryStore, publisher: Publisher, *, active: Active | None = None,
    health: Health | None = None, monotonic: Callable[[], float] = time.monotonic,
) -> Updates:  # fmt: skip
    disk = RealDisk(steps)
    return Updates(
        Identity("dev1", "line1", "tags"),
        ReleaseStore(folder, disk=disk),
        lambda: ReleaseClient(store, BUCKET, publisher.root_bytes, folder / "tuf", disk=disk, piece_bytes=300),
        RuntimeChoice(threads=1), health or Health(), active=active or Active(), monotonic=monotonic,
        trial=lambda folder, digest, choice, stop: try_release(folder, digest, choice),
    )  # fmt: skip


def advance(updates: Updates) -> None:
    """One turn of `Updates.run`."""
    with suppress(StateError):
        while updates.state.phase is Phase.PROBATION:
            updates.tick()
        updates.poll()


def test_a_disk_that_fills_up_at_any_write_of_an_update_delays_it(tmp_path, capsys):
    """The previous release runs in the meantime, the new one is not marked as failed, and no restart is needed."""
    store = MemoryStore()
    publisher = Publisher(lambda key, data: store.objects.__setitem__((BUCKET, key), data))
    first, second = build_release(1), build_release(2, gain=0.9)
    publisher.add_release(first)
    publisher.desire(first.digest, probation_s=0.001)
    updates = updates_on(Steps(), tmp_path / "template", store, publisher)
    updates.boot()
    while updates.state.current != first.digest:
        advance(updates)
    updates.stop()
    publisher.add_release(second)
    publisher.desire(second.digest, probation_s=0.001)

    def run(room: int) -> FillingUp:
        folder = tmp_path / "device"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "template", folder, symlinks=True)
        steps = FillingUp(room)
        active = Active()
        updates = updates_on(steps, folder, store, publisher, active=active)
        updates.boot()
        for _ in range(5):
            advance(updates)
            assert active.get() is not None
        if room < 10**9:
            assert updates.state.current == first.digest
            steps.room = 10**9
        for _ in range(5):
            advance(updates)
        assert (updates.state.current, updates.state.phase) == (second.digest, Phase.IDLE), updates.reason
        assert active.get().digest == second.digest
        assert updates.state.failed == {}
        updates.stop()
        return steps

    writes = run(10**9).asked
    for room in range(writes):
        run(room)
    with capsys.disabled():
        print(f"\nupdate: {writes} writes, each of them on a full disk", end=" ")


def test_a_bad_release_on_probation_is_not_kept_because_the_disk_is_full(tmp_path):
    """A fault that could not be written to disk is kept in memory."""
    store = MemoryStore()
    publisher = Publisher(lambda key, data: store.objects.__setitem__((BUCKET, key), data))
    first, second = build_release(1), build_release(2, gain=0.9)
    steps = FillingUp(10**9)
    active, health, waited_s = Active(), Health(), [0.0]
    updates = updates_on(
        steps, tmp_path, store, publisher, active=active, health=health,
        monotonic=lambda: time.monotonic() + waited_s[0],
    )  # fmt: skip
    updates.boot()
    for built, probation_s in ((first, 0.001), (second, 0.2)):
        publisher.add_release(built)
        publisher.desire(built.digest, probation_s=probation_s)
        updates.poll()
        if built is first:
            while updates.state.phase is Phase.PROBATION:
                updates.tick()
    steps.room = 0
    health.fault("the output has another shape")
    with pytest.raises(StateError, match="No space left"):
        updates.tick()
    waited_s[0] = 3600
    steps.room = 10**9
    updates.tick()
    assert active.get().digest == first.digest
    assert "another shape" in updates.state.failed[second.digest].reason


def test_a_stop_on_a_full_disk_is_still_a_stop(tmp_path):
    """The agent ends, and logs what it could not write."""
    store = MemoryStore()
    publisher = Publisher(lambda key, data: store.objects.__setitem__((BUCKET, key), data))
    built = build_release(1)
    publisher.add_release(built)
    publisher.desire(built.digest, probation_s=60.0)
    steps = FillingUp(10**9)
    updates = updates_on(steps, tmp_path, store, publisher)
    updates.boot()
    updates.poll()
    steps.room = 0
    updates.stop()


def test_an_index_that_cannot_grow_keeps_results_in_memory_and_goes_on_later(tmp_path):
    """SQLite answers `database or disk is full` in the middle of a transaction."""
    connection, now = connect(tmp_path / "outbox.sqlite"), [0.0]
    outbox = Outbox(tmp_path, OutboxLimits(min_free_bytes=0), connect=lambda path: connection, monotonic=lambda: now[0])
    connection.execute("PRAGMA max_page_count = 18")
    numbers = count()
    for number in numbers:
        assert put(outbox, number)
        if outbox.problem:
            break
    assert "is full" in outbox.problem
    used, depth = outbox.bytes_used(), outbox.depth()
    assert outbox.is_recorded(f"f{number}")
    assert depth["result"] == outbox.counters()["frames"] == number
    connection.execute("PRAGMA max_page_count = 100000")
    now[0] += 2
    assert outbox.catch_up()
    assert (outbox.depth()["result"], outbox.bytes_used() > used) == (number + 1, True)
    outbox.close()
    again = Outbox(tmp_path, OutboxLimits(min_free_bytes=0))
    assert again.depth()["result"] == number + 1
    assert len(list((tmp_path / "images").iterdir())) == number + 1
    again.close()


def on_a_small_disk(folder: Path) -> None:
    """Run `Bench` in a process of its own until `folder`, a file system of 2 MB, is full."""
    bench = Bench(folder)
    for number in range(20):
        bench.feed(f"{number:02}.png", picture(*DOUBTFUL, seed=number))
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert RealDisk().free_bytes(folder) == 0
    bench.active.set(loaded(folder.parent / "release"))
    with bench:
        wait_for(lambda: bench.health.problem)
        wait_for(lambda: len(bench.results()) == 20)  # the line is told while the disk is full
        said, waiting = bench.health.problem, bench.outbox.in_memory()
        ballast.unlink()
        wait_for(lambda: bench.outbox.in_memory() == 0 and bench.waiting() == [])
        assert [item["original_name"] for item in bench.results()] == [f"{number:02}.png" for number in range(20)]
        # What found no room is counted: the line comes first.
        assert bench.outbox.depth()["uncertain"] + bench.outbox.dropped() == 20
        wait_for(lambda: bench.health.problem == "")
    print(json.dumps({"said": said, "waiting": waiting}))


def test_a_real_file_system_that_is_full_costs_no_frame(tmp_path):
    """SQLite, images and moves share a tmpfs of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    alone = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "mount", "-t", "tmpfs", "none", str(folder)], capture_output=True).returncode != 0:
        alone = ["unshare", "--mount"]
        if subprocess.run([*alone, "mount", "-t", "tmpfs", "none", str(folder)], capture_output=True).returncode != 0:
            pytest.skip("a small file system of its own needs root or user namespaces; neither is allowed here")
    # In a mount namespace of its own: it is gone with the process, whatever happens.
    code = f"import pathlib, tests.edge_agent.test_full_disk as t; t.on_a_small_disk(pathlib.Path({str(folder)!r}))"
    command = f"mount -t tmpfs -o size=2m none {folder} && exec {sys.executable} -c {json.dumps(code)}"
    done = subprocess.run(
        [*alone, "sh", "-c", command], capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(done.stdout)
    assert "disk" in outcome["said"]
    assert outcome["waiting"] > 0
    assert not list(folder.iterdir())
