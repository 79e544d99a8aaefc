"""MLflow's tables in a real PostgreSQL, as the overlay `prod` keeps them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

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
