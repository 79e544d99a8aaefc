"""A state folder that cannot be written: inspection goes on, the line is told, and the disk gets it all later."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from pathlib import Path

import pytest

from edge_agent import __main__ as command
from edge_agent import folder_lock
from edge_agent.agent import InspectionLoop
from edge_agent.camera_config import FolderCamera
from edge_agent.camera_states import CameraStates
from edge_agent.disk import RealDisk, Steps
from edge_agent.errors import StateError, Unwritable
from edge_agent.folder_lock import FolderLock, lock_when_writable
from edge_agent.health import Health
from edge_agent.ota.active import Active
from edge_agent.outbox import Outbox
from edge_agent.outbox_deferred import Deferred, Write
from edge_agent.outbox_schema import connect
from edge_agent.recent_frames import RecentFrames
from edge_agent.sources.folder import FolderSource
from tests.edge_agent.bench import loaded
from tests.edge_agent.models import DOUBTFUL, picture
from tests.edge_agent.outbox_items import LIMITS, image, put, result


class State(Steps):
    """The disk of the state folder, which the test makes unwritable, as a remount or a lost right does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.error = 0
        self.now_s = 0.0
        state = self

        class Connection(sqlite3.Connection):
            def execute(self, sql, *args):
                if state.error and sql.startswith("BEGIN"):
                    raise sqlite3.OperationalError("attempt to write a readonly database")
                return super().execute(sql, *args)

        self.connection = Connection

    def _check(self, path: Path) -> None:
        if self.error and self.folder in (path, *path.parents):
            raise OSError(self.error, os.strerror(self.error))

    def write(self, path: Path, data: bytes, mode: int) -> None:
        self._check(path)
        super().write(path, data, mode)

    def rename(self, source: Path, target: Path) -> None:
        self._check(target)
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._check(path)
        super().unlink(path)

    def make_folder(self, path: Path) -> None:
        self._check(path)
        super().make_folder(path)

    def outbox(self, **more) -> Outbox:
        return Outbox(
            self.folder / "outbox", LIMITS, disk=RealDisk(self), connect=lambda path: connect(path, self.connection),
            monotonic=lambda: self.now_s, **more,
        )  # fmt: skip


@pytest.fixture(params=[errno.EROFS, errno.EACCES, errno.ENOSPC])
def state(request, tmp_path):
    (tmp_path / "state").mkdir()
    made = State(tmp_path / "state")
    made.kind = request.param
    return made


def capture_ids(items) -> list[int]:
    return [int(item.capture_id, 16) for item in items]


def test_what_cannot_be_written_goes_to_the_line_from_memory_and_to_the_disk_later(state):
    """Order, counters, images and the ids of the items are what they would have been."""
    outbox = state.outbox()
    put(outbox, 1)
    state.error = state.kind
    assert put(outbox, 2)
    assert put(outbox, 3)
    outbox.record_missed(result(4), publish=True)
    assert "state folder cannot be written" in outbox.problem
    assert (put(outbox, 3), outbox.is_recorded("f2"), outbox.is_recorded("f9")) == (False, True, False)
    outbox.forget("f1")
    outbox.forget("f2")
    outbox.count("skipped", "top", 5)
    assert not outbox.is_recorded("f2")
    waiting = outbox.results(10)
    assert capture_ids(waiting) == [1, 2, 3, 4]
    assert [item.item_id for item in waiting] == sorted({item.item_id for item in waiting})
    for item in waiting[:2]:  # one on the disk, one in memory
        outbox.delivered(item)
    assert capture_ids(outbox.results(10)) == [3, 4]
    assert capture_ids(outbox.results(10, after=waiting[2].item_id)) == [4]
    assert outbox.counts("skipped") == {}
    assert outbox.in_memory() > 0
    state.error, state.now_s = 0, state.now_s + 2
    assert outbox.catch_up()
    assert (outbox.problem, outbox.in_memory()) == ("", 0)
    outbox.delivered(waiting[2])  # handed to the line while it was in memory
    assert capture_ids(outbox.results(10)) == [4]
    assert (outbox.total("frames"), outbox.total("not_inspected"), outbox.counts("skipped")) == (3, 1, {"top": 5})
    assert outbox.recorded_keys() == ("f3",)
    assert outbox.depth()["uncertain"] == 3
    put(outbox, 5)
    assert capture_ids(outbox.results(10)) == [4, 5]
    outbox.close()


def test_an_image_that_waits_is_delivered_once_also_where_its_row_cannot_be_removed(state):
    """The uploader is not given it again, and the row goes as soon as that is possible."""
    outbox = state.outbox()
    put(outbox, 1)
    put(outbox, 2)
    state.error = state.kind
    outbox.delivered(outbox.next_image())
    assert capture_ids(outbox.images(10)) == [2]
    state.error, state.now_s = 0, state.now_s + 2
    assert outbox.catch_up()
    assert (outbox.depth()["uncertain"], len(list(outbox.image_folder.iterdir()))) == (1, 1)
    outbox.close()


def test_what_memory_has_no_room_for_is_counted_or_refused():
    """An image goes first and its result is kept; where results have no room, the frame stays with its camera."""
    given = []
    deferred = Deferred(max_writes=2, max_bytes=3000)
    large = image(1)
    large = type(large)(large.capture, large.key, b"x" * 5000)
    deferred.add(Write(lambda place, kept: given.append(kept), large, ("1", b"{}"), ("f1", True)), lambda: 7)
    write, place = deferred.first()
    assert (write.image.data, place.result_id, place.image_id) == (b"", 8, 9)
    deferred.add(Write(lambda *_: None, result=("2", b"{}")), lambda: 7)
    assert [item.item_id for item in deferred.results(0, 10)] == [8, 10]
    with pytest.raises(StateError, match="2 writes wait in memory already"):
        deferred.add(Write(lambda *_: None, result=("3", b"{}")), lambda: 7)


def test_a_lost_image_is_counted_as_dropped_once_the_disk_can_be_written(state):
    """The count tells how many frames did not go back to the labelers."""
    outbox = state.outbox()
    state.error = state.kind
    put(outbox, 1)
    outbox._deferred._max_bytes = outbox._deferred._bytes + 500 + len(result(2).to_json())
    put(outbox, 2)
    state.error, state.now_s = 0, state.now_s + 2
    assert outbox.catch_up()
    assert (outbox.depth()["uncertain"], outbox.counts("dropped"), outbox.total("frames")) == (1, {"uncertain": 1}, 2)
    outbox.close()


def test_an_objection_is_refused_while_it_could_be_lost(state):
    """The person who makes it sees that it was not kept."""
    outbox = state.outbox()
    state.error = state.kind
    put(outbox, 1)
    with pytest.raises(Unwritable):
        outbox.add_image(image(2))
    outbox.close()


def test_a_write_that_never_works_does_not_hold_up_the_others(tmp_path):
    """It is given up after three tries, and said."""
    outbox = State(tmp_path).outbox()

    def fail(*_: object) -> None:
        raise OSError(errno.ENAMETOOLONG, "File name too long")

    outbox._deferred.add(Write(fail), lambda: 0)
    outbox._deferred.add(Write(lambda *_: outbox._count_all({("skipped", "top"): 1})), lambda: 0)
    for _ in range(3):
        outbox._writer._try_again_at = 0.0
        assert not outbox.catch_up()
    outbox._writer._try_again_at = 0.0
    assert outbox.catch_up()
    assert outbox.counts("skipped") == {"top": 1}
    outbox.close()


def test_a_folder_camera_is_inspected_while_the_state_folder_cannot_be_written(state, tmp_path):
    """Each picture is judged once and told to the line. The files stay until they can be put away, then they go.

    A file that cannot be set aside does not hold up the others either.
    """
    release = loaded(tmp_path)
    folder = tmp_path / "camera"
    folder.mkdir()
    outbox, cameras = state.outbox(), CameraStates()
    camera = FolderCamera(path=folder, poll_interval_s=0.001, settle_s=0.0)
    source = FolderSource(camera, state.folder / "done", disk=RealDisk(state), retry_s=0.05)
    loop = InspectionLoop(
        [source], Active(), outbox, Health(), RecentFrames(), site="s", device="d", publish=True, cameras=cameras
    )
    state.error = state.kind
    for number in range(5):
        (folder / f"{number}.png").write_bytes(picture(*DOUBTFUL, seed=number))
    (folder / "2-broken.png").write_bytes(b"no picture")
    end = time.monotonic() + 10
    while len(outbox.results(10)) < 5 and time.monotonic() < end:
        loop.step(release, 0.0)
    for _ in range(20):  # what was judged is not judged again
        loop.step(release, 0.0)
        time.sleep(0.01)
    told = [item.capture_id for item in outbox.results(10)]
    assert len(told) == len(set(told)) == 5
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [f"{number}.png" for number in range(5)]
    assert (folder / "rejected" / "2-broken.png").exists()  # that folder is not the state folder
    assert "cannot put" in cameras.problem()
    assert "cannot be written" in outbox.problem
    state.error, state.now_s = 0, state.now_s + 2
    end = time.monotonic() + 10
    while any(path.is_file() for path in folder.iterdir()) and time.monotonic() < end:
        loop.step(release, 0.05)
    assert outbox.catch_up()
    assert (cameras.problem(), outbox.problem) == ("", "")
    assert len(list((state.folder / "done").iterdir())) == 5
    assert [item.capture_id for item in outbox.results(10)] == told
    assert (outbox.total("frames"), outbox.counts("rejected"), outbox.recorded_keys()) == (5, {"not-an-image": 1}, ())
    assert outbox.depth()["uncertain"] == 5
    outbox.close()


class Patience:
    """The event that ends an agent, and the clock: a wait passes at once. then: what happens during each wait."""

    def __init__(self, then=lambda: None, stops=False):
        self.now_s, self.waits, self._then, self._stops = 0.0, 0, then, stops

    def wait(self, seconds):
        self.now_s += seconds
        self.waits += 1
        self._then()
        return self._stops

    def monotonic(self):
        return self.now_s


@pytest.fixture
def refused(monkeypatch):
    """The lock file cannot be opened for writing while this holds an error."""
    errors, real = [errno.EROFS], os.open

    def refusing(path, *rest, **more):
        if errors and str(path).endswith("agent.lock"):
            raise OSError(errors[0], os.strerror(errors[0]))
        return real(path, *rest, **more)

    monkeypatch.setattr(folder_lock.os, "open", refusing)
    return errors


def test_an_agent_that_starts_waits_for_a_state_folder_that_can_be_written(refused, tmp_path):
    """A disk may come later than the agent: it looks again, and starts once it can."""
    patience = Patience(then=lambda: refused.clear() if patience.waits == 3 else None)
    lock = lock_when_writable(tmp_path / "state", patience, monotonic=patience.monotonic)
    assert (patience.waits, lock is not None) == (3, True)
    lock.release()


def test_an_agent_that_cannot_write_its_state_folder_says_what_to_do_and_ends(refused, tmp_path, capsys, monkeypatch):
    """Its exit status says that a later start may succeed; the service manager starts it again."""
    patience = Patience()
    with pytest.raises(Unwritable, match=r"state cannot be written \(Read-only file system\).*mount its disk"):
        lock_when_writable(tmp_path / "state", patience, monotonic=patience.monotonic)
    assert 90.0 <= patience.now_s < 95.0
    assert patience.waits >= 6
    stopped = Patience(stops=True)
    assert lock_when_writable(tmp_path / "state", stopped, monotonic=stopped.monotonic) is None

    def app(**given):
        raise Unwritable("the state folder cannot be written")

    monkeypatch.setattr(command, "app", app)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert (ended.value.code, "cannot be written" in capsys.readouterr().err) == (75, True)


def test_a_folder_that_another_agent_holds_is_not_waited_for(tmp_path):
    """That does not pass by itself; the message says what to do."""
    held, patience = FolderLock(tmp_path / "state"), Patience()
    with pytest.raises(StateError, match="another agent runs on"):
        lock_when_writable(tmp_path / "state", patience, monotonic=patience.monotonic)
    held.release()
    assert patience.waits == 0
