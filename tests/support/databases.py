"""Fresh databases, migrated once and copied for every test that asks."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app.store.database import Database
from app.store.migrations import migrate
from tests.support import PATIENCE

KINDS = ("sqlite", "postgresql")
_SERVER = os.environ.get("GATEWAY_TEST_POSTGRES", "postgresql://127.0.0.1:5432")


class Templates:
    """One migrated database of each kind, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = f"gateway_test_{os.getpid()}_{secrets.token_hex(3)}"
        self._ready: set[str] = set()

    @contextmanager
    def fresh(self, kind: str) -> Iterator[str]:
        """The URL of a migrated, empty database that nobody else uses."""
        if kind == "sqlite":
            yield self._sqlite()
            return
        name = f"{self._name}_{secrets.token_hex(4)}"
        self._postgresql()
        _administer(f'CREATE DATABASE "{name}" TEMPLATE "{self._name}"')
        try:
            yield f"{_SERVER}/{name}"
        finally:
            _administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def close(self) -> None:
        """Drop the template."""
        if "postgresql" in self._ready:
            _administer(f'DROP DATABASE IF EXISTS "{self._name}" WITH (FORCE)')

    def _sqlite(self) -> str:
        template = self._folder / "template.db"
        if "sqlite" not in self._ready:
            _migrate(f"sqlite:///{template}")
            self._ready.add("sqlite")
        copy = self._folder / f"{secrets.token_hex(6)}.db"
        shutil.copyfile(template, copy)
        return f"sqlite:///{copy}"

    def _postgresql(self) -> None:
        if "postgresql" not in self._ready:
            require_postgresql()
            _administer(f'CREATE DATABASE "{self._name}"')
            _migrate(f"{_SERVER}/{self._name}")
            self._ready.add("postgresql")


def require_postgresql() -> None:
    """Skip, loudly, where no PostgreSQL answers; fail where one has to."""
    try:
        psycopg.connect(f"{_SERVER}/postgres", connect_timeout=PATIENCE).close()
    except psycopg.OperationalError as error:
        if os.environ.get("GATEWAY_TEST_POSTGRES_REQUIRED"):
            pytest.fail(f"PostgreSQL must answer on {_SERVER}: {error}")
        pytest.skip(f"NO POSTGRESQL ON {_SERVER}: half of this suite does not run")


def _administer(statement: str) -> None:
    with psycopg.connect(f"{_SERVER}/postgres", autocommit=True) as connection:
        connection.execute(statement)


def _migrate(url: str) -> None:
    database = Database(url)
    migrate(database)
    database.dispose()
