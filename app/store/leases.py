"""Leases on names: of all processes, one at a time does a job like the sweep.

Nothing depends on the lease for correctness: whoever lost it without noticing does work that
somebody else has done already.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from app.store.clock import now
from app.store.database import Database
from app.store.schema import leases


@dataclass(frozen=True, slots=True)
class Lease:
    """A job, who did it last or does it now, and how long ago it was last done, if ever."""

    name: str
    owner: str
    done_ms_ago: int | None


class Leases:
    """Takes and gives back leases, by the database's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, name: str, owner: str, lease_ms: int) -> bool:
        """Take the lease for so long, or renew it; False when it is another's and has not lapsed."""
        try:
            return await self._database.write(_take, (name, owner, lease_ms))
        except IntegrityError:
            return False  # another process has just made the row

    def done(self, name: str, owner: str) -> "asyncio.Future[None]":
        """The job is done, and the lease free, unless it has become another's."""
        return self._database.write(_done, (name, owner))

    async def all(self) -> list[Lease]:
        """Every job that was ever done."""
        rows = await self._database.read(lambda connection: connection.execute(_ALL).all())
        return [Lease(*row) for row in rows]


_TAKE = (
    update(leases)
    .where(
        leases.c.name == bindparam("job"),
        or_(leases.c.owner == bindparam("me"), leases.c.lease_until <= now()),
    )
    .values(owner=bindparam("me"), lease_until=now() + bindparam("lease_ms"))
)
_KNOWN = select(leases.c.name).where(leases.c.name == bindparam("job"))
_INSERT = insert(leases).values(
    name=bindparam("job"), owner=bindparam("me"), lease_until=now() + bindparam("lease_ms")
)
_DONE = (
    update(leases)
    .where(leases.c.name == bindparam("job"), leases.c.owner == bindparam("me"))
    .values(lease_until=now(), done_at=now())
)
_ALL = select(leases.c.name, leases.c.owner, now() - leases.c.done_at).order_by(leases.c.name)


def _take(connection: Connection, batch: Sequence[tuple[str, str, int]]) -> Sequence[bool]:
    return [_taken(connection, *one) for one in batch]


def _taken(connection: Connection, name: str, owner: str, lease_ms: int) -> bool:
    wanted = {"job": name, "me": owner, "lease_ms": lease_ms}
    if connection.execute(_TAKE, wanted).rowcount:
        return True
    if connection.execute(_KNOWN, {"job": name}).first() is not None:
        return False
    connection.execute(_INSERT, wanted)
    return True


def _done(connection: Connection, batch: Sequence[tuple[str, str]]) -> Sequence[None]:
    for name, owner in batch:
        connection.execute(_DONE, {"job": name, "me": owner})
    return [None] * len(batch)
