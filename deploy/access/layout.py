"""Folders, ports and URLs on one machine. No other module of this folder reads the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
LOOPBACK: Final = "127.0.0.1"
# SeaweedFS's master, volume and filer ports follow the S3 port; each has a gRPC port GRPC_OFFSET above it.
SEAWEEDFS_OFFSETS: Final = (1, 2, 3)
GRPC_OFFSET: Final = 10000


class LayoutError(ValueError):
    """A port or folder cannot be used."""


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports on loopback. The variable `KIZU_PORT_<NAME>` changes a port."""

    s3: int = 8333
    mlflow: int = 5000
    label_studio: int = 8080
    signer: int = 8085
    mqtt: int = 1883
    edge: int = 8090
    reconciler: int = 8086
    fleet_page: int = 8088

    @classmethod
    def from_environment(cls) -> Ports:
        """Return the default ports with the changes of the environment."""
        chosen = {}
        for field in fields(cls):
            name = f"KIZU_PORT_{field.name.upper()}"
            text = os.environ.get(name)
            if text is None:
                continue
            if not (text.isdigit() and 1024 <= int(text) <= 65535):
                raise LayoutError(f"expected {name} to be a port from 1024 to 65535, but got {text!r}")
            chosen[field.name] = int(text)
        return cls(**chosen)

    def environment(self) -> dict[str, str]:
        """The variables from which a process of this installation reads these ports."""
        return {f"KIZU_PORT_{field.name.upper()}": str(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Layout:
    """One installation on this machine: its state folder and its ports."""

    home: Path
    ports: Ports
    label_studio_venv: Path

    @classmethod
    def from_environment(cls, home: Path | None = None) -> Layout:
        """Return the layout that `KIZU_HOME` (default: `.kizu` in the repository) and the ports give."""
        folder = home or Path(os.environ.get("KIZU_HOME") or REPOSITORY / ".kizu")
        venv = Path(os.environ.get("KIZU_LABEL_STUDIO_VENV") or REPOSITORY / ".venv-labelstudio")
        return cls(folder.resolve(), Ports.from_environment(), venv)

    @property
    def logs(self) -> Path:
        """The folder of logs: one file for each service and for each pipeline run."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """The folder for files that only running processes need."""
        return self.home / "run"

    @property
    def cache(self) -> Path:
        """The folder for files that can be fetched again: images of datasets."""
        return self.home / "cache"

    @property
    def products(self) -> Path:
        """The folder with an empty file for each use case that a person worked with here, beside the demo."""
        return self.home / "products"

    @property
    def use_cases(self) -> Path:
        """The folder with the use case files that the reconciler serves."""
        return self.home / "use-cases"

    @property
    def keys(self) -> Path:
        """The folder of the signer's keys and root.json."""
        return self.home / "keys"

    @property
    def identities_file(self) -> Path:
        """The file of the keys and passwords of this installation, mode 0600."""
        return self.home / "identities.json"

    @property
    def signer_callers(self) -> Path:
        """The file that says who may call the signer. It holds digests of tokens, and has mode 0600."""
        return self.home / "signer" / "callers.json"

    @property
    def mlflow_accounts(self) -> Path:
        """The file of the accounts of MLflow's server with their passwords, mode 0600."""
        return self.home / "mlflow" / "accounts.json"

    @property
    def mlflow_approvers(self) -> Path:
        """The file that says who may approve which model."""
        return self.home / "mlflow" / "approvers.json"

    @property
    def s3_endpoint(self) -> str:
        """The URL of SeaweedFS."""
        return f"http://{LOOPBACK}:{self.ports.s3}"

    @property
    def mlflow_url(self) -> str:
        """The URL of MLflow."""
        return f"http://{LOOPBACK}:{self.ports.mlflow}"

    @property
    def label_studio_url(self) -> str:
        """The URL of Label Studio."""
        return f"http://{LOOPBACK}:{self.ports.label_studio}"

    @property
    def signer_url(self) -> str:
        """The URL of the signer."""
        return f"http://{LOOPBACK}:{self.ports.signer}"

    @property
    def fleet_page_url(self) -> str:
        """The URL of the fleet page."""
        return f"http://{LOOPBACK}:{self.ports.fleet_page}"


def make_private(folder: Path) -> None:
    """Make a folder that only this user may enter: it holds keys and passwords. One that others may enter is closed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def base_environment(*more: str) -> dict[str, str]:
    """Return the variables that every process needs, without servers and keys. more: other variables to keep."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
            "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "PYTHONWARNINGS")  # fmt: skip
    environment = {name: os.environ[name] for name in (*kept, *more) if name in os.environ}
    # Every server is on loopback, so no proxy may be used.
    return {**environment, "NO_PROXY": "*", "PYTHONUNBUFFERED": "1"}
