"""What the servers of one machine are started with."""

from __future__ import annotations

from dataclasses import fields

from deploy.access.layout import Layout, Ports
from deploy.local import services


def test_what_the_reconciler_starts_reaches_the_servers_of_its_own_installation(tmp_path, monkeypatch):
    """An installation may have ports of its own; the reconciler's runs find them in its environment, and no others."""
    ports = Ports(**{field.name: 20_000 + number for number, field in enumerate(fields(Ports))})
    layout = Layout(tmp_path / "home", ports, tmp_path / "venv")
    for name, value in services.reconciler(layout).environment.items():
        monkeypatch.setenv(name, value)
    there = Layout.from_environment()
    assert (there.ports, there.home) == (ports, layout.home)
