"""Budgets: what is spent in a period, and what calls that go on have reserved of the rest.

    reserve   before a call: one transaction checks and reserves, on every budget that the call is under
    settle    in the transaction that ends the call: the reservation becomes what was spent
    tally     later: what was spent is added to the period, and thresholds are told of

Only reserve and tally lock anything that others want, the budgets' rows, in the order of their ids and
as one kind of write; settling touches nothing but the call's own rows. So nobody waits in a circle, and a
run can always end. Spent is what the period says and what is settled and not added to it yet: no cent is
in between, as both are seen under the lock.
"""

import asyncio
import calendar
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app import ids
from app.core.audit import Entry
from app.core.budget import DAY, MONTH, Bill, Budget, crossed
from app.core.listing import ALL, Span
from app.store import audit
from app.store.clock import now
from app.store.database import Database
from app.store.pages import page
from app.store.reservations import ENDED, HELD, SETTLED, expire, release
from app.store.schema import budget_periods, budgets, reservations
from app.store.webhooks import Delivery, insert_deliveries
from app.wire import webhooks as wire_webhooks

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Ask:
    """A call that wants to be made. Its reservation may be given up after `keep_ms`, if it is no run's."""

    call_id: str
    project_id: str
    key_id: str | None
    bill: Bill
    keep_ms: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """The budget that has no room for a call, or cannot know; `left` is what it has, None then."""

    budget: Budget
    left: int | None


class Level(NamedTuple):
    """A budget, and how it stands in its present period."""

    budget: Budget
    spent: int
    reserved: int


Told = Callable[[Budget | None, Budget], Entry]
"""What the audit log says of a budget that became another."""


class _Tally(NamedTuple):
    project_id: str


class Budgets:
    """Keeps budgets, and what is spent of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, budget: Budget, told: "Told") -> "asyncio.Future[Budget]":
        """A new budget, which counts the calls that begin from now on; or another amount for the same one."""
        return self._database.write(_put, (budget, told))

    def remove(self, budget_id: str, told: Callable[[Budget], Entry]) -> "asyncio.Future[bool]":
        """End a budget; False when there is none of this id."""
        return self._database.write(_remove, (budget_id, told))

    async def all(self, project_id: str | None = None, span: Span = ALL) -> list[Level]:
        """The budgets of a project, or of all, as they stand; oldest first."""
        some = select(budgets)
        if project_id is not None:
            some = some.where(budgets.c.project_id == project_id)
        query = page(some, [budgets.c.created_at, budgets.c.id], span)
        return await self._database.read(lambda connection: _levels(connection, _found(connection, query)))

    async def level(self, budget_id: str) -> Level | None:
        """One budget, as it stands."""
        query = select(budgets).where(budgets.c.id == budget_id)
        found = await self._database.read(lambda connection: _levels(connection, _found(connection, query)))
        return found[0] if found else None

    async def projects(self) -> frozenset[str]:
        """The projects that have any budget."""
        query = select(budgets.c.project_id).distinct()
        return await self._database.read(lambda connection: frozenset(connection.scalars(query)))

    def reserve(self, ask: Ask) -> "asyncio.Future[Refusal | None]":
        """Reserve what a call may take of every budget it is under, or of none; None when it may be made."""
        return self._accounted(ask)

    def tally(self, project_id: str) -> "asyncio.Future[Refusal | None]":
        """Add what has been settled to what is spent, and have those told who want to know."""
        return self._accounted(_Tally(project_id))

    def _accounted(self, one: "Ask | _Tally") -> "asyncio.Future[Refusal | None]":
        return self._database.write(_account, one)

    def release(self, call_id: str) -> "asyncio.Future[None]":
        """Give up what was reserved for a call that is not made."""
        return self._database.write(release, call_id)

    def expire(self) -> "asyncio.Future[bool]":
        """Give up what calls have reserved whose process died; False when there is no more of it."""
        return self._database.write(expire, None)

    async def untallied(self) -> list[str]:
        """The projects in which something is settled and not added yet."""
        query = (
            select(budgets.c.project_id)
            .where(
                exists().where(reservations.c.budget_id == budgets.c.id, reservations.c.expires_at == SETTLED)
            )
            .distinct()
        )
        return await self._database.read(lambda connection: list(connection.scalars(query)))


_NAMES = tuple(field.name for field in fields(Budget))


def _found(connection: Connection, query: Any, **asked: Any) -> list[Budget]:
    return [Budget(*(getattr(row, name) for name in _NAMES)) for row in connection.execute(query, asked)]


_SAME = (
    select(budgets)
    .where(
        budgets.c.project_id == bindparam("project"),
        func.coalesce(budgets.c.key_id, "") == bindparam("key"),
        budgets.c.period == bindparam("every"),
        budgets.c.unit == bindparam("in_"),
    )
    .with_for_update()
)


def _put(connection: Connection, batch: Sequence[tuple[Budget, Told]]) -> Sequence[Budget]:
    return [_stored(connection, budget, told) for budget, told in batch]


def _stored(connection: Connection, budget: Budget, told: Told) -> Budget:
    same = {
        "project": budget.project_id,
        "key": budget.key_id or "",
        "every": budget.period,
        "in_": budget.unit,
    }
    before = next(iter(_found(connection, _SAME, **same)), None)
    if before is None:
        connection.execute(insert(budgets), {name: getattr(budget, name) for name in _NAMES})
    else:
        budget = replace(budget, id=before.id, created_at=before.created_at)
        new = {"amount": budget.amount, "hard": budget.hard, "alert_url": budget.alert_url}
        connection.execute(update(budgets).where(budgets.c.id == before.id).values(new))
    if before is not None and before.amount != budget.amount:  # its thresholds are others now
        connection.execute(
            update(budget_periods).where(budget_periods.c.budget_id == before.id).values(alerted=0)
        )
    audit.append(connection, [told(before, budget)])
    return budget


def _remove(connection: Connection, batch: Sequence[tuple[str, Callable[[Budget], Entry]]]) -> Sequence[bool]:
    held = []
    for budget_id, told in batch:
        before = _found(connection, select(budgets).where(budgets.c.id == budget_id).with_for_update())
        connection.execute(delete(budgets).where(budgets.c.id == budget_id))
        audit.append(connection, [told(each) for each in before])
        held.append(bool(before))
    return held


def _starts_at(period: str, at: int) -> int:
    """When the period that this moment lies in began, in UTC; a budget without periods began at 0."""
    if period == DAY:
        return at - at % _DAY_MS
    if period == MONTH:
        year, month, *_ = time.gmtime(at // 1000)
        return calendar.timegm((year, month, 1, 0, 0, 0)) * 1000
    return 0


_LOCKED = (
    select(budgets)
    .where(budgets.c.project_id.in_(bindparam("projects", expanding=True)))
    .order_by(budgets.c.id)
    .with_for_update(key_share=True)
)
_THIS = and_(
    budget_periods.c.budget_id == bindparam("budget"), budget_periods.c.starts_at == bindparam("began")
)
_BEGIN = {
    dialect.dialect.name: dialect.insert(budget_periods)
    .values(budget_id=bindparam("budget"), starts_at=bindparam("began"), spent=0, alerted=0)
    .on_conflict_do_nothing()
    for dialect in (postgresql, sqlite)
}
_SPEND = update(budget_periods).where(_THIS).values(spent=budget_periods.c.spent + bindparam("more"))
_PERIOD = select(budget_periods.c.spent, budget_periods.c.alerted).where(_THIS)
_PERIODS = select(budget_periods.c.budget_id, budget_periods.c.starts_at, budget_periods.c.spent).where(
    budget_periods.c.budget_id.in_(bindparam("ids", expanding=True)),
    budget_periods.c.starts_at.in_(bindparam("beginnings", expanding=True)),
)
_TELL = update(budget_periods).where(_THIS).values(alerted=bindparam("told"))


def _account(connection: Connection, batch: Sequence[Ask | _Tally]) -> Sequence[Refusal | None]:
    """Everything that locks budgets, as one kind of write: they are locked once, in order."""
    found = _found(connection, _LOCKED, projects=list({each.project_id for each in batch}))
    if not found:
        return [None] * len(batch)
    at = connection.execute(select(now())).scalar_one()
    _fold(connection, {budget.id: budget for budget in found}, at)
    left = _left(connection, found, at)
    outcomes = [_reserved(each, found, left) if isinstance(each, Ask) else None for each in batch]
    rows = [
        row
        for each, refusal in zip(batch, outcomes, strict=True)
        if isinstance(each, Ask) and refusal is None
        for row in _reservations(each, found, at)
    ]
    if rows:
        connection.execute(insert(reservations), rows)
    return outcomes


def _fold(connection: Connection, locked: Mapping[str, Budget], at: int) -> None:
    """Add what was settled to the periods in which it was reserved."""
    spent: dict[tuple[str, int], int] = {}
    for row in connection.execute(ENDED, {"ids": list(locked)}):
        key = row.budget_id, row.starts_at
        spent[key] = spent.get(key, 0) + row.amount
    for (budget_id, began), more in sorted(spent.items()):
        this = {"budget": budget_id, "began": began}
        connection.execute(_BEGIN[connection.dialect.name], this)
        connection.execute(_SPEND, {**this, "more": more})
        _tell(connection, locked[budget_id], this, at)


def _tell(connection: Connection, budget: Budget, this: Mapping[str, Any], at: int) -> None:
    """Have a webhook sent for each threshold that has been reached, once in a period."""
    spent, told = connection.execute(_PERIOD, this).one()
    thresholds = crossed(budget.amount, spent, told)
    if not thresholds:
        return
    connection.execute(_TELL, {**this, "told": thresholds[-1]})
    if budget.alert_url is not None:
        insert_deliveries(connection, [_alert(budget, this["began"], each, spent, at) for each in thresholds])


def _alert(budget: Budget, began: int, threshold: int, spent: int, at: int) -> Delivery:
    body = wire_webhooks.budget_notice(budget, began, threshold, spent, at)
    return Delivery(ids.new_id("msg"), budget.project_id, budget.id, budget.alert_url or "", body)


def _left(connection: Connection, found: Iterable[Budget], at: int) -> dict[str, int]:
    """What each has left in its present period."""
    return {
        level.budget.id: level.budget.amount - level.spent - level.reserved
        for level in _levels(connection, list(found), at)
    }


def _levels(connection: Connection, found: list[Budget], at: int | None = None) -> list[Level]:
    at = connection.execute(select(now())).scalar_one() if at is None else at
    these = [(budget.id, _starts_at(budget.period, at)) for budget in found]
    ids_ = [budget_id for budget_id, _ in these]
    rows = connection.execute(HELD, {"ids": ids_})
    held = {(row.budget_id, row.starts_at): int(row.amount) for row in rows}
    rows = connection.execute(_PERIODS, {"ids": ids_, "beginnings": list({began for _, began in these})})
    spent = {(row.budget_id, row.starts_at): row.spent for row in rows}
    return [
        Level(budget, spent.get(this, 0), held.get(this, 0))
        for budget, this in zip(found, these, strict=True)
    ]


def _under(ask: Ask, found: Iterable[Budget]) -> list[Budget]:
    return [each for each in found if each.project_id == ask.project_id and each.key_id in (None, ask.key_id)]


def _reserved(ask: Ask, found: Iterable[Budget], left: dict[str, int]) -> Refusal | None:
    """Take a call's share of what is left, unless a hard budget has too little."""
    mine = _under(ask, found)
    for budget in mine:
        taken = budget.takes(ask.bill)
        if budget.hard and (taken is None or taken > left[budget.id]):
            return Refusal(budget, None if taken is None else max(0, left[budget.id]))
    for budget in mine:
        left[budget.id] -= budget.takes(ask.bill) or 0
    return None


def _reservations(ask: Ask, found: Iterable[Budget], at: int) -> list[dict[str, Any]]:
    return [
        {
            "call_id": ask.call_id,
            "budget_id": budget.id,
            "starts_at": _starts_at(budget.period, at),
            "amount": budget.takes(ask.bill) or 0,
            "expires_at": at + ask.keep_ms,
        }
        for budget in _under(ask, found)
    ]
