"""Backups by their rules: whole or not at all, copied once, checked when read, and never over what is there unasked."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from datetime import UTC, datetime, timedelta

import pytest

from deploy.backup.buckets import ORDER
from deploy.backup.creating import Making, prune
from deploy.backup.databases import copy_of, put_back
from deploy.backup.documents import BackupError, BackupManifest, Entry, new_id, packed, require_id, unpacked
from deploy.backup.restoring import Restoring, verify
from deploy.backup.targets import FolderTarget, Shelf
from tests.deploy.backup.targets_in_memory import BucketsInMemory, TargetInMemory

START = datetime(2030, 1, 31, 2, 30, tzinfo=UTC)
PICTURE = b"a picture"
NAME = f"factory/line1/2030/01/30/{hashlib.sha256(PICTURE).hexdigest()}.jpg"


class World:
    """An installation with a picture of two versions, a repository, and a database that a server holds open."""

    def __init__(self, folder):
        self.folder = folder
        self.target = TargetInMemory()
        self.shelf = Shelf(self.target)
        self.buckets = BucketsInMemory(*ORDER)
        self.put("raw", NAME, PICTURE)
        self.put("raw", NAME, b"overwritten")
        self.put("labels", "_delta_log/0.json", b"{}")
        self.put("releases", "metadata/1.root.json", b"root")
        self.put("releases", "metadata/timestamp.json", b"timestamp 1")
        self.said: list[str] = []
        self.clock = START
        self.database = folder / "mlflow.db"
        with contextlib.closing(sqlite3.connect(self.database)) as server, server:
            server.execute("CREATE TABLE versions (name TEXT)")
            server.execute("INSERT INTO versions VALUES ('metal-tag 1')")

    def put(self, bucket, key, data):
        self.buckets.put(bucket, key, data, "")

    def make(self, **more):
        self.clock += timedelta(days=1)
        making = Making(
            self.buckets, self.shelf, {"mlflow": str(self.database)}, self.said.append, now=lambda: self.clock
        )
        return making.make(**more)

    def restore(self, manifest, *, over=False, buckets=None, database=None):
        buckets = buckets or BucketsInMemory(*ORDER)
        place = database or self.folder / "restored" / "mlflow.db"
        Restoring(buckets, self.shelf, {"mlflow": str(place)}, self.said.append).restore(manifest, over=over)
        return buckets, place


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def rows(database):
    with contextlib.closing(sqlite3.connect(database)) as reading:
        return [row[0] for row in reading.execute("SELECT name FROM versions ORDER BY name")]


def test_what_was_backed_up_comes_back_with_every_version_in_its_order(world):
    """Objects, their versions and the rows of the database are those of the installation."""
    made = world.make()
    assert verify(world.shelf, made) == []
    buckets, database = world.restore(made)
    assert buckets.held == world.buckets.held
    assert rows(database) == ["metal-tag 1"]
    assert database.stat().st_mode & 0o077 == 0


def test_a_second_backup_reads_only_what_is_new(world):
    """Objects are not read again while the store says that they are the same, and equal bytes are kept once."""
    world.make()
    world.buckets.read.clear()
    blobs = set(world.target.files)
    world.put("raw", "factory/line1/2030/01/31/new.json", b"capture")
    second = world.make()
    assert world.buckets.read == ["metadata/timestamp.json", "factory/line1/2030/01/31/new.json"]
    added = [name for name in world.target.files if name not in blobs and name.startswith("blobs/")]
    assert len(added) == 2  # the object, and the listing of its bucket
    assert verify(world.shelf, second) == []


def test_a_backup_that_is_killed_at_any_moment_leaves_none_that_looks_whole(world):
    """The manifest is written last. The next call completes the work, and the former backup stays whole."""
    first = world.make()
    world.put("raw", "another", b"another")
    at = world.target.writes
    for step in range(1, 20):
        world.target.kill_at = world.target.writes + step
        try:
            second = world.make()
        except KeyboardInterrupt:
            assert world.shelf.ids() == [first.id]
            assert verify(world.shelf, first) == []
        else:
            break
    assert world.target.writes > at + 2
    assert world.shelf.ids() == [first.id, second.id]
    assert verify(world.shelf, second) == []


def test_a_write_of_the_database_during_the_copy_is_in_it_whole_or_not_at_all(world):
    """The copy is SQLite's own: what a server has begun and not finished is not in it."""
    with contextlib.closing(sqlite3.connect(world.database)) as server:
        server.execute("PRAGMA journal_mode=WAL")
        server.execute("INSERT INTO versions VALUES ('metal-tag 2')")
        server.commit()
        server.execute("INSERT INTO versions VALUES ('not finished')")
        made = world.make()
    _, database = world.restore(made)
    assert rows(database) == ["metal-tag 1", "metal-tag 2"]


def test_names_lead_to_objects_although_the_installation_goes_on(world):
    """What names the newest metadata is read first: the copy has the older name, and everything that it leads to."""

    def publishes(key):
        if key == "metadata/1.root.json":
            world.put("releases", "metadata/timestamp.json", b"timestamp 2, of metadata that the listing does not have")

    world.buckets.before_get = publishes
    buckets, _ = world.restore(world.make())
    assert buckets.held["releases"]["metadata/timestamp.json"] == [b"timestamp 1"]
    assert buckets.written[-1] == "releases/metadata/timestamp.json"  # and it comes back after all that it names


def test_an_object_that_is_removed_meanwhile_is_left_out_and_counted(world):
    """A claim that was released while it was copied is no error."""
    world.put("state", "claims/a.json", b"{}")
    world.buckets.before_get = lambda key: key == "claims/a.json" and world.buckets.held["state"].clear()
    made = world.make()
    assert next(part.objects for part in made.buckets if part.name == "state") == 0
    assert any("1 gone" in line for line in world.said)


def test_a_restore_refuses_an_installation_that_holds_something(world):
    """Neither an object nor a database is lost to a command in the wrong window; with --over the backup wins."""
    made = world.make()
    filled = BucketsInMemory(*ORDER)
    filled.put("labels", "mine", b"mine", "")
    filled.put("labels", "_delta_log/0.json", b"other", "")
    with pytest.raises(BackupError, match="labels hold something"):
        world.restore(made, buckets=filled)
    assert filled.held["raw"] == {}
    other = world.folder / "other.db"
    other.write_bytes(b"x")
    with pytest.raises(BackupError, match=r"other\.db already"):
        world.restore(made, database=other)
    assert other.read_bytes() == b"x"
    (world.folder / "other.db-wal").write_bytes(b"of the former database")
    world.restore(made, buckets=filled, database=other, over=True)
    assert filled.held["labels"] == {"mine": [b"mine"], "_delta_log/0.json": [b"{}"]}
    assert rows(other) == ["metal-tag 1"]
    assert not (world.folder / "other.db-wal").exists()


def test_an_interrupted_restore_is_completed_and_writes_no_version_twice(world):
    """Versions that arrived before stay one version each."""
    made = world.make()
    buckets, database = world.restore(made)
    del buckets.held["labels"]["_delta_log/0.json"]
    buckets.written.clear()
    world.restore(made, buckets=buckets, database=database, over=True)
    assert buckets.held == world.buckets.held
    assert buckets.written == ["labels/_delta_log/0.json"]


def test_bytes_that_are_not_those_of_the_backup_are_neither_verified_nor_written(world):
    """A damaged or missing file of the backup is named, and what it would become is not there afterwards."""
    made = world.make()
    digest = hashlib.sha256(PICTURE).hexdigest()
    name = f"blobs/{digest[:2]}/{digest}"
    world.target.files[name] = b"a pictura"
    assert [digest in said for said in verify(world.shelf, made)] == [True]
    buckets = BucketsInMemory(*ORDER)
    with pytest.raises(BackupError, match="damaged"):
        world.restore(made, buckets=buckets)
    assert b"a pictura" not in str(buckets.held).encode()
    del world.target.files[name]
    assert [digest in said for said in verify(world.shelf, made)] == [True]
    buckets = BucketsInMemory(*ORDER)
    with pytest.raises(BackupError, match="1 files of the backup"):
        world.restore(made, buckets=buckets)
    assert not buckets.written  # it is known before the first act


def test_old_backups_go_and_what_the_newest_name_stays(world):
    """Bytes that no backup names any more are removed; a backup that stays is whole."""
    for day in range(4):
        world.put("fleet", "line1/reported.json", f"day {day}".encode())
        made = world.make(keep=2)
    assert world.shelf.ids()[-1] == made.id
    assert len(world.shelf.ids()) == 2
    for backup in world.shelf.ids():
        assert verify(world.shelf, world.shelf.manifest(backup)) == []
    kept = set(world.target.files.values())
    assert b"day 0" not in kept
    assert {b"day 2", b"day 3"} <= kept


def test_where_a_backup_that_stays_cannot_be_read_nothing_is_removed(world):
    """Nobody knows what it names."""
    first = world.make()
    world.make()
    world.make()
    world.target.files[f"backups/{world.shelf.ids()[1]}.json"] = b"{"
    before = dict(world.target.files)
    with pytest.raises(BackupError, match="damaged"):
        prune(world.shelf, 2)
    assert world.target.files == before
    with pytest.raises(BackupError, match="there is no backup"):
        world.shelf.manifest(first.id[:-4] + "ffff")


def test_a_former_listing_that_is_damaged_costs_time_and_nothing_else(world):
    """Then everything is read again."""
    first = world.make()
    piece = next(part.pieces[0] for part in first.buckets if part.name == "raw")
    world.target.files[f"blobs/{piece[:2]}/{piece}"] = b"damaged"
    world.buckets.read.clear()
    second = world.make()
    assert world.buckets.read.count(NAME) == 2
    assert any("is read again" in line for line in world.said)
    assert len(second.buckets) == len(ORDER)


def test_only_one_works_on_a_target_at_a_time(world, tmp_path):
    """Who removes files must not meet who relies on them."""
    world.target.busy = True
    with pytest.raises(BackupError, match="another backup"):
        world.make()
    folder = FolderTarget(tmp_path / "target")
    with folder.alone(), pytest.raises(BackupError, match="another backup"), FolderTarget(tmp_path / "target").alone():
        pass


def test_a_folder_of_backups_is_private_and_has_nothing_of_a_killed_writer(tmp_path):
    """Databases hold digests of passwords. What a killed call left is no part of a backup, and goes with the next."""
    shelf = Shelf(FolderTarget(tmp_path / "target"))
    with shelf.alone():
        digest = shelf.keep(b"bytes")
    left = tmp_path / "target" / "blobs" / digest[:2] / f".{digest[:40]}.1a2b3c4d.new"
    left.write_bytes(b"half")
    assert list(shelf.blobs()) == [digest]
    with shelf.alone():
        assert not left.exists()
    assert shelf.take(digest) == b"bytes"
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "target").rglob("*") if path.is_file()} == {0}


def test_a_picture_whose_bytes_are_not_those_of_its_name_is_told(world):
    """It is kept as it is: older versions may be right, and a reader takes the one that matches."""
    world.make()
    assert any(line.startswith("1 pictures are not those of their name") for line in world.said)


def test_a_manifest_keeps_what_a_newer_version_added_and_refuses_a_newer_form(world):
    """It is read as it was written."""
    made = world.make()
    assert BackupManifest.from_json(made.to_json()) == made
    newer = made.to_json().replace(b'"schema_version":1', b'"schema_version":1,"zone":"osaka"', 1)
    assert BackupManifest.from_json(newer).to_json() == newer
    with pytest.raises(ValueError, match="newer than this program"):
        BackupManifest.from_json(made.to_json().replace(b'"schema_version":1', b'"schema_version":2'))


def test_the_same_listing_has_the_same_bytes_and_any_key_comes_back():
    """So an unchanged bucket costs nothing; keys may have spaces, line breaks and every letter."""
    entries = [Entry(f"a {number}\n\u2028é", "", '"e"', 3, "image/png", "0" * 64) for number in range(3)]
    assert list(packed(entries)) == list(packed(entries))
    assert [entry for piece in packed(entries) for entry in unpacked(piece)] == entries
    with pytest.raises(BackupError, match="cannot be read"):
        list(unpacked(b"no piece"))


@pytest.mark.parametrize("text", ["../../etc/passwd", "newest", "20300131T023000Z-1A2B", ""])
def test_a_name_of_a_backup_is_no_path(text):
    """It becomes a part of the name of a file."""
    with pytest.raises(BackupError, match="kizu backup list"):
        require_id(text)


def test_what_is_no_database_is_refused_by_what_it_is(tmp_path):
    """A wrong path is found before anything is copied, and a file that is damaged does not become a backup."""
    (tmp_path / "text").write_text("no database at all")
    for place, match in ((tmp_path / "text", "neither"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(BackupError, match=match):
            copy_of(str(place), tmp_path)
    with pytest.raises(BackupError, match="PostgreSQL"):
        put_back("sqlite", tmp_path / "text", "postgresql://user:secret@db.test/x", over=True)


def test_names_of_backups_sort_by_time_also_within_a_second():
    """The newest is kept, and the one before it is the one that goes."""
    began = datetime(2026, 3, 2, 12, tzinfo=UTC)
    names = [new_id(began + timedelta(milliseconds=milliseconds)) for milliseconds in (0, 1, 500, 999, 1000)]
    assert names == sorted(set(names))
    assert names[0] == "20260302T120000Z-0000"
