"""`kizu agent`: what is sent to the signer, and what a person reads, without a server."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from components.settings import Settings
from components.stores.releases.signer_client import SignerClient
from inspection.documents import DesiredState, Wave
from kizu.cli import app
from kizu.commands import agent
from tests.edge_agent.agent_wheels import RUNTIME, build_agent
from tools.agent_wheel import build

SETTINGS = Settings.from_environment({"KIZU_SIGNER_URL": "http://127.0.0.1:9", "KIZU_SIGNER_TOKEN": "x"})


class Signer:
    """A signer that keeps releases of the agent in memory."""

    def __init__(self) -> None:
        self.wheels, self.releases, self.orders = {}, [], []

    def missing_wheels(self, release):
        named = {wheel.sha256 for build in release.builds for wheel in build.wheels}
        return frozenset(named - set(self.wheels))

    def upload_wheel(self, wheel, data):
        self.wheels[wheel.sha256] = data

    def publish_agent(self, release):
        assert not self.missing_wheels(release)
        self.releases.append(release)
        return release.digest

    def agent_releases(self):
        return self.releases

    def order_agent(self, use_case, group, digest, **more):
        self.orders.append((use_case, group, digest, more))
        waves = (Wave(release_digest="ab" * 32, percent=100.0),)
        return DesiredState(sequence=9, use_case=use_case, waves=waves, probation_s=1.0)


@pytest.fixture
def signer(monkeypatch):
    made = Signer()
    monkeypatch.setattr(SignerClient, "from_settings", classmethod(lambda cls, settings: made))
    monkeypatch.setattr(agent, "settings_as_operator", lambda: SETTINGS)
    monkeypatch.setattr(agent, "settings_as", lambda identity: SETTINGS)
    return made


def run(*words):
    return CliRunner().invoke(app, ["agent", *map(str, words)])


def test_only_wheels_that_the_signer_does_not_have_are_sent(signer, tmp_path):
    """A second version with the same packages sends its own code alone, and says how much that is."""
    build(tmp_path / "one" / "3.11-x86_64", version="0.1.0")
    (tmp_path / "one" / "3.11-x86_64" / RUNTIME.file).write_bytes(RUNTIME.data)
    done = run("publish", tmp_path / "one")
    assert done.exit_code == 0, done.output
    assert "2 wheels, of which 2 are new" in done.output
    assert run("publish", tmp_path / "one").output.count("of which 0 are new (0 of ") == 1
    assert RUNTIME.sha256 in signer.wheels


def test_an_order_names_a_published_release_by_its_first_characters(signer):
    """The group is that of the use case; devices are separated by commas, or the option is repeated."""
    built = build_agent()
    signer.releases.append(built.release)
    done = run("order", built.digest[:12], "--devices", "press-1,press-2", "-d", "press-3", "--probation", "30")
    assert done.exit_code == 0, done.output
    (use_case, group, digest, more), *_ = signer.orders
    assert (use_case, digest) == ("metal-tag", built.digest)
    assert (more["devices"], more["percent"], more["probation_s"]) == (["press-1", "press-2", "press-3"], 100.0, 30.0)
    assert f"({built.digest[:12]}) is ordered for press-1, press-2, press-3, sequence 9" in done.output
    assert run("order", built.digest[:12], "-g", "second").exit_code == 0
    assert signer.orders[1][1] == "second"
    assert group != "second"


@pytest.mark.parametrize("digest", ["", "abc", "f" * 12])
def test_an_order_for_what_is_not_published_names_what_is(signer, digest):
    """Too few characters could mean several releases."""
    built = build_agent()
    signer.releases.append(built.release)
    done = run("order", digest)
    assert done.exit_code != 0
    assert f"{built.digest[:12]} (version 0.1.0)" in str(done.exception)
    assert signer.orders == []


def test_published_releases_are_listed_with_what_they_are_for(signer, monkeypatch):
    """Kinds of devices, the size of the wheels, and the image."""
    monkeypatch.setattr(agent.console, "_width", 160)
    built = build_agent(image_digest="sha256:" + "ab" * 32)
    signer.releases.append(built.release)
    shown = run("list").output
    size = sum(wheel.bytes for wheel in built.release.builds[0].wheels)
    assert built.digest[:12] in shown
    assert "3.11-x86_64" in shown
    assert f"{size:,} bytes" in shown
    assert "sha256:abababababab" in shown
    assert json.loads(built.release.to_json())["image_digest"][:19] in shown
