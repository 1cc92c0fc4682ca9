"""Uploads that are under way: the upstream's session behind each of our session URLs.

The URL's token is a capability; only its digest is here.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, bindparam, delete, insert, or_, select

from app.core.versions import Versions
from app.store.clock import now
from app.store.database import Database
from app.store.schema import api_keys, upload_sessions


@dataclass(frozen=True, slots=True)
class UploadSession:
    """One upload. `target` is the path and query of the upstream's session URL, without any key.

    `kind` is the collection that what is uploaded will belong to; None when it lies inside
    something that has an owner already.
    """

    project_id: str
    key_id: str | None
    upstream: str
    credential: str
    kind: str | None
    target: str


class Uploads:
    """Reads and writes upload sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, digest: bytes, session: UploadSession, lifetime_ms: int) -> "asyncio.Future[None]":
        """Remember a session for so long."""
        return self._database.write(_open, (digest, session, lifetime_ms))

    def close(self, digests: Versions[bytes]) -> "asyncio.Future[None]":
        """The upload was given up."""
        return self._database.write(_close, digests)

    async def find(self, digests: Versions[bytes]) -> tuple[UploadSession, bool] | None:
        """The session with this digest, unless it has expired, and whether its key is still valid."""
        row = await self._database.read(
            lambda connection: connection.execute(_FIND, {"found": digests.all()}).first()
        )
        return (UploadSession(*row[:-1]), bool(row[-1])) if row is not None else None


_VALID = or_(
    upload_sessions.c.key_id.is_(None),  # in passthrough mode a session has no key of ours
    and_(
        api_keys.c.id.is_not(None),
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now()),
    ),
)
_FIND = (
    select(*(upload_sessions.c[name] for name in UploadSession.__slots__), _VALID.label("valid"))
    .outerjoin(api_keys, api_keys.c.id == upload_sessions.c.key_id)
    .where(
        upload_sessions.c.digest.in_(bindparam("found", expanding=True)), upload_sessions.c.expires_at > now()
    )
)


def _open(connection: Connection, batch: Sequence[tuple[bytes, UploadSession, int]]) -> Sequence[None]:
    for digest, session, lifetime_ms in batch:
        row = {name: getattr(session, name) for name in UploadSession.__slots__}
        connection.execute(
            insert(upload_sessions).values(
                created_at=now(), expires_at=now() + lifetime_ms, digest=digest, **row
            )
        )
    return [None] * len(batch)


def _close(connection: Connection, batch: Sequence[Versions[bytes]]) -> Sequence[None]:
    closed = [digest for digests in batch for digest in digests.all()]
    connection.execute(delete(upload_sessions).where(upload_sessions.c.digest.in_(closed)))
    return [None] * len(batch)
