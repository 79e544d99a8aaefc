"""`kizu deploy` and its commands: which one is meant, without a server."""

import pytest
from typer.testing import CliRunner

from kizu.cli import app
from kizu.commands import runs


@pytest.fixture
def ordered(monkeypatch):
    """The arguments of each deployment that would run."""
    seen = []

    def run_here(pipeline, arguments, product):
        seen.append((pipeline, arguments["version"], arguments["again"], product))
        return {}

    monkeypatch.setattr(runs, "run_here", run_here)
    return seen


@pytest.mark.parametrize(
    ("words", "version", "again"),
    [([], 0, False), (["7"], 7, False), (["--again"], 0, True), (["order", "7", "--again"], 7, True)],
)
def test_deploy_without_a_command_orders(ordered, words, version, again):
    """`kizu deploy 7` is what it was before the group had other commands."""
    assert CliRunner().invoke(app, ["deploy", *words]).exit_code == 0
    assert ordered == [("deployment", version, again, "metal-tag")]


def test_a_command_of_the_group_orders_nothing(ordered):
    """A word that is no number and no command is an error."""
    assert CliRunner().invoke(app, ["deploy", "status", "--help"]).exit_code == 0
    assert CliRunner().invoke(app, ["deploy", "statsu"]).exit_code != 0
    assert ordered == []
