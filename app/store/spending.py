"""Spending: what calls that go on have reserved of budgets, and what those that ended have spent.

    reserve   before a call: one transaction checks and reserves, on every budget that the call is under
    settle    in the transaction that ends the call: the reservation becomes what was spent
    tally     later: what was spent is added to the period, and thresholds are told of

Only reserve and tally lock anything that others want, the budgets' rows, in the order of their ids and
as one kind of write; settling touches nothing but the call's own rows. So nobody waits in a circle, and a
run can always end. Spent is what the period says and what is settled and not added to it yet: no cent is
in between, as both are seen under the lock.
"""

import calendar
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app import ids
from app.core.budget import DAY, MONTH, Bill, Budget, crossed
from app.store.clock import now
from app.store.reservations import ENDED, HELD
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


class Tally(NamedTuple):
    """Wants what has been settled in a project to be added to what is spent."""

    project_id: str


_FIELDS = tuple(field.name for field in fields(Budget))


def found_by(connection: Connection, query: Any, **asked: Any) -> list[Budget]:
    """The budgets that a query finds."""
    return [Budget(*(getattr(row, name) for name in _FIELDS)) for row in connection.execute(query, asked)]


def _starts_at(period: str, at: int) -> int:
    """When the period that this moment lies in began, in UTC; a budget without periods began at 0."""
    if period == DAY:
        return at - at % _DAY_MS
    if period == MONTH:
        year, month, *_ = time.gmtime(at // 1000)
        return calendar.timegm((year, month, 1, 0, 0, 0)) * 1000
    return 0


_NOW = select(now())
_LOCKED = (
    select(budgets)
    .where(budgets.c.project_id.in_(bindparam("projects", expanding=True)))
    .order_by(budgets.c.id)
    .with_for_update(key_share=True)
)
_THIS = and_(
    budget_periods.c.budget_id == bindparam("budget"), budget_periods.c.starts_at == bindparam("began")
)


def _spend(dialect: Any) -> Any:
    statement = dialect.insert(budget_periods).values(
        budget_id=bindparam("budget"), starts_at=bindparam("began"), spent=bindparam("more"), alerted=0
    )
    return statement.on_conflict_do_update(
        index_elements=list(budget_periods.primary_key.columns),
        set_={"spent": budget_periods.c.spent + statement.excluded.spent},
    ).returning(budget_periods.c.spent, budget_periods.c.alerted)


_SPEND = {dialect.dialect.name: _spend(dialect) for dialect in (postgresql, sqlite)}
_PERIODS = select(budget_periods.c.budget_id, budget_periods.c.starts_at, budget_periods.c.spent).where(
    budget_periods.c.budget_id.in_(bindparam("ids", expanding=True)),
    budget_periods.c.starts_at.in_(bindparam("beginnings", expanding=True)),
)
_RESERVE = insert(reservations)
_TELL = update(budget_periods).where(_THIS).values(alerted=bindparam("told"))


def account(connection: Connection, batch: Sequence[Ask | Tally]) -> Sequence[Refusal | None]:
    """Everything that locks budgets, as one kind of write: they are locked once, in order."""
    found = found_by(connection, _LOCKED, projects=list({each.project_id for each in batch}))
    if not found:
        return [None] * len(batch)
    at = connection.execute(_NOW).scalar_one()
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
        connection.execute(_RESERVE, rows)
    return outcomes


def _fold(connection: Connection, locked: Mapping[str, Budget], at: int) -> None:
    """Add what was settled to the periods in which it was reserved."""
    spent: dict[tuple[str, int], int] = {}
    for row in connection.execute(ENDED, {"ids": list(locked)}):
        key = row.budget_id, row.starts_at
        spent[key] = spent.get(key, 0) + row.amount
    for (budget_id, began), more in sorted(spent.items()):
        this = {"budget": budget_id, "began": began}
        period = connection.execute(_SPEND[connection.dialect.name], {**this, "more": more}).one()
        thresholds = crossed(locked[budget_id].amount, period.spent, period.alerted)
        if thresholds:
            connection.execute(_TELL, {**this, "told": thresholds[-1]})
            alerts = _alerts(locked[budget_id], began, thresholds, period.spent, at)
            insert_deliveries(connection, alerts)


def _alerts(budget: Budget, began: int, thresholds: Iterable[int], spent: int, at: int) -> list[Delivery]:
    """A webhook for each threshold that has been reached, once in a period."""
    url = budget.alert_url
    if url is None:
        return []
    bodies = [wire_webhooks.budget_notice(budget, began, each, spent, at) for each in thresholds]
    return [Delivery(ids.new_id("msg"), budget.project_id, budget.id, url, body) for body in bodies]


def _left(connection: Connection, found: Iterable[Budget], at: int) -> dict[str, int]:
    """What each has left in its present period."""
    return {
        level.budget.id: level.budget.amount - level.spent - level.reserved
        for level in levels(connection, list(found), at)
    }


def levels(connection: Connection, found: list[Budget], at: int | None = None) -> list[Level]:
    """How these stand in their present periods."""
    at = connection.execute(_NOW).scalar_one() if at is None else at
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
