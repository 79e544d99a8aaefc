"""The databases of MLflow and Label Studio: a file of SQLite, a PostgreSQL, or a dump that pg_dump made."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from deploy.backup.documents import POSTGRESQL, SQLITE, BackupError

_SQLITE_HEAD: Final = b"SQLite format 3\0"
_DUMP_HEAD: Final = b"PGDMP"
_LIMIT_S: Final = 6 * 3600
_COUNT: Final = "SELECT count(*) FROM pg_catalog.pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"


def copy_of(place: str, folder: Path) -> tuple[str, Path]:
    """Return (form, file) of a database as it is at one moment. The servers may go on writing meanwhile.

    Args:
        place: postgresql://…, or the path of a file of SQLite or of a dump.
        folder: where the copy is made; of this process alone.

    Raises:
        BackupError: there is no database, or it is damaged.
    """
    if place.startswith("postgresql://"):
        file = folder / "dump"
        _run(["pg_dump", "--no-password", "--format=custom", f"--file={file}"], place)
        return POSTGRESQL, file
    path = Path(place)
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_SQLITE_HEAD))
    except OSError as e:
        raise BackupError(f"the database {place} cannot be read: {e.strerror}") from e
    if head.startswith(_DUMP_HEAD):
        return POSTGRESQL, path
    if head != _SQLITE_HEAD:
        raise BackupError(f"expected a file of SQLite or a dump of pg_dump in {place}, but it is neither")
    file = folder / "copy.sqlite3"
    try:
        # SQLite's own online copy: a file that is copied while a server writes it may be half of each.
        source = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=60)
        with contextlib.closing(source), contextlib.closing(sqlite3.connect(file)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
            said = copy.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as e:
        raise BackupError(f"the database {place} cannot be copied: {e}") from e
    if said != "ok":
        raise BackupError(f"the database {place} is damaged: {said}")
    return SQLITE, file


def refuse_filled(place: str) -> None:
    """Raise a BackupError where a database holds something already."""
    if place.startswith("postgresql://"):
        found = _run(["psql", "--no-password", "--no-psqlrc", "-At", "-c", _COUNT], place).strip()
        if found != "0":
            raise BackupError(f"the database {_shown(place)} holds {found} tables already")
    elif Path(place).exists() and Path(place).stat().st_size:
        raise BackupError(f"there is a database in {place} already")


def put_back(form: str, file: Path, place: str, *, over: bool) -> None:
    """Make a database what a copy says. Nobody may use it meanwhile. over: also where it holds something.

    Raises:
        BackupError: the copy is damaged, or of another form than the place; or PostgreSQL refused.
    """
    if not over:
        refuse_filled(place)
    if place.startswith("postgresql://"):
        if form != POSTGRESQL:
            raise BackupError(
                f"the backup holds a file of SQLite, and {_shown(place)} is a PostgreSQL; restore the file, and move "
                "it: kizu cluster migrate"
            )
        clean = ["--clean", "--if-exists"] if over else []
        # One transaction: a restore that is interrupted leaves what was there before.
        options = ["--no-password", "--exit-on-error", "--no-owner", "--single-transaction", *clean]
        _run(["pg_restore", *options, str(file)], place)
        return
    if form == SQLITE:
        with contextlib.closing(sqlite3.connect(file)) as copy:
            said = copy.execute("PRAGMA quick_check").fetchone()[0]
        if said != "ok":
            raise BackupError(f"the copy of {place} in the backup is damaged: {said}")
    path = Path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    with file.open("rb") as source, temporary.open("wb") as stream:
        temporary.chmod(0o600)
        while block := source.read(1 << 20):
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    # What SQLite kept beside the former file belongs to that one, and would be played into this one.
    for ending in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    temporary.replace(path)


def _run(command: list[str], uri: str) -> str:
    """Run a program of PostgreSQL on a database. The password is in its environment, never in its arguments.

    Raises:
        BackupError: it is missing, or failed. The message does not hold the password.
    """
    try:
        done = subprocess.run(
            [*command, f"--dbname={_without_password(uri)}"],
            env=_environment(uri),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except FileNotFoundError as e:
        raise BackupError(f"expected {command[0]} on the path; on Debian: postgresql-client") from e
    except subprocess.TimeoutExpired as e:
        raise BackupError(f"{command[0]} did not end within {_LIMIT_S} s") from e
    if done.returncode != 0:
        raise BackupError(f"{command[0]}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _environment(uri: str) -> Mapping[str, str]:
    url = urlsplit(uri)
    named = {"PGPASSWORD": unquote(url.password)} if url.password else {}
    return {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")},
        **named,
    }


def _without_password(uri: str) -> str:
    url = urlsplit(uri)
    host = url.netloc.rpartition("@")[2]
    return urlunsplit(url._replace(netloc=f"{url.username}@{host}" if url.username else host))


def _shown(uri: str) -> str:
    url = urlsplit(uri)
    return f"{url.hostname}{url.path}"
