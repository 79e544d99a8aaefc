"""A real MLflow server as this product runs it: `--app-name kizu-approval`, accounts, SQLite, artifacts in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.access.layout import REPOSITORY

ROLES = {
    "admin": "admin", "trainer": "trainer", "trainer-2": "trainer", "reconciler": "reconciler", "signer": "reader",
    "auditor": "reader", "approver": "approver", "approver-2": "approver",
}  # fmt: skip


def password_of(account: str) -> str:
    """Known to the tests."""
    return f"password-of-{account}"


@dataclass(frozen=True)
class GuardedMlflow:
    """The server, and the administrator's files."""

    uri: str
    folder: Path

    @property
    def accounts(self) -> Path:
        return self.folder / "accounts.json"

    @property
    def approvers(self) -> Path:
        return self.folder / "approvers.json"

    def write_accounts(self, roles: dict[str, str] = ROLES) -> None:
        entries = {name: {"role": role, "password": password_of(name)} for name, role in roles.items()}
        write(self.accounts, {"schema_version": 1, "accounts": entries})

    def allow(self, model: str, *accounts: str) -> None:
        """What the administrator does with a use case's list of approvers."""
        known = json.loads(self.approvers.read_bytes()) if self.approvers.exists() else {"approvers": {}}
        write(self.approvers, {"schema_version": 1, "approvers": known["approvers"] | {model: list(accounts)}})

    @contextmanager
    def acting_as(self, account: str) -> Iterator[None]:
        """MLflow's client in this process is that account."""
        names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(zip(names, (account, password_of(account)), strict=True))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def ask(self, account: str | None, method: str, path: str, body: object = None) -> httpx.Response:
        """One request, as a program of one's own makes it. path: from /api or /ajax-api on."""
        auth = (account, password_of(account)) if account else None
        return httpx.request(method, self.uri + path, json=body, auth=auth, timeout=60, trust_env=False)

    def set_tag(self, account: str | None, model: str, version: int, key: str, value: str) -> httpx.Response:
        """As MLflow's page does it."""
        body = {"name": model, "version": str(version), "key": key, "value": value}
        return self.ask(account, "POST", "/ajax-api/2.0/mlflow/model-versions/set-tag", body)


def write(path: Path, document: object) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(json.dumps(document), encoding="utf-8")
    new.replace(path)


def command(folder: Path, port: int, *options: str) -> Sequence[str]:
    return [
        sys.executable, "-m", "mlflow", "server", "--app-name", "kizu-approval", *options,
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", str(folder / "artifacts"), "--serve-artifacts",
    ]  # fmt: skip


def environment(server: GuardedMlflow) -> dict[str, str]:
    return os.environ | {
        "KIZU_MLFLOW_ACCOUNTS": str(server.accounts),
        "KIZU_MLFLOW_APPROVERS": str(server.approvers),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for the tests",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": str(REPOSITORY),
    }


@contextmanager
def running(folder: Path, port: int) -> Iterator[GuardedMlflow]:
    """Start it and wait until it is well."""
    server = GuardedMlflow(f"http://127.0.0.1:{port}", folder)
    server.write_accounts()
    if not server.approvers.exists():
        write(server.approvers, {"schema_version": 1, "approvers": {}})
    log = folder / "log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command(folder, port), env=environment(server), cwd=folder, stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not healthy(server.uri):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def healthy(uri: str) -> bool:
    try:
        return httpx.get(f"{uri}/health", timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
