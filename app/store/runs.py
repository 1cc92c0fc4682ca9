"""Interactions as jobs: the row is inserted, its events appended, its end written.

Every write of a run repeats the fence, "this attempt still runs": whoever lost the run to
another process, to a delete or to a cancel is told False and has changed nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from sqlalchemy import (
    Connection,
    Integer,
    LargeBinary,
    Select,
    bindparam,
    delete,
    func,
    insert,
    null,
    select,
    update,
)

from app.core import quota, status
from app.store.clock import now
from app.store.database import Database, OneByOne
from app.store.idempotency import Existing, Once, claim
from app.store.ledger import insert_charges, insert_orphans
from app.store.leftovers import leave
from app.store.prepared import Prepared
from app.store.records import EventBatch, NewInteraction, Outcome
from app.store.schema import interaction_events, interaction_labels, interactions
from app.store.webhooks import insert_deliveries


class Runs:
    """Writes what runs do, and reads their event logs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def insert(self, new: NewInteraction) -> "asyncio.Future[None]":
        """Begin or queue a run; the future is done once the row is committed."""
        return self._database.write(_insert, new)

    def insert_once(self, new: NewInteraction, once: Once) -> "asyncio.Future[Existing | None]":
        """Begin or queue a run under an idempotency key; what has the key already, if it is taken."""
        return self._database.write(_insert_once, (new, once))

    def append(self, batch: EventBatch) -> "asyncio.Future[bool]":
        """Add events to a run's log; False when the attempt does not run any more."""
        return self._database.write(_append, batch)

    def finish(self, outcome: Outcome) -> "asyncio.Future[bool]":
        """End a run; False when the attempt does not run any more."""
        return self._database.write(_finish, outcome)

    def keep(self, interaction_id: str, attempt: int, upstream_id: str) -> "asyncio.Future[bool]":
        """Note the id that the upstream keeps the run under; False as above."""
        return self._database.write(_keep, (interaction_id, attempt, upstream_id))

    def rewind(self, interaction_id: str, attempt: int) -> "asyncio.Future[bool]":
        """Empty the log of a run, to begin anew; False as above, and when somebody may have read it."""
        return self._database.write(_rewind, (interaction_id, attempt))

    def follow(self, project_id: str, interaction_id: str) -> "asyncio.Future[None]":
        """Note that somebody may read the events of this run from now on."""
        return self._database.write(_follow, (project_id, interaction_id))

    async def events(self, project_id: str, interaction_id: str, after: int) -> list[EventBatch]:
        """Some stored events with numbers above `after`, in order; empty when there are none yet.

        The first batch may begin at or before `after`. No more than fit into a few megabytes, however
        many and however long they are; one at least.
        """
        wanted = {"project": project_id, "interaction": interaction_id, "after": after}
        rows = await self._database.read(lambda connection: connection.execute(_EVENTS, wanted).all())
        return [
            EventBatch(row.interaction_id, row.attempt, row.first_seq, row.last_seq, row.frames)
            for row in rows
        ]

    async def last_seq(self, project_id: str, interaction_id: str) -> int:
        """The number of the newest stored event; 0 when there is none."""
        one = {"project": project_id, "interaction": interaction_id}
        return await self._database.read(lambda connection: connection.execute(_LAST_SEQ, one).scalar()) or 0

    async def running(self, project_id: str, key_id: str | None, pattern: str | None) -> int:
        """How many runs of a project go on or wait; of one key, of models that fit a pattern, where named."""
        target = func.coalesce(interactions.c.model, interactions.c.agent)
        query = select(target, func.count()).where(
            interactions.c.lease_until.is_not(None), interactions.c.project_id == project_id
        )
        if key_id is not None:
            query = query.where(interactions.c.key_id == key_id)
        grouped = query.group_by(target)
        rows = await self._database.read(lambda connection: connection.execute(grouped).all())
        return sum(count for name, count in rows if pattern is None or quota.fits(pattern, name))


_EVENT_ROWS = 64
_EVENT_BYTES = 2 << 20


_OWN = interactions.c.project_id == bindparam("project")
_OF_THIS = interaction_events.c.interaction_id == bindparam("interaction")
_LAST_SEQ = select(func.max(interaction_events.c.last_seq)).join(interactions).where(_OF_THIS, _OWN)


def _events() -> Select[Any]:
    columns = interaction_events.c
    sizes = (
        select(columns.first_seq, func.length(columns.frames).label("size"))
        .where(_OF_THIS, columns.last_seq > bindparam("after"))
        .order_by(columns.first_seq)
        .limit(_EVENT_ROWS)
        .subquery()
    )
    before = func.sum(sizes.c.size).over(order_by=sizes.c.first_seq) - sizes.c.size
    some = select(sizes.c.first_seq, before.label("before")).subquery()
    return (
        select(interaction_events, interactions.c.attempt)
        .join(interactions)
        .join(some, some.c.first_seq == columns.first_seq)
        .where(_OF_THIS, _OWN, some.c.before < _EVENT_BYTES)
        .order_by(columns.first_seq)
    )


_EVENTS = _events()

_INSERT = insert(interactions).values(
    last_seq=0,
    cancel_requested=False,
    expires_at=now() + bindparam("retention_ms"),
    lease_until=now() + bindparam("lease_ms"),
    deadline=now() + bindparam("run_ms"),
)
_CONTENT = ("options", "input")
_OTHERS = tuple(field.name for field in fields(NewInteraction) if field.name not in {"labels", *_CONTENT})
_BEGIN = Prepared(_INSERT, (*_OTHERS, "attempt", "updated_at", *_CONTENT))
_metadata, _content = attrgetter(*_OTHERS, "attempt", "created_at"), attrgetter(*_CONTENT)


def _insert(connection: Connection, batch: Sequence[NewInteraction]) -> Sequence[None]:
    content = (_content(new) if new.store else (None, None) for new in batch)
    _BEGIN.many(connection, [_metadata(new) + kept for new, kept in zip(batch, content, strict=True)])
    labels = [row for new in batch if new.store for row in _labels(new)]
    if labels:
        connection.execute(_INSERT_LABELS, labels)
    return [None] * len(batch)


def _insert_once(
    connection: Connection, batch: Sequence[tuple[NewInteraction, Once]]
) -> Sequence[Existing | None]:
    outcomes = []
    for new, once in sorted(batch, key=lambda each: (each[0].project_id, each[1].key)):
        repeated = claim(connection, new.project_id, once.key, once.fingerprint, new.id, once.ttl_ms)
        if repeated is None:
            _insert(connection, [new])
        outcomes.append((new.id, repeated))
    found = dict(outcomes)
    return [found[new.id] for new, _ in batch]


_INSERT_LABELS = insert(interaction_labels)


def _labels(new: NewInteraction) -> list[dict[str, str]]:
    same = {"interaction_id": new.id, "project_id": new.project_id}
    return [{**same, "name": name, "value": value} for name, value in new.labels]


_FENCE = (
    interactions.c.id == bindparam("run"),
    interactions.c.attempt == bindparam("mine"),
    interactions.c.status == status.IN_PROGRESS,
)
"""This attempt still runs. A row that is written under it is locked until the transaction ends."""

_EVENT = ("interaction_id", "first_seq", "last_seq", "frames")
_APPEND = Prepared(
    insert(interaction_events).from_select(
        _EVENT,
        select(
            interactions.c.id,
            bindparam("first", type_=Integer),
            bindparam("last", type_=Integer),
            bindparam("text", type_=LargeBinary),
        )
        .where(*_FENCE)
        .with_for_update(key_share=True),
    ),
    ("run", "mine", "first", "last", "text"),
)


_MARK = update(interactions).where(*_FENCE).values(upstream_event_id=bindparam("mark"))


def _append(connection: Connection, batches: Sequence[EventBatch]) -> Sequence[bool]:
    rows = [
        (batch.interaction_id, batch.attempt, batch.first_seq, batch.last_seq, batch.frames)
        for batch in batches
    ]
    held = _held(_APPEND.many(connection, rows), rows)
    marks = [
        {"run": batch.interaction_id, "mine": batch.attempt, "mark": batch.upstream_event_id}
        for batch in batches
        if batch.upstream_event_id is not None
    ]
    if marks and held[0]:
        connection.execute(_MARK, marks)
    return held


def _held(count: int, rows: Sequence[Any]) -> Sequence[bool]:
    """Whether each of these rows passed the fence, of which `count` did.

    The count is all that executing many at once tells. When some did not pass, which is rare,
    the writes are done again one by one.
    """
    if count == len(rows) or len(rows) == 1:
        return [count > 0] * len(rows)
    raise OneByOne


_TOLD = ("status", "output", "details", "error", "updated_at", "last_seq")
_FINISH = Prepared(
    update(interactions)
    .where(*_FENCE)
    .values(
        history_bytes=interactions.c.history_bytes + bindparam("end_bytes"),
        lease_until=null(),
        **{name: bindparam(f"end_{name}") for name in _TOLD},
    ),
    ("run", "mine", *(f"end_{name}" for name in _TOLD), "end_bytes"),
)
_LAST_EVENTS = Prepared(insert(interaction_events), _EVENT)
_end, _event = attrgetter("interaction_id", "attempt", *_TOLD), attrgetter(*_EVENT)


def _finish(connection: Connection, outcomes: Sequence[Outcome]) -> Sequence[bool]:
    rows = [(*_end(outcome), len(outcome.output or b"")) for outcome in outcomes]
    held = _held(_FINISH.many(connection, rows), rows)
    last = [outcome.events for outcome in outcomes if outcome.events is not None] if held[0] else []
    if last:
        _LAST_EVENTS.many(connection, [_event(batch) for batch in last])
    if held[0]:
        insert_deliveries(connection, [each for outcome in outcomes for each in outcome.deliveries])
        leave(connection, [each for outcome in outcomes for each in outcome.leftovers])
    charges = [outcome.usage for outcome in outcomes if outcome.usage is not None]
    (insert_charges if held[0] else insert_orphans)(connection, charges)
    return held


_KEEP = update(interactions).where(*_FENCE).values(upstream_id=bindparam("there"))


def _keep(connection: Connection, batch: Sequence[tuple[str, int, str]]) -> Sequence[bool]:
    rows = [{"run": run, "mine": attempt, "there": there} for run, attempt, there in batch]
    return [connection.execute(_KEEP, row).rowcount > 0 for row in rows]


_BEGIN_ANEW = (
    update(interactions)
    .where(*_FENCE, interactions.c.followed.is_(False))
    .values(upstream_id=None, upstream_event_id=None)
)
_FORGET_EVENTS = delete(interaction_events).where(interaction_events.c.interaction_id == bindparam("run"))


def _rewind(connection: Connection, batch: Sequence[tuple[str, int]]) -> Sequence[bool]:
    outcomes = []
    for run, attempt in batch:
        held = connection.execute(_BEGIN_ANEW, {"run": run, "mine": attempt}).rowcount > 0
        if held:
            connection.execute(_FORGET_EVENTS, {"run": run})
        outcomes.append(held)
    return outcomes


_FOLLOW = (
    update(interactions)
    .where(
        interactions.c.id == bindparam("run"),
        interactions.c.project_id == bindparam("whose"),
        interactions.c.lease_until.is_not(None),
    )
    .values(followed=True)
)


def _follow(connection: Connection, batch: Sequence[tuple[str, str]]) -> Sequence[None]:
    connection.execute(_FOLLOW, [{"whose": project, "run": run} for project, run in batch])
    return [None] * len(batch)
