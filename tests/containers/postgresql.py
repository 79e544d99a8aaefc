"""A PostgreSQL server of this machine's own package, with a fresh database, for one test session."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.components.servers import free_port


def binaries() -> Path | None:
    """The folder of Debian's newest PostgreSQL, or the one on the path; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def running(programs: Path) -> Iterator[str]:
    """Start a server with a database `kizu`, and yield the URI as the documents say it: postgresql://…"""
    # PostgreSQL refuses to run as root, and Debian's package made a user for it.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="kizu-postgresql-"))
    password, port = secrets.token_hex(8), free_port()
    (folder / "password").write_text(password, encoding="ascii")
    if user is not None:
        account = pwd.getpwnam(user)
        for path in (folder, folder / "password"):
            os.chown(path, account.pw_uid, account.pw_gid)

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(programs / program), *arguments],
            user=user, cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    data = folder / "data"
    call(
        "initdb", "-D", str(data), "-U", "kizu", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-E", "UTF8"
    )
    settings = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off -p {port}"
    call("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", settings, "start")
    try:
        yield f"postgresql://kizu:{password}@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)
