"""MLflow's tables in a real PostgreSQL, as the overlay `prod` keeps them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.postgresql import binaries, running
from tests.manifests.rendered import REPOSITORY

pytestmark = pytest.mark.containers

# What `mlflow server` does with its URI before it serves.
START = """
import sys
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking
tracking, registry = Tracking(sys.argv[1], 'mlflow-artifacts:/'), Registry(sys.argv[1])
print(tracking.engine.dialect.driver, len(registry.search_registered_models()))
"""


@pytest.fixture(scope="module")
def uri() -> Iterator[str]:
    """A database as the documents name it: postgresql://<user>:<password>@<host>:<port>/<database>."""
    programs = binaries()
    if programs is None:
        pytest.skip("no PostgreSQL on this machine; on Debian: postgresql")
    with running(programs) as address:
        yield address


def test_mlflow_makes_its_tables_with_the_uri_of_the_documents_and_finds_them_again(uri: str) -> None:
    """The driver that SQLAlchemy takes for `postgresql://` is the one in the lock file; a restart changes nothing."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", START, uri], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=180
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.split() == ["psycopg", "0"]


FILLED = """
import sys
from mlflow.entities import Metric
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore as Accounts
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking
tracking, registry, accounts = Tracking(sys.argv[1], 'mlflow-artifacts:/'), Registry(sys.argv[1]), Accounts()
accounts.init_db(sys.argv[1])
accounts.create_user('approver', 'a long password of a person')
experiment = tracking.create_experiment('metal-tag')
run = tracking.create_run(experiment, 'trainer', 0, [], 'first')
tracking.log_metric(run.info.run_id, Metric('map50', 0.5, 0, 0))
registry.create_registered_model('metal-tag')
for _ in range(3):
    registry.create_model_version('metal-tag', 'mlflow-artifacts:/x', run.info.run_id)
registry.set_registered_model_alias('metal-tag', 'champion', 2)
"""
MOVED = """
import sys
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore as Accounts
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking
tracking, registry, accounts = Tracking(sys.argv[1], 'mlflow-artifacts:/'), Registry(sys.argv[1]), Accounts()
accounts.init_db(sys.argv[1])
run = tracking.search_runs([tracking.get_experiment_by_name('metal-tag').experiment_id], '', 1)[0]
print(run.data.metrics['map50'], accounts.authenticate_user('approver', 'a long password of a person'),
      registry.get_model_version_by_alias('metal-tag', 'champion').version,
      registry.create_model_version('metal-tag', 'mlflow-artifacts:/y', run.info.run_id).version,
      tracking.create_experiment('another') not in ('0', run.info.experiment_id))
"""


def test_versions_moved_from_sqlite_keep_their_numbers_and_the_next_one_follows(uri: str, tmp_path: Path) -> None:
    """From `local` to `prod`: runs, accounts, aliases and versions are all there, and MLflow goes on counting."""
    old = f"sqlite:///{tmp_path / 'mlflow.db'}"
    move = ["-m", "components.approval_server.move_tables", "--from", old]
    for words in (["-c", FILLED, old], move, move, ["-c", MOVED, uri]):
        done = subprocess.run(
            [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=180,
            env={**os.environ, "MLFLOW_BACKEND_STORE_URI": uri},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["0.5", "True", "2", "4", "True"]
