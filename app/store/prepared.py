"""Statements of the hot path: worked out once, then handed to the driver with plain tuples.

SQLAlchemy's own way to execute many takes a mapping for each row and looks every parameter up in it,
which costs more than the database does (docs/decisions/0004-storage.md).
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Dialect, make_url
from sqlalchemy.sql.dml import UpdateBase

Row = tuple[Any, ...]


class _Text(NamedTuple):
    """A statement in one database's words, and how a row is put into the order that it wants."""

    sql: str
    arrange: Callable[[Row], Row]


class Prepared:
    """A statement that changes rows; `names` are its parameters, in the order of the tuples to come.

    A mapping has a statement for each kind of database, where they differ.
    """

    def __init__(self, statement: UpdateBase | Mapping[str, UpdateBase], names: Sequence[str]) -> None:
        self._texts = {
            dialect.name: _text(
                statement[dialect.name] if isinstance(statement, Mapping) else statement, dialect, names
            )
            for dialect in _DIALECTS
        }

    def many(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Execute it for each of these rows, of which there is one at least; how many it changed in all."""
        sql, arrange = self._texts[connection.dialect.name]
        return connection.exec_driver_sql(sql, [arrange(row) for row in rows]).rowcount


def _dialect(url: str, paramstyle: str) -> Dialect:
    kind: Any = make_url(url).get_dialect()
    made: Dialect = kind(paramstyle=paramstyle)
    return made


_DIALECTS = _dialect("postgresql+psycopg://", "format"), _dialect("sqlite://", "qmark")


def _text(statement: UpdateBase, dialect: Dialect, names: Sequence[str]) -> _Text:
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    constants = {name: value for name, value in compiled.params.items() if name not in names}
    wanted = compiled.positiontup or []
    if unknown := {name for name in wanted if compiled.binds[name].required} - {*names}:
        raise ValueError(f"nobody says what {sorted(unknown)} are")
    places = {name: place for place, name in enumerate([*names, *constants])}
    pick, fixed = itemgetter(*(places[name] for name in wanted)), tuple(constants.values())
    return _Text(compiled.string, (lambda row: pick(row + fixed)) if fixed else pick)
