"""Moves MLflow's tables to another database, versions and all: from SQLite on a volume to PostgreSQL.

`python -m components.approval_server.move_tables --from sqlite:////data/mlflow.db` in the image `mlflow`, while MLflow
is stopped. The address of the target comes from MLFLOW_BACKEND_STORE_URI, because it holds a password. Everything is
copied in one transaction: a move that is interrupted leaves an empty target, and is begun again. A second move changes
nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore as AccountsStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.exc import SQLAlchemyError

from components.settings import SettingsError, settings

VERSION_TABLES: Final = ("alembic_version", "alembic_version_auth")
"""Where MLflow notes the form of its tables, and basic-auth that of its accounts."""
_ROWS: Final = 1000
# What MLflow itself puts into a new database.
_OF_A_NEW_DATABASE: Final = {"experiments": 1, "workspaces": 1, "workspace": 1}


class MoveError(RuntimeError):
    """The tables cannot be moved. Nothing was changed."""


def move(source: sa.Engine, target: sa.Engine) -> dict[str, int]:
    """Copy every row of every table, and return table -> rows. The target has MLflow's tables already.

    Raises:
        MoveError: the source is of another version of MLflow, or the target holds something else.
    """
    tables = sa.MetaData()
    tables.reflect(target)
    with source.connect() as reading, target.begin() as writing:
        _same_form(reading, writing, tables)
        held = _counts(reading, tables)
        there = _counts(writing, tables)
        if there == held:
            return held
        if any(count > _OF_A_NEW_DATABASE.get(name, 0) for name, count in there.items()):
            filled = ", ".join(f"{name} ({count})" for name, count in there.items() if count)
            raise MoveError(f"expected a database that MLflow has not used yet, but it holds {filled}")
        ordered = [table for table in tables.sorted_tables if table.name not in VERSION_TABLES]
        for table in reversed(ordered):
            writing.execute(table.delete())
        for table in ordered:
            for rows in reading.execute(sa.select(table)).mappings().partitions(_ROWS):
                writing.execute(table.insert(), [dict(row) for row in rows])
            _count_on(writing, table)
        copied = _counts(writing, tables)
        if copied != held:
            raise MoveError(f"expected {_shown(held)}, but {_shown(copied)} arrived")
    return held


def _same_form(reading: sa.Connection, writing: sa.Connection, tables: sa.MetaData) -> None:
    names = set(sa.inspect(reading).get_table_names())
    if VERSION_TABLES[0] not in names:
        raise MoveError("expected MLflow's tables in the source, but it has none")
    for name in VERSION_TABLES:
        if name not in names or name not in tables.tables:
            continue
        query = sa.select(tables.tables[name])
        found, wanted = reading.execute(query).scalar(), writing.execute(query).scalar()
        if found != wanted:
            raise MoveError(
                f"expected tables of this MLflow ({wanted}), but the source has {found}; start this version of MLflow "
                "on the source once"
            )
    if names != set(tables.tables):
        raise MoveError(f"one side only has the tables {', '.join(sorted(names ^ set(tables.tables)))}")


def _counts(connection: sa.Connection, tables: sa.MetaData) -> dict[str, int]:
    return {
        table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
        for table in tables.sorted_tables
        if table.name not in VERSION_TABLES
    }


def _count_on(writing: sa.Connection, table: sa.Table) -> None:
    """Let PostgreSQL number the next row above those that were copied with their numbers."""
    if writing.dialect.name != "postgresql":
        return
    for column in table.primary_key.columns:
        if isinstance(column.type, sa.Integer):
            sequence = writing.execute(
                sa.select(sa.func.pg_get_serial_sequence(f'"{table.name}"', column.name))
            ).scalar()
            highest = writing.execute(sa.select(sa.func.max(column))).scalar()
            if sequence is not None and highest is not None:
                writing.execute(sa.select(sa.func.setval(sequence, highest)))


def _shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} of {name}" for name, count in sorted(counts.items()) if count) or "nothing"


def main(argv: Sequence[str] | None = None) -> int:
    """Move the tables. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Move MLflow's tables to the database of MLFLOW_BACKEND_STORE_URI.")
    parser.add_argument("--from", dest="source", required=True, metavar="URI", help="such as sqlite:////data/mlflow.db")
    options = parser.parse_args(argv)
    try:
        uri = settings().required("mlflow_backend_store_uri")
        # It makes the tables of this version, as the server does at its first start.
        made: Any = SqlAlchemyStore(uri, "mlflow-artifacts:/")
        accounts: Any = AccountsStore()
        accounts.init_db(uri)
        source = sa.create_engine(options.source)
        try:
            moved = move(source, made.engine)
        finally:
            source.dispose()
            made.engine.dispose()
            accounts.engine.dispose()
    except (MoveError, SettingsError) as e:
        print(f"move: {e}", file=sys.stderr)  # noqa: T201
        return 1
    except SQLAlchemyError as e:
        # Its text may hold the address with its password.
        print(f"move: a database refused: {type(e).__name__}: {getattr(e, 'orig', '')}", file=sys.stderr)  # noqa: T201
        return 1
    print(f"moved {_shown(moved)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
