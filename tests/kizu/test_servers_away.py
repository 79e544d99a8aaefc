"""Commands when servers are away: what is said, and what goes on."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from kizu.cli import app
from kizu.commands.fleet import repeat
from kizu.context import CommandError
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


class _Enough(BaseException):
    """The end of a loop that has none."""


def test_passes_go_on_after_one_that_failed(capsys):
    """A server that is away for one pass is said, and the next pass is made."""
    passes: list[str] = []

    def one_pass() -> None:
        passes.append("pass")
        if len(passes) == 1:
            raise ConnectionError("the store is away")
        if len(passes) == 3:
            raise _Enough

    with pytest.raises(_Enough):
        repeat(one_pass, 30, sleep=lambda _: None)
    assert len(passes) == 3
    assert "the store is away" in capsys.readouterr().out


def test_a_pass_that_cannot_ever_work_ends_the_command():
    """A missing setting or server configuration is an error at once, not a line every thirty seconds."""

    def one_pass() -> None:
        raise CommandError("no server is configured")

    with pytest.raises(CommandError):
        repeat(one_pass, 30, sleep=lambda _: None)
