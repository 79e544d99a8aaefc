"""What keeps the rules from being passed by inside the server: unknown methods, sessions, servers."""

from __future__ import annotations

import pytest
from mlflow.entities.model_registry import ModelVersionTag
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.dbmodels.models import SqlModelVersionTag
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import event
from sqlalchemy.orm import Session

from components.approval_server import registry_store
from components.approval_server.accounts import AccountFiles
from components.approval_server.registry_store import GuardedStore, UnknownMlflow, check_methods, guard_sessions
from tests.components.guarded_mlflow import write


@pytest.fixture
def guarded():
    """Sessions of this process are guarded during a test."""
    guard_sessions()
    yield
    event.remove(Session, "before_flush", registry_store._before_flush)
    event.remove(Session, "do_orm_execute", registry_store._before_execute)


@pytest.fixture
def database(tmp_path):
    """A version with a tag, made without any guard."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    store = SqlAlchemyStore(uri)
    store.create_registered_model("tag")
    store.create_model_version("tag", "runs:/x/model", tags=[ModelVersionTag("note", "first")])
    return uri


def test_the_installed_mlflow_is_known():
    """Each public method of its registry is a read, guarded, or was looked at."""
    check_methods()


def test_an_mlflow_with_a_method_that_nobody_looked_at_does_not_start():
    """A store with an unreviewed method is refused at the start, and the message names the method."""

    class Newer(SqlAlchemyStore):
        def set_model_version_tags(self, name, version, tags):
            """A method that a later MLflow version may have."""

    with pytest.raises(UnknownMlflow, match="set_model_version_tags"):
        check_methods(Newer)


@pytest.mark.parametrize(
    "write_tags",
    [
        lambda store: store.set_model_version_tag("tag", "1", ModelVersionTag("approval_by", "mallory")),
        lambda store: store.set_model_version_tag("tag", "1", ModelVersionTag("note", "second")),
        lambda store: store.delete_model_version_tag("tag", "1", "note"),
        lambda store: store.create_model_version("tag", "runs:/y/model", tags=[ModelVersionTag("approval_by", "m")]),
        lambda store: store.delete_registered_model("tag"),
    ],
)
def test_a_store_beside_the_guarded_one_writes_no_tag_of_a_version(database, guarded, write_tags):
    """MLflow's own store in the same process: its session is refused, and nothing is changed."""
    other = SqlAlchemyStore(database)
    with pytest.raises(MlflowException, match="through the approval's rules only"):
        write_tags(other)
    assert other.get_model_version("tag", "1").tags == {"note": "first"}
    assert len(other.search_model_versions("name = 'tag'")) == 1


def test_nor_does_a_statement_over_many_rows(database, guarded):
    """A statement that updates or deletes many tag rows without loading them is refused and changes nothing."""
    store = SqlAlchemyStore(database)
    for act in (lambda q: q.delete(), lambda q: q.update({"value": "mallory"})):
        with (
            pytest.raises(MlflowException, match="through the approval's rules only"),
            store.ManagedSessionMaker(read_only=False) as session,
        ):
            act(session.query(SqlModelVersionTag))
    assert store.get_model_version("tag", "1").tags == {"note": "first"}


def test_a_caller_without_an_account_changes_nothing_in_the_guarded_store(database, guarded, tmp_path):
    """A route that basic-auth does not see has no name here."""
    files = AccountFiles(tmp_path / "accounts.json", tmp_path / "approvers.json")
    write(files.accounts, {"schema_version": 1, "accounts": {"a": {"role": "admin", "password": "0123456789ab"}}})
    write(files.approvers, {"schema_version": 1, "approvers": {}})
    store = GuardedStore(database)
    store.configure(files, lambda name: True)
    for act in (
        lambda: store.set_model_version_tag("tag", "1", ModelVersionTag("note", "x")),
        lambda: store.delete_model_version_tag("tag", "1", "note"),
        lambda: store.create_model_version("tag", "runs:/y/model"),
        lambda: store.update_model_version("tag", "1", "x"),
        lambda: store.set_registered_model_alias("tag", "champion", "1"),
        lambda: store.delete_model_version("tag", "1"),
        lambda: store.delete_registered_model("tag"),
    ):
        with pytest.raises(MlflowException, match="requests with an account only"):
            act()
    assert store.get_model_version("tag", "1").tags == {"note": "first"}


def test_tags_that_changed_since_they_were_judged_are_not_written_over(database, guarded):
    """If the tags of a version changed after a decision was judged, the decision is refused and nothing is written."""
    from components.approval_server.rules import Version

    store = GuardedStore(database)
    seen = Version("tag", "1", {"note": "before"}, ())
    with pytest.raises(MlflowException, match="changed meanwhile"):
        store._apply(seen, {"approval": "approved"}, ())
    assert store.get_model_version("tag", "1").tags == {"note": "first"}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("_MLFLOW_SGI_NAME", "gunicorn", "with uvicorn"), ("MLFLOW_ENABLE_WORKSPACES", "true", "without workspaces")],
)
def test_a_server_that_would_pass_by_a_wall_does_not_start(monkeypatch, name, value, said):
    """Others than uvicorn have no door in front; workspaces give two models one name."""
    from components.approval_server import app

    monkeypatch.setenv("_MLFLOW_SGI_NAME", "uvicorn")
    monkeypatch.setenv(name, value)
    with pytest.raises(UnknownMlflow, match=said):
        app._check_server()
