"""What is in a gateway's database, seen from beside it."""

import sqlite3
from typing import Any, Self

import psycopg

from app.store.schema import metadata
from tests.support import PATIENCE


class Records:
    """Reads the database of a gateway, on either kind."""

    def __init__(self, url: str) -> None:
        self._connection: Any
        if url.startswith("sqlite:///"):
            self._connection = sqlite3.connect(
                url.removeprefix("sqlite:///"), isolation_level=None, timeout=PATIENCE
            )
        else:
            self._connection = psycopg.connect(url, autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def count(self, table: str, condition: str = "1 = 1") -> int:
        """How many rows there are."""
        return int(self.rows(f"SELECT count(*) FROM {table} WHERE {condition}")[0][0])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a query finds."""
        return [*map(tuple, self._connection.execute(query).fetchall())]

    def change(self, statement: str) -> None:
        """What only time, or another version, could have done."""
        self._connection.execute(statement)

    def text(self) -> bytes:
        """Everything in every column of every table, as one text to search in."""
        tables = metadata.tables
        values = (value for name in tables for row in self.rows(f"SELECT * FROM {name}") for value in row)
        return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
