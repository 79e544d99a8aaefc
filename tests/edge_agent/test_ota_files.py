"""The state file and the releases on a device's disk, and the part of a download: what is written, read and refused."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tuf.api.exceptions import DownloadLengthMismatchError, LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import TargetFile

from edge_agent.disk import RealDisk
from edge_agent.errors import StateError, UpdateError
from edge_agent.ota.activation import Phase, State
from edge_agent.ota.download import Download
from edge_agent.ota.probation import Tally
from edge_agent.ota.refusal import Kind, Refusal
from edge_agent.ota.store import ReleaseStore
from tests.edge_agent.models import build_release
from tests.edge_agent.stores import MemoryStore

A, B, C, D, E, F = (letter * 64 for letter in "abcdef")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
STATE = State(
    current=A,
    previous=B,
    factory=C,
    pending=D,
    phase=Phase.TRYING,
    since=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    sequence=7,
    probation_s=90.5,
    attempts=2,
    stops=3,
    pinned=E,
    former=Tally(2000, 40, 10, 31.5),
    seen=Tally(12, 1, 0),
    waited_s=7200.5,
    accepted=D,
    note="kept-without-frames: 3 of 30 frames came",
    failed={F: Refusal(6, "too-slow: 理由", Kind.TRANSIENT, 4, datetime(2026, 1, 2, 4, tzinfo=UTC), "0.1.0", NOON)},
)
DOCUMENT = {
    "schema_version": 2,
    "current": A,
    "previous": B,
    "factory": C,
    "pending": D,
    "phase": "trying",
    "since": "2026-01-02T03:04:05+00:00",
    "sequence": 7,
    "probation_s": 90.5,
    "attempts": 2,
    "stops": 3,
    "pinned": E,
    "former": {"frames": 2000, "fail": 40, "uncertain": 10, "p95_ms": 31.5},
    "seen": {"frames": 12, "fail": 1, "uncertain": 0, "p95_ms": None},
    "waited_s": 7200.5,
    "accepted": D,
    "note": "kept-without-frames: 3 of 30 frames came",
    "failed": {
        F: {
            "sequence": 6,
            "reason": "too-slow: 理由",
            "kind": "transient",
            "attempts": 4,
            "next_at": "2026-01-02T04:00:00+00:00",
            "agent_version": "0.1.0",
            "at": "2026-01-02T12:00:00+00:00",
        }
    },
}


class BrokenDisk(RealDisk):
    """A disk on which nothing can be written or removed."""

    def _fails(self, *_, **__):
        raise OSError(28, "No space left on device")

    write = make_folder = remove = remove_tree = _fails


def test_the_state_file_has_the_form_that_earlier_agents_wrote(tmp_path):
    """An update of the agent must read it, and a person may."""
    ReleaseStore(tmp_path).save_state(STATE)
    assert json.loads((tmp_path / "activation.json").read_bytes()) == DOCUMENT


def test_every_field_of_the_state_is_read_again(tmp_path):
    """A file of an agent that knew no pin is read, too."""
    file = tmp_path / "activation.json"
    file.write_text(json.dumps(DOCUMENT))
    assert ReleaseStore(tmp_path).load_state() == STATE
    file.write_text(json.dumps({key: value for key, value in DOCUMENT.items() if key != "pinned"} | {"since": None}))
    state = ReleaseStore(tmp_path).load_state()
    assert (state.pinned, state.since, state.attempts) == (None, None, 2)


def test_a_refusal_of_an_agent_that_noted_no_time_is_read(tmp_path):
    """Its time is not known, and nothing else is lost."""
    former = {key: value for key, value in DOCUMENT["failed"][F].items() if key != "at"}
    (tmp_path / "activation.json").write_text(json.dumps(DOCUMENT | {"failed": {F: former}}))
    assert ReleaseStore(tmp_path).load_state().failed[F] == replace(STATE.failed[F], at=None)


def test_a_new_device_begins_with_the_empty_state(tmp_path):
    """The folders are made at the first start."""
    assert ReleaseStore(tmp_path / "new" / "state").load_state() == State()
    assert (tmp_path / "new" / "state" / "releases").is_dir()


def refused(tmp_path, text: str) -> str:
    (tmp_path / "activation.json").write_text(text)
    with pytest.raises(StateError) as caught:
        ReleaseStore(tmp_path).load_state()
    return str(caught.value)


def test_a_state_file_that_cannot_be_used_says_what_to_do(tmp_path):
    """A newer agent's file needs that agent; a damaged file is named with what is wrong in it."""
    file = tmp_path / "activation.json"
    assert refused(tmp_path, json.dumps(DOCUMENT | {"schema_version": 3})) == (
        f"{file} was written by a newer agent; install that one again"
    )
    words = refused(tmp_path, "{")
    assert words.startswith(f"cannot read {file}: Expecting property name")
    without = {key: value for key, value in DOCUMENT.items() if key != "failed"}
    assert refused(tmp_path, json.dumps(without)) == (f"{file} has an unexpected form: KeyError('failed')")


def test_a_disk_that_cannot_be_written_is_named(tmp_path):
    """The message carries the file and the cause."""
    with pytest.raises(StateError) as caught:
        ReleaseStore(tmp_path, disk=BrokenDisk())
    assert str(caught.value) == f"cannot make {tmp_path / 'releases'}: No space left on device"
    store = ReleaseStore(tmp_path)
    store._disk = BrokenDisk()
    with pytest.raises(StateError) as caught:
        store.save_state(STATE)
    assert str(caught.value) == f"cannot write {tmp_path / 'activation.json'}: [Errno 28] No space left on device"


def test_a_release_on_the_disk_is_read_and_every_file_is_checked(tmp_path):
    """A damaged release is refused with its file and its short digest."""
    store, built = ReleaseStore(tmp_path), build_release()
    folder = store.folder(built.digest)
    assert folder == tmp_path / "releases" / built.digest
    built.write(folder)
    assert store.read(built.digest) == built.release
    short = built.digest[:12]
    for name in ("model.onnx", "golden.png"):
        (folder / name).write_bytes(b"rot")
        with pytest.raises(UpdateError) as caught:
            store.read(built.digest)
        assert (caught.value.reason, caught.value.transient) == ("damaged", False)
        assert str(caught.value) == f"{name} of release {short} was changed on this disk"
        (folder / name).write_bytes(built.files[name])
    (folder / "release.json").write_bytes(built.files["release.json"] + b" ")
    with pytest.raises(UpdateError) as caught:
        store.read(built.digest)
    assert (caught.value.reason, str(caught.value)) == (
        "damaged",
        f"release.json of {short} was changed on this disk",
    )
    (folder / "release.json").unlink()
    with pytest.raises(UpdateError) as caught:
        store.read(built.digest)
    assert caught.value.reason == "damaged"
    assert str(caught.value).startswith(f"release {short} is not complete on this disk: [Errno 2]")


def test_a_digest_that_is_none_names_no_folder(tmp_path):
    """A name from outside cannot leave the folder of the releases."""
    with pytest.raises(ValueError, match="sha256"):
        ReleaseStore(tmp_path).folder("../outside")


def test_cleaning_removes_all_releases_but_those_kept(tmp_path, caplog):
    """Where the disk refuses, that is logged, and the line goes on."""
    store = ReleaseStore(tmp_path)
    for digest in (A, B, C):
        (tmp_path / "releases" / digest).mkdir()
        (tmp_path / "releases" / digest / "model.onnx").write_bytes(b"m")
    store.clean([A, B])
    assert {path.name for path in (tmp_path / "releases").iterdir()} == {A, B}
    store._disk = BrokenDisk()
    store.clean([A])
    assert caplog.messages == ["cannot remove an old release: [Errno 28] No space left on device"]
    assert {path.name for path in (tmp_path / "releases").iterdir()} == {A, B}


def test_tidying_removes_what_a_kill_left_and_nothing_else(tmp_path, caplog):
    """Unfinished files have a name of ours or of python-tuf; folders and finished files stay."""
    store = ReleaseStore(tmp_path)
    (tmp_path / "tuf").mkdir()
    left = [tmp_path / ".activation.json.tmp", tmp_path / "tuf" / "tmpab12"]
    stay = [tmp_path / "activation.json", tmp_path / "tuf" / "root.json", tmp_path / "notes.tmp"]
    for path in (*left, *stay):
        path.write_bytes(b"x")
    (tmp_path / ".folder.tmp").mkdir()
    (tmp_path / "tuf" / "tmpfolder").mkdir()
    store._disk = BrokenDisk()
    store.tidy()
    assert caplog.messages == ["cannot remove a temporary file of an earlier start: [Errno 28] No space left on device"]
    store._disk = RealDisk()
    store.tidy()
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in stay)
    assert (tmp_path / ".folder.tmp").is_dir()


# -- downloads --------------------------------------------------------------------------------------------------------

BUCKET = "kizu-releases"
MODEL = bytes(range(250)) * 4
INFO = TargetFile.from_data("releases/r/model.onnx", MODEL, ["sha256"])


class Ranges(MemoryStore):
    """A store that notes each request: bucket, key, offset, length."""

    def __init__(self, data: bytes, path: str = "targets/releases/r/{}.model.onnx") -> None:
        super().__init__()
        self.objects[BUCKET, path.format(hashlib.sha256(MODEL).hexdigest())] = data
        self.asked: list[tuple[int, int]] = []

    def get_range(self, bucket, key, offset, length):
        self.asked.append((offset, length))
        return super().get_range(bucket, key, offset, length)


class Roomy(RealDisk):
    """A disk with a number of free bytes that the test says."""

    def __init__(self, free: int) -> None:
        super().__init__()
        self.free = free

    def free_bytes(self, path):
        return self.free


def test_each_request_asks_for_a_piece_and_the_last_for_one_byte_more(tmp_path):
    """A longer object is noticed by that byte, without reading all of it."""
    store = Ranges(MODEL)
    Download(store, BUCKET, RealDisk(), piece_bytes=400).bring(INFO, tmp_path / "model.onnx")
    assert store.asked == [(0, 400), (400, 400), (800, 201)]
    assert (tmp_path / "model.onnx").read_bytes() == MODEL


def test_a_piece_may_use_the_disk_up_to_what_must_stay_free(tmp_path):
    """The last byte that may be used is used, and no byte more."""
    target = tmp_path / "model.onnx"
    Download(Ranges(MODEL), BUCKET, Roomy(2001), min_free_bytes=1000).bring(INFO, target)
    target.unlink()
    with pytest.raises(UpdateError) as caught:
        Download(Ranges(MODEL), BUCKET, Roomy(2000), min_free_bytes=1000).bring(INFO, target)
    assert (caught.value.reason, caught.value.transient) == ("disk-full", True)
    assert str(caught.value) == (
        "releases/r/model.onnx: 2,000 bytes are free, and 1,000 must stay free; free some disk"
    )


@pytest.mark.parametrize(("data", "got"), [(MODEL + b"x", "more"), (MODEL[:-1], "only 999"), (b"", "only 0")])
def test_an_object_of_another_length_says_what_came(tmp_path, data, got):
    """An object of another length raises an error with both lengths, and no part of it stays on the disk."""
    with pytest.raises(DownloadLengthMismatchError) as caught:
        Download(Ranges(data), BUCKET, RealDisk()).bring(INFO, tmp_path / "model.onnx")
    assert str(caught.value) == f"expected 1000 bytes of releases/r/model.onnx, but got {got}"
    assert list(tmp_path.iterdir()) == []


def test_a_continued_download_says_where_it_goes_on(tmp_path, caplog):
    """The log tells a cut line from a slow one, and a damaged part from a good one."""
    caplog.set_level(logging.INFO, "edge_agent.ota.download")
    (tmp_path / ".model.onnx.part").write_bytes(MODEL[:600])
    store = Ranges(MODEL)
    Download(store, BUCKET, RealDisk()).bring(INFO, tmp_path / "model.onnx")
    assert store.asked == [(600, 401)]
    assert caplog.messages == ["continuing releases/r/model.onnx from byte 600 of 1000"]
    caplog.clear()
    (tmp_path / "model.onnx").unlink()
    (tmp_path / ".model.onnx.part").write_bytes(b"?" * 1000)
    store = Ranges(MODEL)
    Download(store, BUCKET, RealDisk()).bring(INFO, tmp_path / "model.onnx")
    assert store.asked == [(0, 1001)]
    assert caplog.messages == [
        "continuing releases/r/model.onnx from byte 1000 of 1000",
        "the part of releases/r/model.onnx on this disk does not fit; fetching it from the start",
    ]


def test_a_download_from_the_start_logs_nothing(tmp_path, caplog):
    """A part that is longer than the file belongs to an older one; it is removed before the first request."""
    caplog.set_level(logging.INFO, "edge_agent.ota.download")
    store = Ranges(MODEL)
    (tmp_path / ".model.onnx.part").write_bytes(MODEL + b"x")
    Download(store, BUCKET, RealDisk()).bring(INFO, tmp_path / "model.onnx")
    assert (store.asked, caplog.messages) == ([(0, 1001)], [])


def test_wrong_bytes_from_the_start_are_fetched_once(tmp_path):
    """If the bytes are wrong from the start, the client does not fetch again at once: it would get the same bytes."""
    store = Ranges(b"?" * 1000)
    with pytest.raises(LengthOrHashMismatchError):
        Download(store, BUCKET, RealDisk()).bring(INFO, tmp_path / "model.onnx")
    assert len(store.asked) == 1


def test_an_empty_file_is_brought_without_a_request(tmp_path):
    """A file of no bytes is signed like any other."""
    store = Ranges(b"")
    Download(store, BUCKET, RealDisk()).bring(TargetFile.from_data("a/empty", b"", ["sha256"]), tmp_path / "empty")
    assert ((tmp_path / "empty").read_bytes(), store.asked) == (b"", [])


def test_a_file_at_the_top_has_no_folder_in_its_key(tmp_path):
    """A file at the top level is read from the key `targets/<sha256>.<name>`."""
    info = TargetFile.from_data("model.onnx", MODEL, ["sha256"])
    Download(Ranges(MODEL, "targets/{}.model.onnx"), BUCKET, RealDisk()).bring(info, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == MODEL


def test_a_file_without_a_sha256_is_refused(tmp_path):
    """Its key would be unknown, and its bytes could not be checked as all others are."""
    info = TargetFile.from_data("releases/r/model.onnx", MODEL, ["sha512"])
    with pytest.raises(RepositoryError) as caught:
        Download(Ranges(MODEL), BUCKET, RealDisk()).bring(info, tmp_path / "model.onnx")
    assert str(caught.value) == "releases/r/model.onnx is signed without a sha256"
