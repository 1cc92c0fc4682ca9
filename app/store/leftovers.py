"""What upstreams still keep of interactions that are gone here, until it is deleted there too.

A leftover is written in the transaction that erases the interaction, so none is forgotten.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, literal, select, update

from app import ids
from app.store.clock import moment, now
from app.store.database import Database
from app.store.schema import interactions, upstream_leftovers, upstream_resources

GIVEN_UP_MS = 30 * 24 * 3_600_000
"""How long an upstream is asked to delete something before that is given up."""

_TAKEN = 16
_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something at an upstream, by its name there: "interactions/...", "files/...".

    `credential` is the fingerprint of the upstream's key that made it.
    """

    upstream: str
    credential: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Due(Leftover):
    """A leftover whose deletion is to be tried now; `last` when it will not be tried again."""

    id: str
    last: bool


class Leftovers:
    """Hands out what is to be deleted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self) -> "asyncio.Future[list[Due]]":
        """A few that are due. Each comes again, later each time, until it is `done`."""
        return self._database.write(_take, None)

    def done(self, due: Due) -> "asyncio.Future[None]":
        """It is gone there, or given up."""
        return self._database.write(_done, due.id)


ERASED = tuple(interactions.c[name] for name in ("id", "upstream", "credential", "upstream_id"))
"""What `leave_of` must know of an interaction: the columns for RETURNING."""


def leave(connection: Connection, left: Iterable[Leftover]) -> None:
    """Have these deleted at their upstreams, once this transaction is committed."""
    rows = [
        {
            "id": ids.new_id("left"),
            "upstream": each.upstream,
            "credential": each.credential,
            "name": each.name,
        }
        for each in left
    ]
    if rows:
        connection.execute(_INSERT, rows)


def leave_of(connection: Connection, erased: Sequence[Row[Any]]) -> None:
    """Have all deleted that upstreams keep of interactions which this transaction erases."""
    kept = [
        Leftover(row.upstream, row.credential, f"interactions/{row.upstream_id}")
        for row in erased
        if row.upstream_id is not None and row.upstream is not None
    ]
    if erased:
        made = connection.execute(_DISOWN, {"ids": [row.id for row in erased]})
        kept += [Leftover(row.upstream, row.credential, row.name) for row in made]
    leave(connection, kept)


_INSERT = insert(upstream_leftovers).values(created_at=now(), due_at=now(), attempts=0)
_DISOWN = (
    delete(upstream_resources)
    .where(upstream_resources.c.interaction_id.in_(bindparam("ids", expanding=True)))
    .returning(upstream_resources.c.upstream, upstream_resources.c.credential, upstream_resources.c.name)
)
_DUE = (
    select(upstream_leftovers.c.id)
    .where(upstream_leftovers.c.due_at <= moment())
    .order_by(upstream_leftovers.c.due_at)
    .limit(literal(_TAKEN))
    .with_for_update(skip_locked=True)
)
_attempt = upstream_leftovers.c.attempts + 1
# After 1, 4, 9, ... minutes: some fifty attempts before it is given up.
_TAKE = (
    update(upstream_leftovers)
    .where(upstream_leftovers.c.id.in_(_DUE))
    .values(attempts=_attempt, due_at=now() + _attempt * _attempt * _MINUTE_MS)
    .returning(
        *(upstream_leftovers.c[name] for name in ("upstream", "credential", "name", "id")),
        upstream_leftovers.c.created_at <= now() - GIVEN_UP_MS,
    )
)
_DONE = delete(upstream_leftovers).where(upstream_leftovers.c.id == bindparam("leftover"))


def _take(connection: Connection, batch: Sequence[None]) -> Sequence[list[Due]]:
    return [[Due(*row) for row in connection.execute(_TAKE)] for _ in batch]


def _done(connection: Connection, batch: Sequence[str]) -> Sequence[None]:
    connection.execute(_DONE, [{"leftover": one} for one in batch])
    return [None] * len(batch)
