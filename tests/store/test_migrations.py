"""Migrations: from nothing to this schema and back, in any number of processes."""

import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from app.store import migrations
from app.store.database import Database
from app.store.schema import metadata
from tests.support import PATIENCE
from tests.support.gateway import clean_environment

_MIGRATE = """
import pathlib, sys, time
from app.store.database import Database
from app.store.migrations import migrate
pathlib.Path(sys.argv[2]).touch()
while not pathlib.Path(sys.argv[3]).exists():
    time.sleep(0.001)
print(migrate(Database(sys.argv[1])))
"""


@pytest.fixture
def empty_url(database_url: str, tmp_path: Path) -> str:
    """A database without anything in it."""
    if database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path}/empty.db"
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return database_url


@pytest.fixture
def empty(empty_url: str):
    """That database, opened."""
    opened = Database(empty_url)
    yield opened
    opened.dispose()


def differences(database: Database) -> list:
    with database.transaction() as connection:
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)


def tables(database: Database) -> set[str]:
    with database.transaction() as connection:
        return set(inspect(connection).get_table_names())


def revision(database: Database) -> str | None:
    with database.transaction() as connection:
        return migrations.current(connection)


def test_a_migrated_database_is_what_the_code_expects(empty: Database):
    assert revision(empty) is None
    assert migrations.migrate(empty) == migrations.newest() == revision(empty)
    assert differences(empty) == []
    assert tables(empty) == {*metadata.tables, "alembic_version"}


def test_migrating_again_changes_nothing(empty: Database):
    assert migrations.migrate(empty) == migrations.migrate(empty)
    assert differences(empty) == []


def test_down_to_nothing_and_up_again(empty: Database):
    migrations.migrate(empty)
    with empty.transaction() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert tables(empty) == {"alembic_version"}
    migrations.migrate(empty)
    assert differences(empty) == []


def test_a11_what_was_there_hangs_on_the_only_pepper_there_was(empty: Database):
    migrations.migrate(empty)
    config = migrations._config()
    with empty.transaction() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0006")
        key = "id, project_id, name, prefix, digest, created_at"
        token = "id, name, role, digest, created_at"
        for statement in (
            "INSERT INTO peppers (fingerprint) VALUES (%s)",
            "INSERT INTO projects (id, name, created_at) VALUES ('prj_a', 'a', 1), ('byok_b', 'byok_b', 1)",
            f"INSERT INTO api_keys ({key}) VALUES ('key_a', 'prj_a', 'k', 'igw_', %s, 1)",
            f"INSERT INTO admin_tokens ({token}) VALUES ('tok_a', 'ada', 'owner', %s, 1)",
        ):
            literal = "x'01'" if empty.is_sqlite else "'\\x01'::bytea"
            connection.exec_driver_sql(statement.replace("%s", literal))
    migrations.migrate(empty)
    with empty.transaction() as connection:
        for table, hanging in (
            ("projects", {"prj_a": None, "byok_b": b"\x01"}),
            ("api_keys", {"key_a": b"\x01"}),
            ("admin_tokens", {"tok_a": b"\x01"}),
        ):
            rows = connection.exec_driver_sql(f"SELECT id, pepper FROM {table}")
            assert {row.id: row.pepper for row in rows} == hanging
    assert differences(empty) == []


def test_a_migration_that_fails_leaves_nothing_behind(empty: Database):
    with empty.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE interactions (id TEXT)")
    with pytest.raises(Exception, match="interactions"):
        migrations.migrate(empty)
    assert tables(empty) == {"interactions"}


def test_processes_that_start_together_take_turns(empty_url: str, tmp_path: Path):
    gate = tmp_path / "gate"
    signs = [tmp_path / f"ready-{n}" for n in range(4)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MIGRATE, empty_url, str(sign), str(gate)],
            env=clean_environment(),
            cwd=Path(migrations.__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for sign in signs
    ]
    deadline = time.monotonic() + 2 * PATIENCE
    while not all(sign.exists() for sign in signs) and time.monotonic() < deadline:
        time.sleep(0.01)
    gate.touch()
    for process in processes:
        out, complaints = process.communicate(timeout=2 * PATIENCE)
        assert (process.returncode, complaints) == (0, "")
        assert out.strip() == migrations.newest()
    database = Database(empty_url)
    assert differences(database) == []
    database.dispose()
