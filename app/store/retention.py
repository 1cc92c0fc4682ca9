"""Retention: what has expired is erased, event logs are compacted, what is spent is thrown away.

An expired interaction is hidden at once. By the clock of the conversation it is erased only when no
stored interaction continues it: leaves first, then their parents, so that a chain in use keeps its
context and one that has expired goes as a whole. What runs is never touched.

Every write is one transaction of a few hundred rows, and repeats the conditions that its rows were
chosen by: it may come late, twice, or beside a delete.
"""

import asyncio
import calendar
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Select,
    Table,
    bindparam,
    case,
    delete,
    exists,
    func,
    literal,
    select,
    tuple_,
    update,
)

from app.core.listing import ALL, Span
from app.store import erasure, wal
from app.store.clock import moment
from app.store.database import Database
from app.store.erasure import BYTES, ROWS, Position, continued, ended, over, unlocked
from app.store.holds import held
from app.store.pages import page
from app.store.schema import (
    idempotency_keys,
    interaction_events,
    interactions,
    projects,
    upload_sessions,
    upstream_leftovers,
    upstream_resources,
)

Clock = Literal["conversation", "interaction"]

_WAL_BYTES = 64 << 20
"""How long SQLite's write-ahead log may grow: it usually stays at a few megabytes."""


@dataclass(frozen=True, slots=True)
class Expired:
    """Some of what has expired: `free` has those that nothing continues, `last` is where they end."""

    free: list[str]
    last: Position


@dataclass(frozen=True, slots=True)
class Erased:
    """How many were erased, and what is to be tried next: nothing when all is done."""

    count: int
    left: list[str]


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a sweep would find. `orphans` are events without an interaction: there must be none.

    `wal_bytes` is the length of SQLite's write-ahead log.
    """

    expired: int
    logs: int
    leftovers: int
    orphans: int
    wal_bytes: int | None


@dataclass(frozen=True, slots=True)
class Due:
    """How many interactions of a project are due on a day (UTC), and how many of them are held."""

    project_id: str
    project: str
    day: str
    interactions: int
    held: int


class Retention:
    """The steps of a sweep."""

    def __init__(self, database: Database, clock: Clock, resume_window_ms: int) -> None:
        self._database = database
        self._by_conversation = clock == "conversation"
        self._window_ms = resume_window_ms

    async def expired(self, after: Position) -> Expired | None:
        """The next of what has expired, free or not; None when there is no more."""
        query = erasure.expired(after, by_conversation=self._by_conversation)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        if not rows:
            return None
        return Expired([row.id for row in rows if row.free], Position(rows[-1].expires_at, rows[-1].id))

    async def erase(self, ids: Sequence[str]) -> Erased:
        """Erase some of these, and of the ancestors that this frees."""
        statement = erasure.ERASE_CONVERSATIONS if self._by_conversation else erasure.ERASE_INTERACTIONS
        erased = await self._database.write(erasure.erase, (statement, ids))
        if not erased:
            return Erased(0, [])
        gone = {row.id for row in erased}
        freed = {row.parent_id for row in erased if self._by_conversation and row.parent_id is not None}
        return Erased(len(gone), [*(freed.union(ids) - gone)])

    async def compact(self) -> bool:
        """Drop the logs of some runs that ended long enough ago; False when there are none."""
        query = _logs(self._window_ms)
        found = await self._database.read(lambda connection: connection.execute(query).all())
        ids = [row.id for row in found if row.before < BYTES]
        return bool(ids) and await self._database.write(_compact, ids)

    def purge(self) -> "asyncio.Future[bool]":
        """Throw away some of what has served its time; whether there may be more."""
        return self._database.write(_purge, None)

    async def checkpoint(self) -> None:
        """Keep SQLite's write-ahead log from growing for ever."""
        await self._database.read(lambda connection: wal.truncate(connection, _WAL_BYTES))

    async def backlog(self) -> Backlog:
        """What there is to do; counted, which takes its time in a large database."""
        free = [~continued(interactions)] if self._by_conversation else []
        queries = (
            select(func.count())
            .select_from(interactions)
            .where(*over(interactions), *free, ~held(interactions)),
            select(func.count()).select_from(interactions).where(*_logged(self._window_ms)),
            select(func.count()).select_from(upstream_leftovers),
            _ORPHANS,
        )

        def count(connection: Connection) -> Backlog:
            expired, logs, left, orphans = (connection.execute(query).scalar_one() for query in queries)
            return Backlog(expired, logs, left, orphans, wal.size(connection))

        return await self._database.read(count)

    async def due(self, project_id: str | None = None, span: Span = ALL) -> list[Due]:
        """What is due when, by the project's name and the day: counted, too."""
        query = _due(project_id, span)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Due(id_, name, _date(day), count, held_) for id_, name, day, count, held_ in rows]


_DAY_MS = 86_400_000


def _due(project_id: str | None, span: Span) -> Select[Any]:
    row = interactions.c
    day = (row.expires_at // literal(_DAY_MS, literal_execute=True)).label("day")
    told = select(row.project_id, day, case((held(interactions), 1), else_=0).label("held"))
    if project_id is not None:
        told = told.where(row.project_id == project_id)
    each = told.subquery()
    query = (
        select(projects.c.id, projects.c.name, each.c.day, func.count(), func.sum(each.c.held))
        .join(each, each.c.project_id == projects.c.id)
        .group_by(projects.c.id, projects.c.name, each.c.day)
    )
    if span.after is not None:
        name, date = span.after
        span = Span(span.limit, (name, _day(str(date))))
    return page(query, [projects.c.name, each.c.day], span)


def _date(day: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(day * _DAY_MS / 1000))


def _day(date: str) -> int:
    return calendar.timegm(time.strptime(date, "%Y-%m-%d")) * 1000 // _DAY_MS


_ORPHANS = (
    select(func.count())
    .select_from(interaction_events)
    .where(~exists().where(interactions.c.id == interaction_events.c.interaction_id))
)


def _logged(window_ms: int) -> list[ColumnElement[bool]]:
    """It ended so long ago, and still has an event log. In the words of the index of such rows."""
    return [
        interactions.c.last_seq > literal(0, literal_execute=True),
        interactions.c.lease_until.is_(None),
        ended(interactions),
        interactions.c.updated_at <= moment() - window_ms,
    ]


def _logs(window_ms: int) -> Select[Any]:
    """Some such interactions, oldest first, each with how many bytes the logs before it have."""
    row, events = interactions.c, interaction_events
    oldest = (
        select(row.id, row.updated_at).where(*_logged(window_ms)).order_by(row.updated_at).limit(ROWS)
    ).subquery()
    size = select(func.coalesce(func.sum(func.length(events.c.frames)), 0)).where(
        events.c.interaction_id == oldest.c.id
    )
    sized = select(oldest, size.scalar_subquery().label("size")).subquery()
    before = func.sum(sized.c.size).over(order_by=(sized.c.updated_at, sized.c.id)) - sized.c.size
    return select(sized.c.id, before.label("before"))


_chosen = interactions.c.id.in_(bindparam("ids", expanding=True))
_FORGET_LOG = (
    update(interactions)
    .where(interactions.c.id.in_(unlocked(_chosen, ended(interactions))))
    .values(last_seq=0)
    .returning(interactions.c.id)
)
_DROP_LOG = delete(interaction_events).where(
    interaction_events.c.interaction_id.in_(bindparam("ids", expanding=True))
)


def _compact(connection: Connection, batch: Sequence[Sequence[str]]) -> Sequence[bool]:
    done = []
    for ids in batch:
        forgotten = connection.scalars(_FORGET_LOG, {"ids": ids}).all()
        connection.execute(_DROP_LOG, {"ids": forgotten})
        done.append(bool(forgotten))
    return done


def _spent(table: Table) -> Delete:
    """Throw away some of what has expired of a table."""
    key = tuple_(*table.primary_key)
    some = select(*table.primary_key).where(table.c.expires_at <= moment()).order_by(table.c.expires_at)
    return delete(table).where(key.in_(some.limit(literal(ROWS))))


_SPENT = tuple(_spent(table) for table in (idempotency_keys, upload_sessions, upstream_resources))


def _purge(connection: Connection, batch: Sequence[None]) -> Sequence[bool]:
    return [any(connection.execute(spent).rowcount == ROWS for spent in _SPENT) for _ in batch]
