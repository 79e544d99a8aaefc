"""Restores a backup, and checks one. Nothing is written from bytes that are not those of the backup."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TypeVar

from deploy.backup.buckets import HEADS, Buckets
from deploy.backup.creating import LARGE, digests_of
from deploy.backup.databases import put_back, refuse_filled
from deploy.backup.documents import BackupError, BackupManifest, BucketPart, DatabasePart, Entry, unpacked
from deploy.backup.targets import Shelf

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Restoring:
    """What a restore needs. databases: name -> place; the servers that use them are stopped. say: tells a person."""

    buckets: Buckets
    shelf: Shelf
    databases: Mapping[str, str]
    say: Callable[[str], None]

    def restore(self, manifest: BackupManifest, *, over: bool = False) -> None:
        """Bring everything back. over: also where something is; objects that the backup does not have stay.

        Running it again with `over` after an interruption completes it.

        Raises:
            BackupError: something is there already, something of the backup is missing or damaged, or a store refused.
        """
        with self.shelf.alone() as still_here:
            self._restore(manifest, over, still_here)

    def _restore(self, manifest: BackupManifest, over: bool, still_here: Callable[[], None]) -> None:
        unknown = set(self.databases) ^ {part.name for part in manifest.databases}
        if unknown:
            held = ", ".join(part.name for part in manifest.databases) or "no database"
            raise BackupError(
                f"expected the places of {held}, which the backup holds, but got {', '.join(self.databases)}"
            )
        if not over:
            self._refuse_filled(manifest)
        there = set(self.shelf.blobs())
        missing = {digest for digest in digests_of(self.shelf, manifest) if digest not in there}
        if missing:
            raise BackupError(f"{len(missing)} files of the backup {manifest.id} are missing, such as {min(missing)}")
        # What is named before what names it: whoever looks meanwhile finds no name that leads nowhere.
        for part in reversed(manifest.buckets):
            self._bucket(part, over, still_here)
        for database in manifest.databases:
            still_here()
            self._database(database, over)

    def _refuse_filled(self, manifest: BackupManifest) -> None:
        filled = [part.name for part in manifest.buckets if not self.buckets.is_empty(part.name)]
        if filled:
            raise BackupError(
                f"the buckets {', '.join(filled)} hold something already. Restore into an empty installation; or say "
                "--over, which puts the backup over it"
            )
        for place in self.databases.values():
            try:
                refuse_filled(place)
            except BackupError as e:
                raise BackupError(f"{e}. Move it away; or say --over, which puts the backup over it") from e

    def _bucket(self, part: BucketPart, over: bool, still_here: Callable[[], None]) -> None:
        # Versions that are there already are not written once more.
        there = {(item.key, item.etag.strip('"')) for item in self.buckets.list(part.name)} if over else set()
        heads = HEADS.get(part.name, ())
        last: list[list[Entry]] = []

        def put(versions: list[Entry]) -> int:
            written = 0
            for entry in versions:
                data = self.shelf.take(entry.sha256)
                same = (entry.key, hashlib.md5(data, usedforsecurity=False).hexdigest()) in there
                # The newest version has to be the last one that is written, also where older ones are there.
                if not same or written:
                    self.buckets.put(part.name, entry.key, data, entry.content_type)
                    written += 1
            return written

        total = 0
        with ThreadPoolExecutor(8) as pool:
            for group in _chunks(self._by_key(part)):
                still_here()
                last += [versions for versions in group if versions[0].key in heads]
                rest = [versions for versions in group if versions[0].key not in heads]
                small = [versions for versions in rest if max(entry.size for entry in versions) <= LARGE]
                total += sum(pool.map(put, small)) + sum(put(versions) for versions in rest if versions not in small)
        total += sum(put(versions) for versions in last)
        self.say(f"bucket {part.name}: {total} of {part.objects} objects written")

    def _by_key(self, part: BucketPart) -> Iterator[list[Entry]]:
        entries = (entry for piece in part.pieces for entry in unpacked(self.shelf.take(piece)))
        for _, versions in groupby(entries, key=lambda entry: entry.key):
            yield list(versions)

    def _database(self, part: DatabasePart, over: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "database"
            with file.open("wb") as stream:
                for piece in part.pieces:
                    stream.write(self.shelf.take(piece))
            put_back(part.form, file, self.databases[part.name], over=over)
        self.say(f"database {part.name}: {part.bytes} bytes written")


def verify(shelf: Shelf, manifest: BackupManifest) -> list[str]:
    """Read everything that a backup names, and return what is wrong, in words. Empty: it can be restored."""
    try:
        wanted = set(digests_of(shelf, manifest))
    except BackupError as e:
        return [str(e)]
    wrong: list[str] = []

    def look(digest: str) -> str | None:
        try:
            shelf.take(digest)
        except BackupError as e:
            return str(e)
        return None

    with ThreadPoolExecutor(8) as pool:
        for group in _chunks(sorted(wanted)):
            wrong += [said for said in pool.map(look, group) if said]
    return wrong


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    source = iter(items)
    while chunk := list(islice(source, 256)):
        yield chunk
