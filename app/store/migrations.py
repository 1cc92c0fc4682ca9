"""Migrations: brings a database to this version's schema. Safe to run from every replica at once."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from app.store.database import Database

_LOCK = 4_216_053_771
"""Any number, the same in every replica: the advisory lock that one migrator holds."""


class UnknownRevision(Exception):
    """The database was migrated by a version of the gateway that is newer than this one."""

    def __init__(self, revision: str) -> None:
        text = f"The database is at revision {revision}, which this version of the gateway does not know."
        super().__init__(text)


def migrate(database: Database) -> str:
    """Upgrade to the newest revision, in one transaction, and return its name.

    Replicas that start together take turns: SQLite's write lock, PostgreSQL's advisory lock. Raises
    UnknownRevision.
    """
    with database.transaction() as connection:
        if not database.is_sqlite:
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        config, found = _config(), current(connection)
        if found is not None and not _is_known(config, found):
            raise UnknownRevision(found)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return newest()


def newest() -> str:
    """The revision that this version of the gateway needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def current(connection: Connection) -> str | None:
    """The revision that this database has; None when it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def _is_known(config: Config, revision: str) -> bool:
    return any(each.revision == revision for each in ScriptDirectory.from_config(config).walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_scripts()))
    return config


def _scripts() -> Path:
    """The folder of the migrations: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parents[1]
    return next(path for path in (package.parent / "migrations", package / "migrations") if path.is_dir())
