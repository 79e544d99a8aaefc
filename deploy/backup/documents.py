"""What a backup is: a manifest that names everything else by its SHA-256. It is written last."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from inspection.codec import Document, Part

SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
ENTRIES_IN_A_PIECE: Final = 20_000
_ID: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}")


class BackupError(RuntimeError):
    """A backup cannot be made, read or restored; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePart(Part):
    """One database: a file of SQLite, or a dump of PostgreSQL in its custom format."""

    name: str
    """mlflow or label-studio."""
    form: str
    """sqlite or postgresql."""
    bytes: int
    """The size of the file."""
    pieces: tuple[str, ...]
    """SHA-256 of each part of the file, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPart(Part):
    """One bucket. Its listing is in pieces too: gzipped lines of JSON."""

    name: str
    """Without the prefix of the installation."""
    objects: int
    """How many, with all versions."""
    bytes: int
    """Of all of them."""
    pieces: tuple[str, ...]
    """SHA-256 of each piece of the listing, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest(Document):
    """One backup, whole."""

    id: str
    """Its name: when it began; see `new_id`."""
    began_at: datetime
    """When the databases were copied; UTC. What changed later may be in it."""
    ended_at: datetime
    """When the last object was copied; UTC."""
    databases: tuple[DatabasePart, ...]
    """The databases."""
    buckets: tuple[BucketPart, ...]
    """The buckets, in the order in which they were copied."""

    @property
    def bytes(self) -> int:
        """The size of all that it holds."""
        return sum(part.bytes for part in self.databases) + sum(part.bytes for part in self.buckets)


@dataclass(frozen=True, slots=True)
class Entry:
    """One object in a listing, or one version of it. Versions of a key stand together, the oldest first."""

    key: str
    version: str
    etag: str
    size: int
    content_type: str
    sha256: str


def new_id(began_at: datetime) -> str:
    """Return the name of a backup. Names sort by time: the last digits are the part of the second."""
    return f"{began_at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{began_at.microsecond * 65_536 // 1_000_000:04x}"


def require_id(text: str) -> str:
    """Return a name of a backup as it is.

    Raises:
        BackupError: it is none; a path, for example.
    """
    if not _ID.fullmatch(text):
        raise BackupError(
            f"expected a backup such as 20300131T023000Z-1a2b, as `kizu backup list` shows, but got {text!r}"
        )
    return text


def packed(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Yield a listing in pieces. The same entries give the same bytes."""
    lines: list[str] = []
    for entry in entries:
        lines.append(
            json.dumps(
                [entry.key, entry.version, entry.etag, entry.size, entry.content_type, entry.sha256],
                separators=(",", ":"),
            )
        )
        if len(lines) == ENTRIES_IN_A_PIECE:
            yield _gzipped(lines)
            lines = []
    if lines:
        yield _gzipped(lines)


def unpacked(piece: bytes) -> Iterator[Entry]:
    """Yield the entries of a piece.

    Raises:
        BackupError: it is no piece of a listing.
    """
    try:
        for line in gzip.decompress(piece).splitlines():
            key, version, etag, size, content_type, sha256 = json.loads(line)
            yield Entry(str(key), str(version), str(etag), int(size), str(content_type), str(sha256))
    except (OSError, EOFError, ValueError, TypeError) as e:
        raise BackupError(f"a listing of the backup cannot be read: {e}") from e


def _gzipped(lines: list[str]) -> bytes:
    return gzip.compress("\n".join(lines).encode(), 6, mtime=0)


def as_table(entries: Iterable[Entry]) -> Mapping[tuple[str, str], Entry]:
    """Return (key, version) -> entry."""
    return {(entry.key, entry.version): entry for entry in entries}
