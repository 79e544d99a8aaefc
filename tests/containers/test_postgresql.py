"""MLflow's tables in a real PostgreSQL, as the overlay `prod` keeps them."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.backup.databases import copy_of, put_back
from deploy.backup.documents import BackupError
from tests.containers.postgresql import binaries, running
from tests.manifests.rendered import REPOSITORY, render

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


@pytest.fixture
def database(uri: str) -> str:
    """An empty database of its own."""
    name = f"own_{uuid.uuid4().hex[:8]}"
    words = ["psql", "--no-psqlrc", "-d", uri, "-c", f"CREATE DATABASE {name}"]
    subprocess.run(words, capture_output=True, check=True, timeout=60)
    return uri.rpartition("/")[0] + f"/{name}"


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


def test_two_pods_that_start_at_once_on_an_empty_database_both_find_the_tables(database: str, tmp_path: Path) -> None:
    """Each has a /tmp of its own, so that MLflow's own lock between processes of one machine is none between them."""
    pods = []
    for number in range(2):
        own = tmp_path / str(number)
        own.mkdir()
        environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": database, "TMPDIR": str(own)}
        words = [sys.executable, "-m", "components.approval_server.make_tables"]
        pods.append(
            subprocess.Popen(
                words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    said = [pod.communicate(timeout=180) for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], said
    done = subprocess.run(
        [sys.executable, "-c", START, database],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.stdout.split() == ["psycopg", "0"], done.stderr[-2000:]


def test_each_server_has_a_database_of_its_own_and_sees_no_other(uri: str) -> None:
    """The script that PostgreSQL's image reads on an empty volume, with passwords that would break a careless one."""
    script = next(
        d for d in render("local+postgres+backup") if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "postgres"
    )
    where = urlsplit(uri)
    environment = {
        **os.environ, "PGHOST": where.hostname or "", "PGPORT": str(where.port), "PGPASSWORD": where.password or "",
        "POSTGRES_USER": "kizu", "POSTGRES_DB": "postgres",
        "MLFLOW_PASSWORD": "it's a \"password\" $HOME", "LABEL_STUDIO_PASSWORD": "another",
    }  # fmt: skip
    command = ["bash", "-Eeo", "pipefail", "-c", script["data"]["databases.sh"]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr

    def asks(user: str, password: str, name: str) -> subprocess.CompletedProcess[str]:
        words = ["psql", "--no-psqlrc", "-At", "-U", user, "-d", name, "-c", "CREATE TABLE t (x int); SELECT 'made'"]
        mine = {**environment, "PGPASSWORD": password}
        return subprocess.run(words, env=mine, capture_output=True, text=True, check=False, timeout=60)

    assert asks("mlflow", environment["MLFLOW_PASSWORD"], "mlflow").stdout.endswith("made\n")
    assert asks("labelstudio", "another", "labelstudio").stdout.endswith("made\n")
    assert "permission denied" in asks("mlflow", environment["MLFLOW_PASSWORD"], "labelstudio").stderr
    assert "permission denied" in asks("labelstudio", "another", "mlflow").stderr


def test_a_database_comes_back_from_its_dump_into_an_empty_one_only(database: str, tmp_path: Path) -> None:
    """Rows and sequences are those of before. Where something is, it is refused; with `over` the backup wins."""

    def psql(sql: str) -> str:
        done = subprocess.run(
            ["psql", "--no-psqlrc", "-At", "-d", database, "-c", sql],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    psql("CREATE TABLE versions (id serial PRIMARY KEY, name text)")
    psql("INSERT INTO versions (name) VALUES ('metal-tag'), ('metal-tag')")
    form, dump = copy_of(database, tmp_path)
    assert form == "postgresql"
    psql("INSERT INTO versions (name) VALUES ('after the backup')")
    with pytest.raises(BackupError, match="holds 1 tables already"):
        put_back(form, dump, database, over=False)
    put_back(form, dump, database, over=True)
    assert psql("SELECT count(*) FROM versions") == "2"
    psql("DROP TABLE versions")
    put_back(form, dump, database, over=False)
    assert psql("INSERT INTO versions (name) VALUES ('next') RETURNING id").splitlines()[0] == "3"
    (tmp_path / "copied").write_bytes(dump.read_bytes())
    assert copy_of(str(tmp_path / "copied"), tmp_path) == ("postgresql", tmp_path / "copied")
    with pytest.raises(BackupError) as caught:
        copy_of(database.replace(":5", ":1").replace("127.0.0.1", "127.0.0.2"), tmp_path)
    assert (urlsplit(database).password or "-") not in str(caught.value)
