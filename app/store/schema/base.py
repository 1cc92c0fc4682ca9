"""What all tables are made with."""

from typing import Any

from sqlalchemy import Column, ColumnElement, Index, MetaData

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def partial_index(name: str, *columns: Column[Any], rows: ColumnElement[bool], unique: bool = False) -> None:
    """An index of some rows only: as small as their number."""
    Index(name, *columns, unique=unique, sqlite_where=rows, postgresql_where=rows)
