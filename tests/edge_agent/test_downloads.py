"""Files of a release arrive in pieces: interrupted, continued, verified, and never whole in memory."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest
from tuf.api.exceptions import DownloadLengthMismatchError, LengthOrHashMismatchError
from tuf.api.metadata import TargetFile

from edge_agent.disk import RealDisk
from edge_agent.errors import StoreUnavailable, UpdateError
from edge_agent.ota.download import Download
from tests.edge_agent.edge_adapter import edge_adapter
from tests.edge_agent.stores import MemoryStore

BUCKET = "kizu-releases"
MODEL = bytes(range(256)) * 40 + b"the end"
INFO = TargetFile.from_data("releases/r/model.onnx", MODEL, ["sha256"])
KEY = f"targets/releases/r/{hashlib.sha256(MODEL).hexdigest()}.model.onnx"


class Cut(MemoryStore):
    """A store whose connection breaks after some bytes; it notes each request."""

    def __init__(self, data: bytes = MODEL, after: int | None = None) -> None:
        super().__init__()
        self.objects[BUCKET, KEY] = data
        self.after = after
        self.served = 0
        self.offsets: list[int] = []

    def get_range(self, bucket, key, offset, length):
        if self.after is not None and self.served >= self.after:
            raise StoreUnavailable("the connection is gone")
        self.offsets.append(offset)
        piece = super().get_range(bucket, key, offset, length)
        self.served += len(piece)
        return piece


def bring(store, folder, **kind) -> bytes:
    target = folder / "model.onnx"
    Download(store, BUCKET, RealDisk(), piece_bytes=1000, **kind).bring(INFO, target)
    return target.read_bytes()


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(tmp_path):
    """A new process continues it too, since the file on the disk decides."""
    store = Cut(after=4000)
    with pytest.raises(StoreUnavailable):
        bring(store, tmp_path)
    assert names(tmp_path) == [".model.onnx.part"]
    store.after = None
    assert bring(store, tmp_path) == MODEL
    assert store.offsets == list(range(0, len(MODEL), 1000))
    assert store.served == len(MODEL)
    assert names(tmp_path) == ["model.onnx"]


def test_what_is_here_already_is_not_fetched(tmp_path):
    """The store is not asked at all."""
    (tmp_path / "model.onnx").write_bytes(MODEL)
    assert bring(Cut(after=0), tmp_path) == MODEL


def test_a_part_that_is_complete_is_only_checked(tmp_path):
    """The agent was killed after the last byte and before the rename."""
    (tmp_path / ".model.onnx.part").write_bytes(MODEL)
    assert bring(Cut(after=0), tmp_path) == MODEL


@pytest.mark.parametrize("part", [b"\0" * 3000, MODEL[:2500] + b"?" * 100, b"\0" * len(MODEL), MODEL + b"x"])
def test_a_part_that_a_power_cut_damaged_is_thrown_away_and_fetched_anew(tmp_path, part):
    """The file is fetched again at once, not only at the next poll."""
    (tmp_path / ".model.onnx.part").write_bytes(part)
    assert bring(Cut(), tmp_path) == MODEL
    assert names(tmp_path) == ["model.onnx"]


def test_wrong_bytes_in_the_store_leave_nothing_behind(tmp_path):
    """A part that was good before does not change that."""
    wrong = MODEL[:5000] + b"?" + MODEL[5001:]
    (tmp_path / ".model.onnx.part").write_bytes(MODEL[:3000])
    with pytest.raises(LengthOrHashMismatchError):
        bring(Cut(wrong), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("data", [MODEL + b"x" * 5000, MODEL[:-1], b""])
def test_an_object_of_another_length_is_refused(tmp_path, data):
    """At most one byte more than the signed length is read of a longer object."""
    store = Cut(data)
    with pytest.raises(DownloadLengthMismatchError, match=f"expected {len(MODEL)} bytes"):
        bring(store, tmp_path)
    assert store.served <= len(MODEL) + 1
    assert names(tmp_path) == []


def test_a_download_leaves_room_on_the_disk_for_the_line(tmp_path):
    """The download waits, and keeps the part that it has."""
    free = RealDisk().free_bytes(tmp_path)
    with pytest.raises(UpdateError, match="must stay free") as caught:
        bring(Cut(), tmp_path, min_free_bytes=free * 2)
    assert (caught.value.reason, caught.value.transient) == ("disk-full", True)


def test_a_model_is_never_whole_in_memory(tmp_path):
    """A device with 256 MB takes a model of any size."""
    data = bytes(30_000_000)
    info = TargetFile.from_data("releases/r/model.onnx", data, ["sha256"])
    store = MemoryStore()
    store.objects[BUCKET, f"targets/releases/r/{hashlib.sha256(data).hexdigest()}.model.onnx"] = data
    tracemalloc.start()
    try:
        Download(store, BUCKET, RealDisk()).bring(info, tmp_path / "model.onnx")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_real_store_serves_the_pieces(tmp_path, seaweed):
    """A range that reaches beyond the end of an object gives fewer bytes and no error."""
    seaweed.store("signer").put(BUCKET, KEY, MODEL)
    (tmp_path / ".model.onnx.part").write_bytes(MODEL[:1234])
    assert bring(edge_adapter(seaweed, "dev1"), tmp_path) == MODEL
