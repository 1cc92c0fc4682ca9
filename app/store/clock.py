"""The database's own clock, in epoch milliseconds: replicas may disagree about the time."""

from typing import Any

from sqlalchemy import BigInteger, ScalarSelect, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class now(FunctionElement[int]):  # noqa: N801 - reads as SQL: now()
    """The current time of the database, not of the transaction."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite(*_: Any, **__: Any) -> str:
    # Not unixepoch('subsec'): it is NULL on SQLite before 3.42.
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


@compiles(now, "postgresql")
def _postgresql(*_: Any, **__: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)"


def moment() -> ScalarSelect[int]:
    """The current time, read once in a statement: a bound up to which PostgreSQL reads an index.

    With `now()`, which is volatile, it would read on to the index's end and ask again at every row.
    """
    return select(now()).scalar_subquery()
