"""Fingerprints of upstream keys in what is kept of upstreams: made with the pepper, and changed with it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Table, and_, delete, func, select, true, update

from app.core.versions import Versions
from app.store.database import Database
from app.store.schema import interactions, upload_sessions, upstream_leftovers, upstream_resources

_AT_ONCE = 200


class Fingerprints:
    """Changes fingerprints to their current versions. The ledger keeps those of its day."""

    def __init__(self, database: Database, versions: Sequence[Versions[str]]) -> None:
        self._database = database
        self._renamed = {each.previous: each.current for each in versions if each.previous is not None}
        self._done = not self._renamed

    async def some(self) -> bool:
        """Change some; whether there may be more. What has been found to be done is not looked for again."""
        if self._done:
            return False
        changed = await self._database.write(_change, self._renamed)
        self._done = not changed
        return changed

    async def hanging(self) -> int:
        """How many there still are of the versions before."""
        counts = [
            select(func.count()).select_from(table).where(_of(table, list(self._renamed))).scalar_subquery()
            for table in _KEYS
        ]
        return await self._database.read(lambda connection: sum(connection.execute(select(*counts)).one()))


_KEYS: Mapping[Table, Column[Any]] = MappingProxyType(
    {
        upstream_resources: upstream_resources.c.name,
        upstream_leftovers: upstream_leftovers.c.id,
        upload_sessions: upload_sessions.c.digest,
        interactions: interactions.c.id,
    }
)


def _of(table: Table, fingerprints: Sequence[str]) -> ColumnElement[bool]:
    # Of an interaction it matters only where the upstream keeps it; there is an index of these.
    kept = interactions.c.upstream_id.is_not(None) if table is interactions else true()
    return and_(table.c.credential.in_(fingerprints), kept)


def _change(connection: Connection, batch: Sequence[Mapping[str, str]]) -> Sequence[bool]:
    return [_all_changed(connection, renamed) for renamed in batch]


def _all_changed(connection: Connection, renamed: Mapping[str, str]) -> bool:
    changes = [_some_changed(connection, table, *names) for table in _KEYS for names in renamed.items()]
    return any(changes)


def _some_changed(connection: Connection, table: Table, before: str, after: str) -> bool:
    key, old = _KEYS[table], _of(table, [before])
    found = list(connection.execute(select(key).where(old).limit(_AT_ONCE)).scalars())
    if not found:
        return False
    if table is upstream_resources:  # what has been noted anew in the meantime needs no second row
        noted = select(key).where(table.c.credential == after, key.in_(found))
        connection.execute(delete(table).where(old, key.in_(noted)))
    connection.execute(update(table).where(old, key.in_(found)).values(credential=after))
    return True
