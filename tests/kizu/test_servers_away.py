"""Commands when servers are away: what is said, and what goes on."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from components.settings import Settings, SettingsError
from components.stores.objects.s3 import ObjectStoreError
from components.stores.releases.signer_client import SignerClient
from deploy.access import identities
from deploy.access.layout import Layout
from deploy.local import stack
from kizu.cli import app
from kizu.context import CommandError, require_servers_here, run_here, settings_as
from kizu.reconciler_service import ReconcilerService, pause_until
from kizu.reconciling import PassResult
from reconciler.one_pass import ProductReport
from tests.components.servers import free_port


@pytest.mark.parametrize("command", ["label", "train", "deploy"])
def test_a_pipeline_with_nothing_running_names_what_to_run(command, tmp_path, monkeypatch):
    """The command ends at once, before a run that could only fail, and names the command that starts the servers."""
    monkeypatch.setenv("KIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KIZU_PORT_S3", str(free_port()))
    done = CliRunner().invoke(app, [command])
    assert isinstance(done.exception, CommandError)
    assert "kizu up" in str(done.exception)
    assert not (tmp_path / "home").exists()


class _Reconciling:
    """Passes, of which the first fails, and the service that makes them."""

    def __init__(self, *, missing: bool = False) -> None:
        self.passes = 0
        self.missing = missing
        self.service: ReconcilerService | None = None

    def run(self):
        self.passes += 1
        if self.missing:
            raise SettingsError("expected the environment variable KIZU_SIGNER_URL to be set")
        if self.passes == 1:
            raise ConnectionError("the store is away")
        if self.passes == 3:
            self.service.stop()
        return PassResult([], [], [], [])

    def took_over(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A service over passes of the test, which always holds the lease."""
    monkeypatch.setattr(ReconcilerService, "_acts", lambda self: True)

    def make(reconciling):
        config = Settings(use_cases=str(tmp_path), s3_endpoint="http://127.0.0.1:9")
        reconciling.service = ReconcilerService(config, 0.01, None, composed=lambda *_: reconciling)
        return reconciling.service

    return make


def test_passes_go_on_after_one_that_failed(service, caplog):
    """A server that is away for one pass is said, and the next pass is made."""
    reconciling = _Reconciling()
    service(reconciling).run()
    assert reconciling.passes == 3
    assert "the store is away" in caplog.text


def test_a_store_that_is_away_for_long_is_one_line_in_the_log_and_no_trace(service, caplog):
    """On a cluster the reconciler starts before the store: it waits, and nobody reads the same trace each time."""

    class Away(_Reconciling):
        def run(self):
            self.passes += 1
            if self.passes <= 5:
                raise ObjectStoreError("the store does not answer")
            self.service.stop()
            return PassResult([], [], [], [])

    reconciling = Away()
    service(reconciling).run()
    said = [record for record in caplog.records if "the store does not answer" in record.getMessage()]
    assert len(said) == 1
    assert not said[0].exc_info


def test_a_pass_that_cannot_ever_work_ends_the_command(service):
    """A missing setting or server configuration is an error at once, not a line every thirty seconds."""
    reconciling = _Reconciling(missing=True)
    with pytest.raises(SettingsError):
        service(reconciling).run()
    assert reconciling.passes == 1


def test_the_next_pass_comes_when_the_first_wait_ends():
    """A wait whose end is known shortens the pause between two passes, though never below a second."""
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    assert pause_until(None, now, 20.0) == 20.0
    assert pause_until(now + timedelta(seconds=7), now, 20.0) == 7.0
    assert pause_until(now + timedelta(seconds=40), now, 20.0) == 20.0
    assert pause_until(now - timedelta(seconds=3), now, 20.0) == 1.0
    reports = [ProductReport("p", (), (), (), (), at) for at in (None, now + timedelta(seconds=9), now)]
    assert PassResult([], [], reports, []).again_at == now


@pytest.mark.parametrize("released", [False, True])
def test_a_service_without_products_makes_passes_once_something_is_released(tmp_path, monkeypatch, released):
    """A rollout needs passes though nobody automated the product; before the first release there is nothing to do."""
    reconciling = _Reconciling()
    reconciling.passes = 1
    monkeypatch.setattr(ReconcilerService, "_acts", lambda self: True)
    names = [("metal-tag", "line")] if released else []
    monkeypatch.setattr(SignerClient, "desired_names", lambda self: names)
    config = Settings(
        use_cases=str(tmp_path), s3_endpoint="http://127.0.0.1:9", signer_url="http://127.0.0.1:9", signer_token="t"
    )
    service = ReconcilerService(config, 0.01, None, idle=True, composed=lambda *_: reconciling)
    service._turn()
    assert reconciling.passes == (2 if released else 1)


@pytest.fixture
def store_here(tmp_path, monkeypatch):
    """A store that answers on this machine, and that no supervisor has started."""
    before = dict(os.environ)  # settings of this machine go into the environment of their process
    with socket.create_server(("127.0.0.1", 0)) as listening:
        monkeypatch.setenv("KIZU_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("KIZU_PORT_S3", str(listening.getsockname()[1]))
        for name in ("KIZU_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        identities.load(Layout.from_environment())
        yield
    os.environ.clear()
    os.environ.update(before)


def test_every_command_takes_servers_that_somebody_else_started(store_here, monkeypatch):
    """One rule for commands and for pipelines: with no supervisor, the store answers.

    A session token of the environment is that of another store's key, and does not go to this one.
    """
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another-store")
    monkeypatch.setenv("NO_PROXY", "")
    require_servers_here("s3")
    found = settings_as("labeling")
    assert found.s3_endpoint.endswith(f":{Layout.from_environment().ports.s3}")
    assert found.session_token is None


def up(monkeypatch, **states: str) -> None:
    """A supervisor whose servers are healthy but for those that are given."""
    names = ("s3", "mlflow", "label-studio", "signer", "mqtt", "reconciler", "fleet-page")
    services = tuple(
        stack.ServiceStatus(name, states.get(name.replace("-", "_"), "healthy"), "", "", None) for name in names
    )
    monkeypatch.setattr(stack, "status", lambda layout: stack.StackStatus(services))


def test_a_server_that_a_command_does_not_need_holds_up_no_command(monkeypatch):
    """The reconciler, the broker or the fleet page may have ended: training, labeling and deploying go on."""
    up(monkeypatch, reconciler="exited", mqtt="exited", fleet_page="starting")
    for pipeline in ("labeling", "training", "evaluation", "deployment"):
        ran = []
        monkeypatch.setattr("deploy.local.runs.run_pipeline", lambda *_, ran=ran: ran.append(True) or {})
        monkeypatch.setattr("kizu.context.note_product", lambda name: None)
        run_here(pipeline, {}, "metal-tag")
        assert ran, pipeline


@pytest.mark.parametrize(
    ("pipeline", "server"), [("labeling", "label_studio"), ("training", "mlflow"), ("deployment", "signer")]
)
def test_a_server_that_a_command_needs_is_named_with_its_state(monkeypatch, pipeline, server):
    """The command ends before it begins, and says which server has ended and what to run."""
    up(monkeypatch, **{server: "exited"})
    with pytest.raises(CommandError, match=rf"^{server.replace('_', '-')} is exited; run: kizu up"):
        run_here(pipeline, {}, "metal-tag")


@pytest.mark.parametrize(
    ("command", "server"),
    [(["devices"], "signer"), (["trace", "line1"], "mlflow"), (["deploy", "status"], "signer")],
)
def test_a_command_that_only_reads_asks_for_what_it_reads(monkeypatch, command, server):
    """Each of these reads one server besides the store, and names that one where it is away."""
    for name in ("KIZU_S3_ENDPOINT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    others = {name: "exited" for name in ("label_studio", "reconciler", "mlflow", "signer") if name != server}
    up(monkeypatch, **others, **{server: "starting"})
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, CommandError), done.output
    assert str(done.exception).startswith(f"{server} is starting; run: kizu up")
