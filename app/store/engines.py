"""The engines of a database: how connections are opened, and how long they wait."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from app.settings import SettingsError
from app.store import mounts

READERS = 4
_LOCK_SECONDS, _MIGRATION_SECONDS = 10, 600
_MOUNTS = Path("/proc/self/mountinfo")


def engines(url: str, synchronous: str) -> tuple[Engine, Engine]:
    """The writer's engine (one connection) and the readers'."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(["database_url: this is not a URL"]) from None
    if parsed.get_backend_name() == "sqlite":
        if parsed.database:
            _refuse_shared(Path(parsed.database))
            _create_private(Path(parsed.database))
        writer = create_engine(parsed, pool_size=1, max_overflow=1)
        reader = create_engine(parsed, pool_size=READERS, max_overflow=0)
        _prepare_sqlite(writer, "BEGIN IMMEDIATE", f"synchronous = {synchronous}")
        _prepare_sqlite(reader, "BEGIN", "query_only = ON")
        return writer, reader
    parsed = parsed.set(drivername="postgresql+psycopg")
    options = {
        "connect_timeout": 5,
        "options": f"-c statement_timeout=30s -c lock_timeout={_LOCK_SECONDS}s",
    }

    def engine(size: int, **more: Any) -> Engine:
        return create_engine(
            parsed,
            pool_size=size,
            max_overflow=1,
            pool_timeout=10,
            connect_args=options,
            **more,
        )

    # A read is one statement: autocommit spares it the round trips of BEGIN and ROLLBACK.
    return engine(1), engine(READERS, isolation_level="AUTOCOMMIT")


def _refuse_shared(path: Path) -> None:
    """Replicas on several machines would destroy the file: SQLite's locks do not reach that far."""
    with contextlib.suppress(OSError):  # there is no such list but on Linux
        if kind := mounts.shared(path.resolve(), _MOUNTS.read_text(encoding="utf-8", errors="replace")):
            text = f"{path} is on a file system that machines share ({kind}), where SQLite loses data"
            raise SettingsError(
                [f"database_url: {text}: use a local disk, or PostgreSQL for several replicas"]
            )


def _create_private(path: Path) -> None:
    """Make the file, if there is none yet, for nobody but its owner: it will hold conversations."""
    with contextlib.suppress(OSError):  # connecting will say what is wrong
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _prepare_sqlite(engine: Engine, begin: str, pragma: str) -> None:
    # Of each None and each bytes that it is given, sqlite3 asks how to adapt it, by an AttributeError
    # that costs more than to store it: as they are.
    sqlite3.register_adapter(type(None), dict[None, None]().get)
    sqlite3.register_adapter(bytes, bytes)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, below
        _wait_for_locks(connection, _LOCK_SECONDS)
        _switch_to_wal(connection)
        for setting in ("foreign_keys = ON", "secure_delete = ON", pragma):
            connection.execute(f"PRAGMA {setting}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


@contextlib.contextmanager
def patient(connection: Connection) -> Iterator[None]:
    """A transaction that waits its turn and takes its time: everyday limits are not for it."""
    on_sqlite = connection.dialect.name == "sqlite"
    if on_sqlite:
        _wait_for_locks(connection.connection, _MIGRATION_SECONDS)
    try:
        with connection.begin():
            if not on_sqlite:
                connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield
    finally:
        if on_sqlite:
            _wait_for_locks(connection.connection, _LOCK_SECONDS)


def _wait_for_locks(connection: Any, seconds: int) -> None:
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000}")


def _switch_to_wal(connection: Any) -> None:
    """Put the file into WAL mode, which it stays in.

    SQLite waits for locks, but not for the one that this switch needs: processes that open a new
    file together have to wait here.
    """
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
