"""SQLite's write-ahead log: a file that only grows, until a checkpoint finds nobody reading."""

from pathlib import Path

from sqlalchemy import Connection

_PATIENCE_MS = 200


def size(connection: Connection) -> int | None:
    """The length of the log in bytes; None on a database that has no such file."""
    if connection.dialect.name != "sqlite":
        return None
    log = Path(f"{connection.engine.url.database}-wal")
    return log.stat().st_size if log.exists() else 0


def truncate(connection: Connection, above: int) -> None:
    """Empty a log that has grown past `above` bytes into the database, as far as readers allow.

    Most of it is copied beside writers and readers; only for the rest do they wait, and briefly.
    """
    if (size(connection) or 0) <= above:
        return
    sqlite = connection.connection.cursor()  # outside of any transaction
    [before] = sqlite.execute("PRAGMA busy_timeout").fetchone()
    sqlite.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS}")
    try:
        sqlite.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        sqlite.execute(f"PRAGMA busy_timeout = {before}")
        sqlite.close()
