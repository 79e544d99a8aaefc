"""Commands when servers are away: what is said, and what goes on."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from components.settings import Settings, SettingsError
from kizu.cli import app
from kizu.context import CommandError
from kizu.reconciler_service import ReconcilerService
from kizu.reconciling import PassResult
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
        return PassResult([], [], [])

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


def test_a_pass_that_cannot_ever_work_ends_the_command(service):
    """A missing setting or server configuration is an error at once, not a line every thirty seconds."""
    reconciling = _Reconciling(missing=True)
    with pytest.raises(SettingsError):
        service(reconciling).run()
    assert reconciling.passes == 1
