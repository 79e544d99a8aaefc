"""The move of MLflow's tables to another database: whole, once, and never over something else."""

import pytest
import sqlalchemy as sa

from components.approval_server.move_tables import MoveError, move


def database(path, *, version="v1", models=(), more=False):
    """A small database in the form of MLflow's: models with versions that refer to them."""
    tables = sa.MetaData()
    noted = sa.Table("alembic_version", tables, sa.Column("version_num", sa.String(32), primary_key=True))
    named = sa.Table("registered_models", tables, sa.Column("name", sa.String(256), primary_key=True))
    made = sa.Table(
        "model_versions", tables,
        sa.Column("name", sa.String(256), sa.ForeignKey("registered_models.name"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True), sa.Column("active", sa.Boolean),
    )  # fmt: skip
    experiments = sa.Table("experiments", tables, sa.Column("experiment_id", sa.Integer, primary_key=True))
    if more:
        sa.Table("of_a_later_version", tables, sa.Column("id", sa.Integer, primary_key=True))
    engine = sa.create_engine(f"sqlite:///{path}")
    tables.create_all(engine)
    with engine.begin() as connection:
        connection.execute(noted.insert(), {"version_num": version})
        connection.execute(experiments.insert(), {"experiment_id": 0})
        for name, count in models:
            connection.execute(named.insert(), {"name": name})
            connection.execute(
                made.insert(), [{"name": name, "version": n + 1, "active": n % 2 == 0} for n in range(count)]
            )
    return engine


@pytest.fixture
def engines(tmp_path):
    """Make databases, and close them at the end."""
    made = []

    def make(name, **more):
        made.append(database(tmp_path / name, **more))
        return made[-1]

    yield make
    for engine in made:
        engine.dispose()


def versions(engine):
    with engine.connect() as connection:
        return connection.execute(sa.text("select name, version, active from model_versions order by 1, 2")).all()


def test_every_version_keeps_its_number_and_a_second_move_changes_nothing(engines):
    """Version 3 of a model is version 3 afterwards: devices and releases name it so."""
    source, target = engines("old", models=[("metal-tag", 2500), ("plate", 3)]), engines("new")
    assert move(source, target)["model_versions"] == 2503
    assert versions(target) == versions(source)
    assert move(source, target)["model_versions"] == 2503
    assert versions(target) == versions(source)


def test_a_database_that_holds_something_else_is_left_alone(engines):
    """Two registries cannot become one: both have a version 1."""
    source, target = engines("old", models=[("metal-tag", 2)]), engines("new", models=[("plate", 1)])
    before = versions(target)
    with pytest.raises(MoveError, match="registered_models"):
        move(source, target)
    assert versions(target) == before


def test_tables_of_another_version_are_refused_before_anything_is_written(engines):
    """Columns would be lost in silence; the message says what to do."""
    with pytest.raises(MoveError, match="start this version of MLflow"):
        move(engines("old", version="v0", models=[("metal-tag", 2)]), engines("new"))
    target = engines("new2")
    with pytest.raises(MoveError, match="of_a_later_version"):
        move(engines("old2", more=True, models=[("metal-tag", 2)]), target)
    assert versions(target) == []


def test_a_move_that_fails_in_the_middle_leaves_the_target_as_it_was(engines, monkeypatch):
    """One transaction: the next move begins anew."""
    source, target = engines("old", models=[("metal-tag", 5)]), engines("new")

    @sa.event.listens_for(target, "before_cursor_execute")
    def fail(_connection, _cursor, statement, *_):
        if statement.startswith("INSERT INTO model_versions"):
            raise ConnectionError("the database went away")

    with pytest.raises(ConnectionError):
        move(source, target)
    sa.event.remove(target, "before_cursor_execute", fail)
    assert versions(target) == []
    assert move(source, target)["model_versions"] == 5
