"""The servers on one machine: the command that starts each, and the check whether it is healthy."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.stores.objects.whole_file import PRIVATE, write_whole
from deploy.access.identities import (
    environment_for,
    load,
    seaweedfs_config,
    write_mlflow_files,
    write_private,
    write_signer_callers,
)
from deploy.access.layout import GRPC_OFFSET, LOOPBACK, SEAWEEDFS_OFFSETS, Layout, base_environment

RECONCILE_EVERY_S: Final = 20


@dataclass(frozen=True, slots=True)
class Service:
    """One server. health_url: it answers 2xx if the server is healthy; None: a connection to the port is enough.

    needs: the names of the servers that must be healthy before it starts.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    url: str
    health_url: str | None
    start_timeout_s: float
    needs: tuple[str, ...] = ()
    stop_grace_s: float = 15.0

    @property
    def guarded(self) -> tuple[str, ...]:
        """The command below a guard, which ends the server when the process that started it ends."""
        return (sys.executable, "-m", "deploy.local.guard", "--grace", str(self.stop_grace_s), *self.command)

    def healthy(self, timeout_s: float = 2.0) -> bool:
        """Return whether the server answers now."""
        if self.health_url is None:
            try:
                with socket.create_connection((LOOPBACK, self.port), timeout_s):
                    return True
            except OSError:
                return False
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(self.health_url, timeout=timeout_s) as answer:
                return bool(200 <= answer.status < 300)
        except (urllib.error.URLError, OSError, ValueError):
            return False


def script(name: str) -> str:
    """Return the path of a command in this Python environment."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def all_services(layout: Layout) -> tuple[Service, ...]:
    """Return all servers in the order in which they start."""
    first = (seaweedfs(layout), label_studio(layout), mlflow(layout), mqtt(layout), signer(layout))
    return (*first, reconciler(layout), fleet_page(layout))


def used_ports(layout: Layout) -> dict[int, str]:
    """Return every port that the servers open -> the name of its server."""
    ports = {service.port: service.name for service in all_services(layout)}
    base = layout.ports.s3
    for offset in (0, *SEAWEEDFS_OFFSETS):
        ports.setdefault(base + offset, "s3")
        ports.setdefault(base + offset + GRPC_OFFSET, "s3")
    return ports


def is_free(port: int) -> bool:
    """Return whether a server can open a port on loopback.

    Raises:
        OverflowError: there is no such port.
    """
    with socket.socket() as probe:
        # As the servers do: a port whose last connection is still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def seaweedfs(layout: Layout) -> Service:
    """SeaweedFS with S3. Its filer and volume ports require a token that only S3 can make. All ports are on loopback.

    The filer's gRPC port requires no token for files, so another user of this machine can read and write files there.
    """
    secret = load(layout)["s3"]["admin"]["secret_key"]
    tokens = {
        f"WEED_JWT_{name}_KEY": hashlib.sha256(f"{name} {secret}".encode()).hexdigest()
        for name in ("SIGNING", "FILER_SIGNING", "FILER_SIGNING_READ")
    }
    # A bucket takes seven volumes at its first write. SeaweedFS allows as many volumes of the size limit as fit on the
    # free disk. With large volumes, the eighth bucket on a half-full disk answers 500, so the limit is small.
    data = layout.home / "s3"
    data.mkdir(parents=True, exist_ok=True)
    config = layout.run / "s3.json"
    write_private(config, json.dumps(seaweedfs_config(layout)).encode())
    master, volume, filer = (layout.ports.s3 + offset for offset in SEAWEEDFS_OFFSETS)
    command = (
        script("weed"), "-logtostderr=true", "server", f"-dir={data}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}",
        f"-master.port={master}", "-master.peers=none", "-master.electionTimeout=1s", "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64", f"-volume.port={volume}", "-volume.max=0", "-volume.preStopSeconds=1",
        f"-filer.port={filer}", "-s3", f"-s3.port={layout.ports.s3}", f"-s3.config={config}",
        # Devices are enrolled and revoked through its IAM API while it runs, with the administrator's key.
        "-s3.iam.readOnly=false", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        # By default, pages of every origin can read a bucket that has no CORS rule.
        "-s3.allowedOrigins=", "-filer.allowedOrigins=",
    )  # fmt: skip
    url = layout.s3_endpoint
    # After SIGTERM, `weed server` may wait for its own filer's subscribers forever without syncing. Its data survives a
    # kill -9, so the wait is short.
    return Service(
        "s3", command, base_environment() | tokens, layout.ports.s3, url, f"{url}/healthz", 60, stop_grace_s=1.0
    )


def mlflow(layout: Layout) -> Service:
    """MLflow with SQLite. It passes artifacts to S3, and it checks accounts and the rules for an approval."""
    folder = layout.home / "mlflow"
    folder.mkdir(parents=True, exist_ok=True)
    accounts, approvers = write_mlflow_files(layout)
    environment = environment_for(layout, "mlflow") | {
        "MLFLOW_S3_ENDPOINT_URL": layout.s3_endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "KIZU_MLFLOW_ACCOUNTS": str(accounts),
        "KIZU_MLFLOW_APPROVERS": str(approvers),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": load(layout)["mlflow"]["secret_key"],
    }
    command = (
        sys.executable, "-m", "mlflow", "server", "--app-name", "kizu-approval",
        "--host", LOOPBACK, "--port", str(layout.ports.mlflow),
        "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination", "s3://kizu-mlflow", "--serve-artifacts", "--workers", "1",
    )  # fmt: skip
    url = layout.mlflow_url
    return Service("mlflow", command, environment, layout.ports.mlflow, url, f"{url}/health", 120, ("s3",))


def label_studio(layout: Layout) -> Service:
    """Label Studio with SQLite, in its own Python environment. People sign up by invitation only."""
    admin = load(layout)["label_studio"]
    folder = layout.home / "label-studio"
    folder.mkdir(parents=True, exist_ok=True)
    _begin_with_tables(folder / "label_studio.sqlite3", layout.label_studio_venv / "empty-database.sqlite3")
    environment = base_environment() | {
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LABEL_STUDIO_HOST": layout.label_studio_url,
        "LABEL_STUDIO_USERNAME": admin["email"],
        "LABEL_STUDIO_PASSWORD": admin["password"],
        "LABEL_STUDIO_USER_TOKEN": admin["token"],
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # S3 is on loopback here. Label Studio's protection against server-side request forgery would refuse it.
        "SSRF_PROTECTION_ENABLED": "false",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "CORS_ALLOWED_ORIGINS": layout.label_studio_url,
        "ENABLE_LOCAL_FILES_STORAGE": "false",
        "COLLECT_ANALYTICS": "false",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "LATEST_VERSION_CHECK": "false",
    }
    command = (
        str(layout.label_studio_venv / "bin" / "python"), str(layout.label_studio_venv / "bin" / "label-studio"),
        "start", "--no-browser", "--internal-host", LOOPBACK, "--port", str(layout.ports.label_studio),
    )  # fmt: skip
    url = layout.label_studio_url
    return Service("label-studio", command, environment, layout.ports.label_studio, url, f"{url}/health", 240)


def _begin_with_tables(database: Path, empty: Path) -> None:
    """Copy the empty database into a new home; `tools/setup` makes it. Label Studio makes tables that it lacks."""
    if not database.exists() and empty.exists():
        write_whole(database, empty.read_bytes(), PRIVATE)


def mqtt(layout: Layout) -> Service:
    """An MQTT 3.1.1 broker for results, on loopback, without accounts."""
    config = layout.run / "mqtt.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f"""listeners:
  default:
    type: tcp
    bind: {LOOPBACK}:{layout.ports.mqtt}
    max_connections: 50
plugins:
  amqtt.plugins.authentication.AnonymousAuthPlugin:
    allow_anonymous: true
""",
        encoding="utf-8",
    )
    command = (script("amqtt"), "-c", str(config))
    url = f"mqtt://{LOOPBACK}:{layout.ports.mqtt}"
    return Service("mqtt", command, base_environment(), layout.ports.mqtt, url, None, 60)


def signer(layout: Layout) -> Service:
    """The signer. Only its process uses the signing keys."""
    write_signer_callers(layout)
    environment = environment_for(layout, "signer")
    command = (sys.executable, "-m", "components.deployment.signer")
    url = layout.signer_url
    return Service("signer", command, environment, layout.ports.signer, url, f"{url}/healthz", 120, ("s3", "mlflow"))


def reconciler(layout: Layout) -> Service:
    """The reconciler. It waits for a product or a release, and keeps trying while other servers are away."""
    # The runs that it starts reach the servers at the ports of this installation.
    environment = environment_for(layout, "reconciler") | layout.ports.environment()
    listen = f"{LOOPBACK}:{layout.ports.reconciler}"
    command = (
        sys.executable, "-m", "kizu", "reconcile", "--every", str(RECONCILE_EVERY_S), "--listen", listen,
        "--idle-without-products",
    )  # fmt: skip
    url = f"http://{listen}"
    # Its runs are ended first, which takes some seconds.
    return Service(
        "reconciler", command, environment, layout.ports.reconciler, url, f"{url}/healthz", 60, stop_grace_s=30.0
    )


def fleet_page(layout: Layout) -> Service:
    """The fleet page, on loopback. People sign in with their accounts of MLflow."""
    environment = environment_for(layout, "fleet-page")
    command = (sys.executable, "-m", "kizu", "fleet-page")
    url = layout.fleet_page_url
    needs = ("s3", "mlflow", "signer")
    return Service("fleet-page", command, environment, layout.ports.fleet_page, url, f"{url}/healthz", 120, needs)
