"""Makes or upgrades MLflow's tables in PostgreSQL, one process at a time.

`python -m components.approval_server.make_tables` runs before the server of a pod. Two servers that start on an empty
database at the same time would each make the tables, and one of them would end with an error in the middle of it. Here
the first holds an advisory lock of the database, and the others wait and find the tables. PostgreSQL releases the lock
when its holder ends, however it ends. The address comes from MLFLOW_BACKEND_STORE_URI, because it holds a password.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore as AccountsStore
from mlflow.store.db.utils import _upgrade_db
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from components.settings import SettingsError, settings

LOCK: Final = 5_207_310_941
"""The number of the lock, which nobody else takes by chance."""


def make_tables(uri: str) -> None:
    """Make the tables that are missing, and bring those of an earlier version up to date.

    Raises:
        SQLAlchemyError: the database cannot be reached, or refused. Its text may hold the password.
    """
    engine = sa.create_engine(uri, poolclass=sa.pool.NullPool)
    try:
        with _alone(engine):
            if sa.inspect(engine).has_table("alembic_version"):
                _upgrade_db(engine)
            tracking: Any = SqlAlchemyStore(uri, "mlflow-artifacts:/")
            tracking.engine.dispose()
            accounts: Any = AccountsStore()
            accounts.init_db(uri)
            accounts.engine.dispose()
    finally:
        engine.dispose()


@contextmanager
def _alone(engine: sa.Engine) -> Iterator[None]:
    if engine.dialect.name != "postgresql":
        yield
        return
    # Its own connection, outside of a transaction: a transaction that stays open would hold back a migration.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SELECT pg_advisory_lock(:number)"), {"number": LOCK})
        try:
            yield
        finally:
            connection.execute(sa.text("SELECT pg_advisory_unlock(:number)"), {"number": LOCK})


def main() -> int:
    """Make the tables of the database that the setting names. Returns the exit code."""
    try:
        make_tables(settings().required("mlflow_backend_store_uri"))
    except SettingsError as e:
        print(f"tables: {e}", file=sys.stderr)  # noqa: T201
        return 1
    except SQLAlchemyError as e:
        # Its text may hold the address with its password.
        print(f"tables: the database refused: {type(e).__name__}: {getattr(e, 'orig', '')}", file=sys.stderr)  # noqa: T201
        return 1
    print("MLflow's tables are there")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
