"""Budgets: kept here. What is reserved and spent of them is in app/store/spending.py."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import fields, replace

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from app.core.audit import Entry
from app.core.budget import Budget
from app.core.listing import ALL, Span
from app.store import audit
from app.store.database import Database
from app.store.pages import page
from app.store.reservations import SETTLED, expire, release
from app.store.schema import budget_periods, budgets, reservations
from app.store.spending import Ask, Level, Refusal, Tally, account, found_by, levels

Told = Callable[[Budget | None, Budget], Entry]
"""What the audit log says of a budget that became another."""


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
        return await self._database.read(lambda connection: levels(connection, found_by(connection, query)))

    async def level(self, budget_id: str) -> Level | None:
        """One budget, as it stands."""
        query = select(budgets).where(budgets.c.id == budget_id)
        found = await self._database.read(lambda connection: levels(connection, found_by(connection, query)))
        return found[0] if found else None

    async def projects(self) -> frozenset[str]:
        """The projects that have any budget."""
        query = select(budgets.c.project_id).distinct()
        return await self._database.read(lambda connection: frozenset(connection.scalars(query)))

    def reserve(self, ask: Ask) -> "asyncio.Future[Refusal | None]":
        """Reserve what a call may take of every budget it is under, or of none; None when it may be made."""
        return self._database.write(account, ask)

    def tally(self, project_id: str) -> "asyncio.Future[Refusal | None]":
        """Add what has been settled to what is spent, and have those told who want to know."""
        return self._database.write(account, Tally(project_id))

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


_FIELDS = tuple(field.name for field in fields(Budget))
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
    before = next(iter(found_by(connection, _SAME, **same)), None)
    if before is None:
        connection.execute(insert(budgets), {name: getattr(budget, name) for name in _FIELDS})
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
        before = found_by(connection, select(budgets).where(budgets.c.id == budget_id).with_for_update())
        connection.execute(delete(budgets).where(budgets.c.id == budget_id))
        audit.append(connection, [told(each) for each in before])
        held.append(bool(before))
    return held
