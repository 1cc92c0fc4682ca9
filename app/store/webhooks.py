"""Webhook deliveries that are still to be made: rows from the end of an interaction until a receiver has it.

Whoever takes a delivery moves `due_at` on before the attempt. A process that dies in the middle
costs the receiver a delay, and at worst the same delivery twice, under the same id.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, literal, select, update

from app.store.clock import moment, now
from app.store.database import Database
from app.store.schema import webhook_deliveries


@dataclass(frozen=True, slots=True)
class Delivery:
    """One body for one receiver. The id is the receiver's too, in every attempt."""

    id: str
    project_id: str
    interaction_id: str
    url: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """A delivery that has been taken: the attempt's `number`, from 1, and the delivery's age by then."""

    delivery: Delivery
    number: int
    age_ms: int


@dataclass(frozen=True, slots=True)
class _Take:
    limit: int
    lease_ms: int
    without_urls: Collection[str]
    without_projects: Collection[str]


class Webhooks:
    """Reads and writes deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(
        self,
        limit: int,
        lease_ms: int,
        without_urls: Collection[str] = (),
        without_projects: Collection[str] = (),
    ) -> "asyncio.Future[list[Attempt]]":
        """Take a few that are due, the longest due first; nobody else is given them for `lease_ms`."""
        return self._database.write(_take, _Take(limit, lease_ms, without_urls, without_projects))

    def done(self, delivery_id: str) -> "asyncio.Future[None]":
        """A delivery has been made, or has been given up: forget it."""
        return self._database.write(_done, delivery_id)

    def later(self, attempt: Attempt, pause_ms: int) -> "asyncio.Future[None]":
        """An attempt has failed: the next is due after a pause, unless somebody has begun it already."""
        return self._database.write(_later, (attempt, pause_ms))


def insert_deliveries(connection: Connection, deliveries: Sequence[Delivery]) -> None:
    """Keep deliveries, due at once, as a part of the caller's transaction."""
    if deliveries:
        rows = [{name: getattr(each, name) for name in Delivery.__slots__} for each in deliveries]
        connection.execute(_INSERT, rows)


def erase_deliveries(connection: Connection, interaction_ids: Collection[str]) -> None:
    """Forget what is still to be told of interactions that are gone, in the caller's transaction."""
    connection.execute(_ERASE, {"gone": list(interaction_ids)})


_INSERT = insert(webhook_deliveries).values(created_at=now(), due_at=now(), attempts=0)
_ERASE = delete(webhook_deliveries).where(
    webhook_deliveries.c.interaction_id.in_(bindparam("gone", expanding=True))
)

_DUE = (
    select(webhook_deliveries.c.id)
    .where(
        webhook_deliveries.c.due_at <= moment(),
        webhook_deliveries.c.url.not_in(bindparam("urls", expanding=True)),
        webhook_deliveries.c.project_id.not_in(bindparam("projects", expanding=True)),
    )
    .order_by(webhook_deliveries.c.due_at)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
    .cte("due")  # looked for once, whatever the plan: a subquery might be asked again and find others
)
_TAKE = (
    update(webhook_deliveries)
    .where(webhook_deliveries.c.id.in_(select(_DUE.c.id)))
    .values(due_at=now() + bindparam("lease_ms"), attempts=webhook_deliveries.c.attempts + literal(1))
    .returning(
        *(webhook_deliveries.c[name] for name in Delivery.__slots__),
        webhook_deliveries.c.attempts,
        (now() - webhook_deliveries.c.created_at).label("age_ms"),
    )
)


def _take(connection: Connection, batch: Sequence[_Take]) -> Sequence[list[Attempt]]:
    return [[_attempt(row) for row in connection.execute(_TAKE, _parameters(each))] for each in batch]


def _parameters(take: _Take) -> dict[str, Any]:
    return {
        "most": take.limit,
        "lease_ms": take.lease_ms,
        "urls": list(take.without_urls),
        "projects": list(take.without_projects),
    }


def _attempt(row: Any) -> Attempt:
    *delivery, number, age_ms = row
    return Attempt(Delivery(*delivery), number, age_ms)


def _done(connection: Connection, batch: Sequence[str]) -> Sequence[None]:
    connection.execute(delete(webhook_deliveries).where(webhook_deliveries.c.id.in_(batch)))
    return [None] * len(batch)


_LATER = (
    update(webhook_deliveries)
    .where(webhook_deliveries.c.id == bindparam("this"), webhook_deliveries.c.attempts == bindparam("mine"))
    .values(due_at=now() + bindparam("pause_ms"))
)


def _later(connection: Connection, batch: Sequence[tuple[Attempt, int]]) -> Sequence[None]:
    rows = [
        {"this": attempt.delivery.id, "mine": attempt.number, "pause_ms": pause_ms}
        for attempt, pause_ms in batch
    ]
    connection.execute(_LATER, rows)
    return [None] * len(batch)
