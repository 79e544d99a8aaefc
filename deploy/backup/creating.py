"""Makes a backup: what is there already is not copied again, and the manifest is written last."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from deploy.backup.buckets import HEADS, ORDER, Buckets, Listed, Taken
from deploy.backup.databases import copy_of
from deploy.backup.documents import (
    BackupError,
    BackupManifest,
    BucketPart,
    DatabasePart,
    Entry,
    as_table,
    new_id,
    packed,
    unpacked,
)
from deploy.backup.targets import Shelf
from inspection.image import sha256_of

PIECE: Final = 16 << 20
"""Bytes of a part of a database's file."""
LARGE: Final = 32 << 20
"""Objects of more bytes are copied one after the other, for the sake of memory."""
_AT_ONCE: Final = 8
_Known = Mapping[tuple[str, str], Entry]


@dataclass(frozen=True, slots=True)
class Making:
    """What making a backup needs. say: tells a person. now: the time, UTC. databases: name -> place (`copy_of`)."""

    buckets: Buckets
    shelf: Shelf
    databases: Mapping[str, str]
    say: Callable[[str], None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    names: Sequence[str] = ORDER

    def make(self, *, keep: int | None = None) -> BackupManifest:
        """Make a backup, and return its manifest. keep: how many stay; None: all.

        An interruption leaves no backup, only files that the next call finds again or removes.

        Raises:
            BackupError: another process works on the target, a database is missing or damaged, or a store refused.
        """
        with self.shelf.alone() as still_here:
            manifest = self._made(still_here)
            if keep is not None:
                prune(self.shelf, keep, still_here)
            return manifest

    def _made(self, still_here: Callable[[], None]) -> BackupManifest:
        began_at = self.now()
        before = self._former()
        # The databases name objects, and objects are copied from what names others to what is named. So each name leads
        # to an object, although nothing stands still.
        databases = tuple(self._database(name, place) for name, place in self.databases.items())
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            buckets = tuple(self._bucket(name, before.get(name), pool, still_here) for name in self.names)
        still_here()
        manifest = BackupManifest(
            id=new_id(began_at),
            began_at=began_at,
            ended_at=self.now(),
            databases=databases,
            buckets=buckets,
        )
        self.shelf.finish(manifest)
        return manifest

    def _former(self) -> dict[str, BucketPart]:
        for backup in reversed(self.shelf.ids()):
            try:
                return {part.name: part for part in self.shelf.manifest(backup).buckets}
            except BackupError as e:
                self.say(f"{e}; everything is read again")
        return {}

    def _database(self, name: str, place: str) -> DatabasePart:
        with tempfile.TemporaryDirectory() as folder:
            form, file = copy_of(place, Path(folder))
            pieces = []
            with file.open("rb") as stream:
                while data := stream.read(PIECE):
                    pieces.append(self.shelf.keep(data))
            self.say(f"database {name}: {form}, {file.stat().st_size} bytes")
            return DatabasePart(name=name, form=form, bytes=file.stat().st_size, pieces=tuple(pieces))

    def _bucket(
        self, name: str, former: BucketPart | None, pool: ThreadPoolExecutor, still_here: Callable[[], None]
    ) -> BucketPart:
        known = self._known(former)
        heads = {key: taken for key in HEADS.get(name, ()) if (taken := self.buckets.get(name, key)) is not None}
        copied: list[Entry] = []
        read = gone = 0

        def copy(item: Listed) -> tuple[Entry | None, bool]:
            return self._copied(name, item, known, heads.get(item.key))

        for group in _groups(self.buckets.list(name)):
            still_here()
            small = [item for item in group if item.size <= LARGE]
            found = dict(zip(small, pool.map(copy, small), strict=True))
            found |= {item: copy(item) for item in group if item.size > LARGE}
            for item in group:
                entry, was_read = found[item]
                read += was_read
                if entry is None:
                    gone += 1  # removed since it was listed: nothing names it any more
                else:
                    copied.append(entry)
        pieces = tuple(self.shelf.keep(piece) for piece in packed(copied))
        size = sum(entry.size for entry in copied)
        self.say(
            f"bucket {name}: {len(copied)} objects, {size} bytes; {read} read" + (f", {gone} gone" if gone else "")
        )
        if name == "raw":
            damaged = [entry.key for entry in copied if not _is_what_its_name_says(entry)]
            if damaged:
                self.say(
                    f"{len(damaged)} pictures are not those of their name, such as {damaged[0]}; "
                    "they are kept as they are"
                )
        return BucketPart(name=name, objects=len(copied), bytes=size, pieces=pieces)

    def _known(self, former: BucketPart | None) -> _Known:
        if former is None:
            return {}
        try:
            return as_table(entry for piece in former.pieces for entry in unpacked(self.shelf.take(piece)))
        except BackupError as e:
            self.say(f"{e}; the bucket {former.name} is read again")
            return {}

    def _copied(self, bucket: str, item: Listed, known: _Known, head: Taken | None) -> tuple[Entry | None, bool]:
        former = known.get((item.key, item.version))
        if head is None and former and (former.etag, former.size) == (item.etag, item.size):
            return former, False
        taken = head or self.buckets.get(bucket, item.key, item.version)
        if taken is None:
            return None, True
        digest = self.shelf.keep(taken.data)
        return Entry(item.key, item.version, taken.etag, len(taken.data), taken.content_type, digest), True


def prune(shelf: Shelf, keep: int, still_here: Callable[[], None] = lambda: None) -> list[str]:
    """Remove all backups but the newest, and then the bytes that none of them names. Returns what was removed.

    Raises:
        BackupError: a manifest or listing that stays cannot be read, so that nobody knows what it names. Nothing that
            it may name is removed.
    """
    if keep < 1:
        raise BackupError(f"expected at least one backup to keep, but got {keep}")
    ids = shelf.ids()
    gone, stay = ids[:-keep], ids[-keep:]
    named: set[bytes] = set()
    for backup in stay:
        for digest in digests_of(shelf, shelf.manifest(backup)):
            named.add(bytes.fromhex(digest))
    for backup in gone:
        shelf.forget(backup)
    for digest in list(shelf.blobs()):
        if bytes.fromhex(digest) not in named:
            still_here()
            shelf.drop(digest)
    return gone


def digests_of(shelf: Shelf, manifest: BackupManifest) -> Iterator[str]:
    """Yield the SHA-256 of everything that a backup names, some of them more than once.

    Raises:
        BackupError: a listing is missing or damaged.
    """
    for database in manifest.databases:
        yield from database.pieces
    for bucket in manifest.buckets:
        for piece in bucket.pieces:
            yield piece
            for entry in unpacked(shelf.take(piece)):
                yield entry.sha256


def _groups(listed: Iterable[Listed]) -> Iterator[list[Listed]]:
    source = iter(listed)
    while group := list(islice(source, 512)):
        yield group


def _is_what_its_name_says(entry: Entry) -> bool:
    stem, _, ending = entry.key.rpartition("/")[2].partition(".")
    if len(stem) != len(sha256_of(b"")) or ending.endswith("json"):
        return True
    return stem == entry.sha256
