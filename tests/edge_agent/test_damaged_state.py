"""What a power cut or a worn flash leaves of the state files, and that inspection begins again without a person."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from edge_agent.config import OutboxLimits
from edge_agent.damaged import DamagedFiles
from edge_agent.errors import StateError
from edge_agent.notices import CameraClocks, notices
from edge_agent.ota.activation import State
from edge_agent.ota.store import ReleaseStore
from edge_agent.outbox import Outbox
from edge_agent.outbox_recovery import Owner
from edge_agent.uploader import Uploader
from inspection import Capture, parse_raw_key
from tests.edge_agent.models import build_release
from tests.edge_agent.outbox_items import put
from tests.edge_agent.stores import MemoryStore
from tests.edge_agent.test_ota_driver import FIRST, SECOND, Bench

LIMITS = OutboxLimits(min_free_bytes=0)
OWNER = Owner("plant", "dev1")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WHOLE = json.dumps({"schema_version": 2, "current": "x"})


# -- activation.json --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("", "empty"),
        ('{"schema_ver', "unreadable"),
        ("\0" * 400, "unreadable"),
        ("[]", "wrong-form"),
        (WHOLE, "wrong-form"),
    ],
)
def test_a_damaged_state_file_is_set_aside_and_the_newest_release_that_was_kept_runs(tmp_path, damage, reason):
    """The release that was on probation was never kept here, so it does not run though its files are whole."""
    bench = Bench(tmp_path / "state")
    bench.settle(FIRST, SECOND)
    untried = build_release(9, gain=0.8)
    bench.fetch_release = lambda digest, folder: untried.write(folder)
    bench.offer(untried, 3)
    (bench.folder / "activation.json").write_text(damage)
    bench.start()
    assert bench.running() == SECOND.digest
    state = bench.updates.state
    assert (state.current, state.previous, state.factory) == (SECOND.digest, FIRST.digest, FIRST.digest)
    assert state.note.startswith(f"state-{reason}: ")
    aside = DamagedFiles(bench.folder / "damaged")
    (name,) = aside.names()
    assert (bench.folder / "damaged" / name).read_text() == damage
    assert name.startswith("0001.")
    assert name.endswith(f".{reason}.activation.json")
    bench.start()
    assert (bench.running(), aside.count()) == (SECOND.digest, 1)


def test_a_state_file_that_is_gone_does_not_take_the_releases_with_it(tmp_path):
    """Otherwise the next poll would remove them, and a device without a network would stop."""
    bench = Bench(tmp_path / "state")
    bench.settle(FIRST, SECOND)
    (bench.folder / "activation.json").unlink()
    bench.start()
    assert bench.running() == SECOND.digest


def test_a_damaged_release_is_not_chosen(tmp_path):
    """The newest release whose files are those that were signed runs."""
    bench = Bench(tmp_path / "state")
    bench.settle(FIRST, SECOND)
    (bench.folder / "releases" / SECOND.digest / "model.onnx").write_bytes(b"rot")
    (bench.folder / "activation.json").write_bytes(b"")
    bench.start()
    assert bench.running() == FIRST.digest


def test_releases_of_an_earlier_agent_carry_no_mark_and_all_count(tmp_path):
    """The first start of this agent may find the damage."""
    store = ReleaseStore(tmp_path)
    for built in (FIRST, SECOND):
        built.write(store.folder(built.digest))
    (tmp_path / "activation.json").write_bytes(b"")
    assert store.open_state().current == SECOND.digest


def test_a_new_device_and_a_state_of_a_newer_agent_are_no_damage(tmp_path):
    """The first has nothing to set aside; the second keeps what the newer agent knows."""
    store = ReleaseStore(tmp_path)
    assert store.open_state() == State()
    (tmp_path / "activation.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(StateError, match="written by a newer agent"):
        store.open_state()
    assert DamagedFiles(tmp_path / "damaged").count() == 0


def test_a_stray_file_among_the_releases_does_not_keep_the_old_ones(tmp_path):
    """Each is removed for itself."""
    store = ReleaseStore(tmp_path)
    FIRST.write(store.folder(FIRST.digest))
    SECOND.write(store.folder(SECOND.digest))
    (tmp_path / "releases" / "0").write_text("stray")
    store.clean([FIRST.digest])
    assert [path.name for path in (tmp_path / "releases").iterdir()] == [FIRST.digest]


# -- the outbox -------------------------------------------------------------------------------------------------------


def filled(folder, frames: int = 12) -> list[str]:
    """An outbox with results and images that wait; the names of the image files."""
    outbox = Outbox(folder, LIMITS, owner=OWNER)
    for number in range(frames):
        put(outbox, number)
    names = sorted(path.name for path in outbox.image_folder.iterdir())
    outbox.close()
    assert len(names) == frames
    return names


def sent(outbox) -> tuple[MemoryStore, list[Capture]]:
    """Everything that an uploader delivers."""
    store = MemoryStore()
    uploader = Uploader(outbox, store, "kizu-raw")
    while uploader.send_next():
        pass
    keys = [key for key in store.keys("kizu-raw") if (parts := parse_raw_key(key)) and parts.capture_id]
    return store, [Capture.from_json(store.get("kizu-raw", key)) for key in keys]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(b"", "empty"), (b"this is no database" * 100, "unreadable"), (None, "missing")],
)
def test_images_whose_captures_are_lost_are_sent_all_the_same(tmp_path, damage, reason):
    """The index is set aside, and each whole image file goes back under its digest, to be looked at by a person."""
    names = filled(tmp_path)
    index = tmp_path / "outbox.sqlite"
    for path in tmp_path.glob("outbox.sqlite*"):
        path.unlink()
    if damage is not None:
        index.write_bytes(damage)
    (tmp_path / "images" / ("0" * 64 + ".png")).write_bytes(b"half")
    outbox = Outbox(tmp_path, LIMITS, owner=OWNER)
    assert (outbox.depth()["uncertain"], outbox.counters()) == (12, {"adopted": 12, "dropped.uncertain": 1})
    aside = DamagedFiles(tmp_path / "damaged")
    assert aside.count() == (0 if damage is None else 1)
    assert all(f".{reason}.outbox.sqlite" in name for name in aside.names())
    put(outbox, 50)
    _, captures = sent(outbox)
    recovered = [capture for capture in captures if capture.camera == "unknown"]
    assert {capture.sha256 for capture in recovered} == {name.partition(".")[0] for name in names}
    assert {(capture.device, capture.reason) for capture in recovered} == {("dev1", "uncertain")}
    outbox.close()


def test_what_can_be_read_of_a_damaged_index_is_kept(tmp_path):
    """Pages in the middle are gone; results, captures and counters around them are still delivered."""
    filled(tmp_path, 200)
    index = tmp_path / "outbox.sqlite"
    with index.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(size // 2)
        file.write(b"\xff" * 8192)
    outbox = Outbox(tmp_path, LIMITS, owner=OWNER)
    depth = outbox.depth()
    images = sum(number for name, number in depth.items() if name != "result")
    assert (images, 50 < depth["result"] <= 200) == (200, True)
    assert DamagedFiles(tmp_path / "damaged").count() == 1
    _, captures = sent(outbox)
    assert len({capture.sha256 for capture in captures}) == 200
    assert sum(capture.camera != "unknown" for capture in captures) > 50
    outbox.close()


def test_a_damage_that_shows_in_use_costs_one_frame_a_moment_and_not_the_inspection(tmp_path, monkeypatch):
    """The write fails once and says why; the frame comes again, and finds a new index."""
    filled(tmp_path)
    outbox = Outbox(tmp_path, LIMITS, owner=OWNER)

    class Broken:
        def execute(self, *_):
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

        in_transaction = False

        def close(self):
            pass

    outbox._index._db.close()
    outbox._index._db = Broken()
    with pytest.raises(StateError, match="set aside, and a new one began"):
        put(outbox, 50)
    put(outbox, 50)
    assert sum(outbox.depth().values()) == 26
    outbox.close()


def test_a_crash_between_setting_aside_and_beginning_anew_starts_from_the_same_file(tmp_path):
    """The damaged index is moved already, and the new one does not bear its name yet."""
    filled(tmp_path)
    index = tmp_path / "outbox.sqlite"
    moved = DamagedFiles(tmp_path / "damaged").move(index, "corrupt", with_it=("-wal",))
    (tmp_path / "outbox.sqlite.new").write_bytes(b"")
    outbox = Outbox(tmp_path, LIMITS, owner=OWNER)
    assert outbox.depth()["result"] == 12
    assert moved.exists()
    assert not (tmp_path / "outbox.sqlite.new").exists()
    outbox.close()


def test_an_index_that_was_never_made_is_no_damage(tmp_path):
    """A kill at the very first start leaves a file of no bytes, and no folder of images yet."""
    (tmp_path / "outbox.sqlite").write_bytes(b"")
    Outbox(tmp_path, LIMITS, owner=OWNER).close()
    assert DamagedFiles(tmp_path / "damaged").count() == 0


# -- what is set aside, and what is said ------------------------------------------------------------------------------


def test_the_newest_damaged_files_are_kept_and_all_are_counted(tmp_path):
    """A disk that damages a file each day is not filled with them."""
    aside = DamagedFiles(tmp_path / "damaged", now=lambda: NOW)
    for number in range(5):
        aside.keep_copy(b"%d" % number, "activation.json", "empty")
    assert aside.count() == 5
    assert aside.names() == tuple(f"{number:04d}.20260102T030405Z.empty.activation.json" for number in (3, 4, 5))
    aside.keep_copy(b"4", "activation.json", "empty")
    assert aside.count() == 5


def said(**changes) -> tuple[str, ...]:
    facts = {
        "now": NOW, "approved_at": NOW - timedelta(days=1), "cameras_behind": {}, "damaged": 0, "set_aside": (),
        "note": "",
    }  # fmt: skip
    return notices(**facts | changes)


def test_a_device_says_what_a_person_should_know_though_it_inspects():
    """Nothing where all is well; a clock before the running release was approved is behind."""
    assert said() == ()
    assert said(now=datetime(1970, 1, 1, tzinfo=UTC))[0].startswith("clock-behind: the clock says 1970-01-01 00:00")
    assert said(approved_at=NOW + timedelta(days=1))[0].startswith("clock-behind: ")
    assert said(damaged=2, set_aside=("0002.x",))[0].startswith("state-damaged: 2 state files were damaged")
    assert said(note="kept-without-frames: 0 of 30 frames came") == ("kept-without-frames: 0 of 30 frames came",)


def test_a_camera_whose_pictures_are_of_1970_is_named_until_its_clock_is_set():
    """Its pictures are inspected, but stored under a day at which nobody looks for new ones."""
    from dataclasses import replace

    from edge_agent.result import Result
    from inspection import Verdict

    result = Result(
        capture_id="0" * 32, sha256="1" * 64, captured_at=datetime(1970, 1, 1, tzinfo=UTC), decided_at=NOW,
        device="dev1", camera="top", release_digest="2" * 64, model_sha256="3" * 64, verdict=Verdict.PASS, infer_ms=1.0,
    )  # fmt: skip
    clocks = CameraClocks()
    clocks.see(result)
    assert said(cameras_behind=clocks.behind()) == (
        "camera-clock-behind: pictures of top are dated 1970-01-01; set the camera's clock",
    )
    clocks.see(replace(result, captured_at=NOW))
    assert clocks.behind() == {}
