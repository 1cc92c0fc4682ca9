"""Peppers, by their fingerprints: which ones were ever used here, and what hangs on which."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, func, insert, or_, select
from sqlalchemy.exc import IntegrityError

from app.core.audit import Entry
from app.store import audit
from app.store.clock import now
from app.store.database import Database
from app.store.holders import OWN_KEY
from app.store.schema import admin_tokens, api_keys, peppers, projects


class Hanging(NamedTuple):
    """How many valid keys, tokens and callers with a key of their own hang on a pepper."""

    keys: int
    tokens: int
    callers: int


class Peppers:
    """Reads and writes fingerprints."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self) -> list[bytes]:
        """Those that were ever used, the first one first."""
        query = select(peppers.c.fingerprint).order_by(peppers.c.id)
        return await self._database.read(lambda connection: list(connection.execute(query).scalars()))

    async def add(self, fingerprint: bytes, entry: Entry | None = None) -> bool:
        """Remember, once, that this one is used, with an entry in the audit log; False if it was known."""
        try:
            await self._database.write(_add, (fingerprint, entry))
        except IntegrityError:
            return False
        return True

    async def hanging(self, fingerprints: Collection[bytes]) -> Hanging:
        """What hangs on any other pepper than these."""
        own_key = projects.c.id.startswith(OWN_KEY, autoescape=True)
        counts = [
            _count(table, fingerprints, *valid).scalar_subquery()
            for table, valid in (
                (api_keys, _valid(api_keys)),
                (admin_tokens, _valid(admin_tokens)),
                (projects, (projects.c.deleted_at.is_(None), own_key)),
            )
        ]
        row = await self._database.read(lambda connection: connection.execute(select(*counts)).one())
        return Hanging(*row)


def _valid(table: Table) -> tuple[ColumnElement[bool], ...]:
    expires_at = table.c.expires_at
    return table.c.revoked_at.is_(None), or_(expires_at.is_(None), expires_at > now())


def _count(table: Table, fingerprints: Collection[bytes], *conditions: ColumnElement[bool]) -> Select[int]:
    other = or_(table.c.pepper.is_(None), table.c.pepper.not_in(fingerprints))
    return select(func.count()).select_from(table).where(other, *conditions)


def _add(connection: Connection, batch: Sequence[tuple[bytes, Entry | None]]) -> Sequence[None]:
    connection.execute(insert(peppers), [{"fingerprint": fingerprint} for fingerprint, _ in batch])
    audit.append(connection, [entry for _, entry in batch if entry is not None])
    return [None] * len(batch)
