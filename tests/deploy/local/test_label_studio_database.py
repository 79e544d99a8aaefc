"""A new home begins with the tables of Label Studio, which `tools/setup` made once."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.access.layout import REPOSITORY
from deploy.local.services import label_studio
from tests.deploy.stack_fixture import make_layout

MADE = REPOSITORY / ".venv-labelstudio" / "empty-database.sqlite3"


@pytest.fixture
def layout(tmp_path: Path):
    """A new home, and an environment of Label Studio with an empty database."""
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "empty-database.sqlite3").write_bytes(b"tables")
    return replace(make_layout(tmp_path / "home"), label_studio_venv=venv)


def database(layout) -> Path:
    return layout.home / "label-studio" / "label_studio.sqlite3"


def test_a_new_home_begins_with_the_tables(layout):
    """The empty database is copied, for its owner alone, before Label Studio starts."""
    label_studio(layout)
    assert database(layout).read_bytes() == b"tables"
    assert database(layout).stat().st_mode & 0o077 == 0


def test_a_database_with_labels_is_never_replaced(layout):
    """A home that has a database keeps it, also where a newer empty one was made."""
    database(layout).parent.mkdir(parents=True)
    database(layout).write_bytes(b"labels of people")
    label_studio(layout)
    assert database(layout).read_bytes() == b"labels of people"


def test_without_an_empty_database_label_studio_makes_its_own(layout):
    """An installation that lacks the file starts all the same."""
    (layout.label_studio_venv / "empty-database.sqlite3").unlink()
    label_studio(layout)
    assert not database(layout).exists()


@pytest.mark.skipif(not MADE.exists(), reason="needs the empty database: make setup")
def test_the_empty_database_has_tables_and_nobody_in_it():
    """It holds no account, token, organization, project or task, so that nothing is shared between homes."""
    with sqlite3.connect(f"file:{MADE}?mode=ro", uri=True) as known:
        tables = {name for (name,) in known.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        filled = {name for name in tables if known.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()}
    known.close()
    assert {"htx_user", "authtoken_token", "organization", "project", "task", "task_completion"} <= tables
    its_own = {"django_migrations", "django_content_type", "auth_permission", "core_asyncmigrationstatus"}
    assert filled - {"sqlite_sequence"} == its_own
