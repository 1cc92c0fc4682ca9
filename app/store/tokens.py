"""Tokens of the admin API. A token itself is never here: only its digest."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.core.audit import Entry
from app.core.listing import ALL, Span
from app.core.versions import Digest
from app.store import audit
from app.store.clock import now
from app.store.database import Database
from app.store.keys import AlreadyExists
from app.store.pages import page
from app.store.schema import admin_tokens


@dataclass(frozen=True, slots=True)
class Token:
    """A token, without the token. Times are epoch milliseconds."""

    id: str
    name: str
    role: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class _New(NamedTuple):
    token: Token
    digest: Digest
    entry: Entry


class _Ending(NamedTuple):
    token_id: str
    entry: Entry


class Tokens:
    """Reads and writes tokens; each change with its entry in the audit log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, token: Token, digest: Digest, entry: Entry) -> None:
        """Store a new token's digest. Raises AlreadyExists when the name is taken."""
        try:
            await self._database.write(_create, _New(token, digest, entry))
        except IntegrityError as error:
            raise AlreadyExists(token.name) from error

    async def all(self, span: Span = ALL) -> list[Token]:
        """Tokens by name, revoked ones too."""
        query = page(_TOKENS, [admin_tokens.c.name], span)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_token(row) for row in rows]

    def revoke(self, token_id: str, entry: Entry) -> "asyncio.Future[bool]":
        """End a token's validity now; False when there is no such valid token."""
        return self._database.write(_revoke, _Ending(token_id, entry))

    async def exist(self) -> bool:
        """Whether any token is valid."""
        query = select(admin_tokens.c.id).where(*_valid()).limit(1)
        return await self._database.read(lambda connection: connection.execute(query).first() is not None)


_TOKENS = select(*(admin_tokens.c[name] for name in Token.__slots__))


def _valid() -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    expires_at = admin_tokens.c.expires_at
    return admin_tokens.c.revoked_at.is_(None), or_(expires_at.is_(None), expires_at > now())


def _token(row: Row[tuple[object, ...]]) -> Token:
    return Token(**row._mapping)


def _create(connection: Connection, batch: Sequence[_New]) -> Sequence[None]:
    for new in batch:
        values = {name: getattr(new.token, name) for name in Token.__slots__}
        connection.execute(
            insert(admin_tokens).values(**values, digest=new.digest.value, pepper=new.digest.pepper)
        )
    return audit.append(connection, [new.entry for new in batch])


def _revoke(connection: Connection, batch: Sequence[_Ending]) -> Sequence[bool]:
    return [_revoked(connection, each) for each in batch]


def _revoked(connection: Connection, ending: _Ending) -> bool:
    ended = connection.execute(
        update(admin_tokens).where(admin_tokens.c.id == ending.token_id, *_valid()).values(revoked_at=now())
    )
    if ended.rowcount:
        audit.append(connection, [ending.entry])
    return ended.rowcount > 0
