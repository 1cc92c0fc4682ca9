"""The usage ledger: one row for each call of an upstream, written in the transaction that ends it.

A call whose end is told later, or by somebody who may not live to tell it, has an *open* row until then.
The first end counts: of a call that has ended nothing changes any more.
"""

import asyncio
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Row, bindparam, case, false, select
from sqlalchemy.dialects import postgresql, sqlite

from app.core import status
from app.core.budget import NOTHING as NOTHING_SEEN
from app.core.budget import Bill
from app.core.listing import ALL, Span
from app.core.usage import COUNTED, NOTHING, Usage
from app.store import reports
from app.store.clock import now
from app.store.database import Database
from app.store.prepared import Prepared
from app.store.reports import OPEN, Sum, Wanted
from app.store.reservations import release, settle, settle_as_reserved
from app.store.schema import interactions, usage_ledger

RUN = "interaction"
"""The kind of a run's call; that of a forwarded one is the method's name."""


_RELEASED = frozenset({status.FAILED, status.CANCELLED})
"""Calls that end so give back what was reserved for them, but for what they are known or seen to use."""


class Charge(NamedTuple):
    """What is written of one call. `cost` is in millionths of a US dollar, None without a price.

    `usage` is None where nobody knows it: such a call is taken to have used what was reserved for it,
    or what was `seen` if it has failed or was cancelled.
    Nothing of its content, and nothing of the price table. `reserved` tells that budgets wait for it.
    """

    call_id: str
    project_id: str
    key_id: str | None
    kind: str
    upstream: str | None
    credential: str | None
    model: str | None
    status: str
    usage: Usage | None
    labels: Mapping[str, str]
    cost: int | None
    reserved: bool = False
    seen: Bill = NOTHING_SEEN


class Waiting(NamedTuple):
    """A call that is open, and when it began."""

    project_id: str
    key_id: str | None
    kind: str
    upstream: str | None
    credential: str | None
    model: str | None
    at: int


class Ledger:
    """Writes calls, adds them up, reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, charge: Charge) -> "asyncio.Future[None]":
        """A call that is no run, or whose run is gone: its row, once, and the end of its reservations."""
        return self._database.write(_write, charge)

    def abandon(self, charge: Charge) -> "asyncio.Future[None]":
        """A run that its process has lost: its row is for whoever has it; if it is deleted, for this one."""
        return self._database.write(_abandon, charge)

    async def waiting(self, call_id: str) -> Waiting | None:
        """The call, if it is open."""
        row = await self._database.read(
            lambda connection: connection.execute(_WAITING, {"call": call_id}).first()
        )
        return Waiting(*row) if row is not None else None

    def roll_up(self) -> "asyncio.Future[bool]":
        """Add some calls up; False when there are none left."""
        return self._database.write(reports.roll_up, None)

    async def report(self, wanted: Wanted, by: str, span: Span = ALL) -> list[Sum]:
        """The sums by day, project, key, model or label; by label, calls that have any, once for each."""
        return await self._database.read(lambda connection: reports.report(connection, wanted, by, span))


def insert_charges(connection: Connection, charges: Sequence[Charge]) -> None:
    """Write calls that end in the caller's transaction, and settle what was reserved for them."""
    if not charges:
        return
    _ONCE.many(connection, [_row(charge) for charge in charges])
    ended = [charge for charge in charges if charge.reserved and charge.status != OPEN]
    settle(connection, [_spent(each) for each in ended if each.usage is not None or each.status in _RELEASED])
    settle_as_reserved(
        connection, [each.call_id for each in ended if each.usage is None and each.status not in _RELEASED]
    )


def _spent(charge: Charge) -> tuple[str, int, int]:
    if charge.usage is None:
        return charge.call_id, charge.seen.tokens, charge.seen.cost or 0
    return charge.call_id, charge.usage.total_tokens, charge.cost or 0


def insert_orphans(connection: Connection, charges: Sequence[Charge]) -> None:
    """Write those calls whose interaction has been deleted; the others are for whoever has the run now."""
    if charges:
        ids = [charge.call_id for charge in charges]
        there = set(connection.scalars(select(interactions.c.id).where(interactions.c.id.in_(ids))))
        insert_charges(connection, [charge for charge in charges if charge.call_id not in there])


CALLED = (
    *(interactions.c[name] for name in ("status", "project_id", "key_id", "model", "agent")),
    case((interactions.c.status == status.IN_PROGRESS, interactions.c.options)).label("options"),
)
"""What `leave_open` must know of an interaction that is erased, beside its id and its upstream."""


def leave_open(connection: Connection, erased: Sequence[Row[Any]]) -> None:
    """Runs go that had not ended: who has called tells the end, if it lives; what only waited is let go."""
    insert_charges(connection, [_left(row) for row in erased if row.status == status.IN_PROGRESS])
    if waited := [row.id for row in erased if row.status == status.QUEUED]:
        release(connection, waited)


def _left(row: Row[Any]) -> Charge:
    options = orjson.loads(row.options or b"{}")
    labels = options.get("labels")
    return Charge(
        call_id=row.id,
        project_id=row.project_id,
        key_id=row.key_id,
        kind=RUN,
        upstream=row.upstream,
        credential=row.credential,
        model=row.model or row.agent,
        status=OPEN,
        usage=None,
        labels=labels if isinstance(labels, dict) else {},
        cost=None,
    )


_TOLD = ("credential", "status", *COUNTED, "modalities", "cost")
"""What the end of a call tells."""


def _once(dialect: Any) -> Any:
    statement = dialect.insert(usage_ledger).values(at=now(), rolled_up=false())
    return statement.on_conflict_do_update(
        index_elements=[usage_ledger.c.call_id],
        set_={name: statement.excluded[name] for name in _TOLD},
        where=(usage_ledger.c.status == OPEN) & usage_ledger.c.rolled_up.is_(False),
    )


_CALL = ("call_id", "project_id", "key_id", "kind", "upstream", "credential", "model", "status", "cost")
_ONCE = Prepared(
    {dialect.dialect.name: _once(dialect) for dialect in (postgresql, sqlite)},
    (*_CALL, *COUNTED, "labels", "modalities"),
)
_call, _counts = attrgetter(*_CALL), attrgetter(*COUNTED)
_WAITING = select(*(usage_ledger.c[name] for name in Waiting._fields)).where(
    usage_ledger.c.call_id == bindparam("call"),
    usage_ledger.c.status == OPEN,
)


def _row(charge: Charge) -> tuple[Any, ...]:
    usage = charge.usage or NOTHING
    labels = orjson.dumps(charge.labels) if charge.labels else None
    modalities = orjson.dumps(usage.modalities) if usage.modalities else None
    return (*_call(charge), *_counts(usage), labels, modalities)


def _write(connection: Connection, batch: Sequence[Charge]) -> Sequence[None]:
    insert_charges(connection, batch)
    return [None] * len(batch)


def _abandon(connection: Connection, batch: Sequence[Charge]) -> Sequence[None]:
    insert_orphans(connection, batch)
    return [None] * len(batch)
