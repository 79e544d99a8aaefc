"""`kizu fleet-page`: serve the page on which people watch the fleet and pause a rollout."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from kizu.context import CommandError, settings_as

if TYPE_CHECKING:
    from components.fleet_page.watcher import Progress
    from components.settings import Settings
    from components.stores.fleet.reports import FleetReading
    from inspection.documents import DesiredState
    from reconciler.stages import Judgement

app = typer.Typer()


@app.command()
def fleet_page() -> None:
    """Serve the fleet page: what each device runs, how rollouts go, and metrics. `kizu up` starts it on one machine."""
    import logging

    import uvicorn

    config = settings_as("fleet-page", "mlflow", "signer")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    site = make_site(config)
    from components.fleet_page.app import make_app

    stop = threading.Event()
    thread = threading.Thread(target=site.watcher.run, args=(stop,), name="watcher", daemon=True)
    thread.start()
    proxies = config.fleet_page_proxies
    try:
        uvicorn.run(
            make_app(site),
            host=config.fleet_page_host,
            port=config.fleet_page_port,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            proxy_headers=bool(proxies),
            forwarded_allow_ips=proxies or None,
            limit_concurrency=200,
            timeout_graceful_shutdown=5,
        )
    finally:
        stop.set()
        site.watcher.look_now()
        thread.join(timeout=5)
        site.history.close()


def make_site(config: Settings) -> Any:
    """Everything that the page shows and changes, from its settings.

    Raises:
        CommandError: the folder of the history cannot be used.
        SettingsError: a setting is missing.
        SignerError: a certificate for the signer cannot be read.
    """
    from components.fleet_page.accounts import MlflowAccounts
    from components.fleet_page.acts import Acts
    from components.fleet_page.app import Site
    from components.fleet_page.audit import AuditLog
    from components.fleet_page.history import History
    from components.fleet_page.watcher import Watcher
    from components.stores.fleet.reports import FleetReports
    from components.stores.objects.s3 import S3ObjectStore
    from components.stores.releases.signer_client import SignerClient

    def now() -> datetime:
        return datetime.now(UTC)

    store, signer = S3ObjectStore.from_settings(config), SignerClient.from_settings(config)
    audit = AuditLog(store, config.bucket("state"), now)
    accounts = MlflowAccounts(config.required("mlflow_tracking_uri"))
    folder = Path(config.required("fleet_page_data"))
    try:
        history = History(folder / "history.db")
    except OSError as e:
        raise CommandError(f"cannot keep the history in {folder} (KIZU_FLEET_PAGE_DATA): {e.strerror}") from e
    reports = FleetReports(store.for_many_small(), config.bucket("fleet"))
    watcher = Watcher(signer, reports, judge, history, now, judge_software=judge_agents)
    hosts = frozenset(name.strip() for name in config.fleet_page_hosts.split(",") if name.strip())
    return Site(watcher, history, accounts, Acts(signer, audit), audit, now, hosts)


def judge(group: str, desired: DesiredState, reading: FleetReading, now: datetime) -> Progress:
    """How a rollout stands, by the reconciler's own rule."""
    from reconciler.rollout import judge_rollout

    return _progress(judge_rollout(group, desired, reading.reports, reading.unread, now))


def judge_agents(group: str, desired: DesiredState, reading: FleetReading, now: datetime) -> Progress:
    """How the rollout of the agent's software stands, by the reconciler's own rule."""
    from reconciler.software import judge_software

    return _progress(judge_software(group, desired, reading.reports, reading.unread, now))


def _progress(found: Judgement) -> Progress:
    from components.fleet_page.watcher import Progress
    from reconciler.stages import Outcome

    count = found.progress.count
    return Progress(
        act=str(found.act),
        why=found.why,
        succeeded=count(Outcome.SUCCEEDED),
        failed=count(Outcome.FAILED),
        on_the_way=count(Outcome.ON_THE_WAY),
        held=count(Outcome.HELD),
        late=count(Outcome.LATE),
        unread=count(Outcome.UNREAD),
        frames=found.progress.frames,
        comparisons=tuple(f"{item.respect}: {item.said} ({item.line})" for item in found.progress.comparisons),
    )
