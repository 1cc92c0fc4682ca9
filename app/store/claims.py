"""Who runs what: leases by the database's clock, and claims that count the attempt up.

A run that waits in the queue has a lease that has lapsed already. Whoever claims a run owns it:
the writes of its former owner, with an older attempt, change nothing any more.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, Update, bindparam, func, or_, select, update

from app.core import status
from app.store.clock import moment, now
from app.store.database import Database
from app.store.records import Claimed
from app.store.schema import interactions

_RENEWALS = 1000
_LAPSED_AT_ONCE = 16


class Claims:
    """Claims runs for one owner, and keeps what it has."""

    def __init__(self, database: Database, owner: str, lease_ms: int) -> None:
        self._database = database
        self._me = {"me": owner, "lease_ms": lease_ms}

    async def held(self, ids: Sequence[str]) -> set[str]:
        """Those of these runs that are still this owner's and still run."""
        query = select(interactions.c.id).where(
            interactions.c.id.in_(ids),
            interactions.c.owner == self._me["me"],
            interactions.c.status == status.IN_PROGRESS,
        )
        return await self._database.read(lambda connection: set(connection.scalars(query)))

    def renew(self, ids: Sequence[str]) -> "asyncio.Future[None]":
        """Extend the leases of these runs, as far as they are this owner's and still run."""
        return self._database.write(_renew, {**self._me, "ids": ids})

    def lapsed(self) -> "asyncio.Future[list[Claimed]]":
        """Take over a few runs whose owner has not renewed its lease."""
        return self._database.write(_claim_lapsed, self._me)

    def queued(self, limit: int, per_project: int, full: Sequence[str]) -> "asyncio.Future[list[Claimed]]":
        """Take runs from the queue: at most `limit`, projects in turn, none of those that are `full`."""
        wanted = {"most": limit, "each": per_project, "full": list(full)}
        return self._database.write(_claim_queued, {**self._me, **wanted})

    def seize(self, project_id: str, interaction_id: str) -> "asyncio.Future[Claimed | None]":
        """Take a background run, to cancel it, from whoever has it; None when it is not to be had."""
        return self._database.write(_seize, {**self._me, "whose": project_id, "run": interaction_id})

    def release(self, interaction_id: str, attempt: int) -> "asyncio.Future[bool]":
        """Let go of a run that others shall take up at once; False when it is lost already."""
        return self._database.write(_release, {"run": interaction_id, "mine": attempt})


_RENEW = (
    update(interactions)
    .where(
        interactions.c.id.in_(bindparam("ids", expanding=True)),
        interactions.c.owner == bindparam("me"),
        interactions.c.status == status.IN_PROGRESS,
    )
    .values(lease_until=now() + bindparam("lease_ms"))
)


def _renew(connection: Connection, batch: Sequence[dict[str, Any]]) -> Sequence[None]:
    for asked in batch:
        for first in range(0, len(asked["ids"]), _RENEWALS):
            connection.execute(_RENEW, {**asked, "ids": asked["ids"][first : first + _RENEWALS]})
    return [None] * len(batch)


_OWN = tuple(field.name for field in fields(Claimed) if field.name != "remaining_ms")
_LONG = 4 * 3_600_000  # for what an older version has begun, without a deadline
_REMAINING = (func.coalesce(interactions.c.deadline - now(), _LONG)).label("remaining_ms")


def _claim(statement: Update, **more: Any) -> Any:
    return statement.values(
        owner=bindparam("me"),
        attempt=interactions.c.attempt + 1,
        status=status.IN_PROGRESS,
        lease_until=now() + bindparam("lease_ms"),
        **more,
    ).returning(*(interactions.c[name] for name in _OWN), _REMAINING)


def _claimed(connection: Connection, statement: Any, asked: dict[str, Any]) -> list[Claimed]:
    rows = [row._asdict() for row in connection.execute(statement, asked)]
    for row in rows:
        row["options"], row["input"] = row["options"] or b"{}", row["input"] or b"[]"
    return [Claimed(**row) for row in rows]


# What waits in the queue is taken from there, unless its time is up: that needs no room.
_DUE = or_(interactions.c.status == status.IN_PROGRESS, interactions.c.deadline < moment())
_LAPSED = (
    select(interactions.c.id)
    .where(_DUE, interactions.c.lease_until < moment())
    .limit(_LAPSED_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_CLAIM_LAPSED = _claim(update(interactions).where(interactions.c.id.in_(_LAPSED)))


def _claim_lapsed(connection: Connection, batch: Sequence[dict[str, Any]]) -> Sequence[list[Claimed]]:
    return [_claimed(connection, _CLAIM_LAPSED, asked) for asked in batch]


_waiting = (
    select(
        interactions.c.id,
        interactions.c.created_at,
        func.row_number()
        .over(partition_by=interactions.c.project_id, order_by=(interactions.c.created_at, interactions.c.id))
        .label("turn"),
    )
    .where(
        interactions.c.status == status.QUEUED,
        interactions.c.lease_until < moment(),
        interactions.c.project_id.not_in(bindparam("full", expanding=True)),
    )
    .subquery()
)
_NEXT = (
    select(_waiting.c.id)
    .where(_waiting.c.turn <= bindparam("each"))
    .order_by(_waiting.c.turn, _waiting.c.created_at)
    .limit(bindparam("most"))
)
# Two that claim at once choose the same rows; the status, looked at again, lets one of them win.
_CLAIM_QUEUED = _claim(
    update(interactions).where(interactions.c.id.in_(_NEXT), interactions.c.status == status.QUEUED)
)


def _claim_queued(connection: Connection, batch: Sequence[dict[str, Any]]) -> Sequence[list[Claimed]]:
    return [_claimed(connection, _CLAIM_QUEUED, asked) for asked in batch]


_SEIZE = _claim(
    update(interactions).where(
        interactions.c.id == bindparam("run"),
        interactions.c.project_id == bindparam("whose"),
        interactions.c.background,
        interactions.c.lease_until.is_not(None),
        interactions.c.cancel_requested.is_(False),  # else two who cancel take it from one another
    ),
    cancel_requested=True,
)


def _seize(connection: Connection, batch: Sequence[dict[str, Any]]) -> Sequence[Claimed | None]:
    return [next(iter(_claimed(connection, _SEIZE, asked)), None) for asked in batch]


_RELEASE = (
    update(interactions)
    .where(
        interactions.c.id == bindparam("run"),
        interactions.c.attempt == bindparam("mine"),
        interactions.c.status == status.IN_PROGRESS,
    )
    .values(owner=None, lease_until=0)
)


def _release(connection: Connection, batch: Sequence[dict[str, Any]]) -> Sequence[bool]:
    return [connection.execute(_RELEASE, asked).rowcount > 0 for asked in batch]
