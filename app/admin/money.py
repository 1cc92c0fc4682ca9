"""Money: budgets, and what was used and what it cost."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, timedelta
from decimal import Decimal
from urllib.parse import urlsplit

from app import ids
from app.admin.operations import Absent, OperationError, Operations
from app.admin.questions import EPOCH, BudgetGiven, UsageAsked
from app.core import budget as budgets
from app.core.audit import Actor, Entry
from app.core.budget import MONEY, TOKENS, Budget
from app.core.listing import ALL, Span
from app.core.model import Json
from app.egress import Guard
from app.settings import Settings
from app.store.budgets import Budgets
from app.store.database import Database
from app.store.directory import Directory
from app.store.ledger import Ledger
from app.store.reports import Counts, Sum, Wanted
from app.store.spending import Level

_MOST = 2**53
_DOLLARS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class BudgetLevel:
    """A budget as it stands in its present period; money is text in US dollars, tokens are numbers.

    `alert_host` is who is told: the rest of the address may be a secret.
    """

    id: str
    project: str
    key_id: str | None
    period: str
    unit: str
    amount: str | int
    spent: str | int
    reserved: str | int
    hard: bool
    alert_host: str | None
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage(Counts):
    """The calls of a day, project, key, model or label.

    `cost_usd` is text; it is None when no call had a price, and without the `unpriced` ones when some had.
    """

    cost_usd: str | None


class Money:
    """What an operator can do with budgets, and ask about usage. A change is one record in the audit log."""

    def __init__(self, settings: Settings, database: Database, actor: Actor) -> None:
        self._guard = Guard(settings.egress)
        self._gateway = Operations(settings, database)
        self._directory = Directory(database)
        self._budgets = Budgets(database)
        self._ledger = Ledger(database)
        self._actor = actor

    async def budgets(self, project: str | None = None, span: Span = ALL) -> list[BudgetLevel]:
        """The budgets of a project, or of all, as they stand; oldest first."""
        found = await self._budgets.all(await self._gateway.project_id(project), span)
        names = await self._directory.names({level.budget.project_id for level in found})
        return [_level(each, names) for each in found]

    async def set_budget(self, given: BudgetGiven) -> BudgetLevel:
        """Make a budget, or change the one of the same project, key, period and unit."""
        found = await self._gateway.project(given.project)
        if given.key_id is not None and not await self._directory.has_key(found.id, given.key_id):
            raise Absent(f"The project has no key '{given.key_id}'.")
        if given.alert_url is not None:
            self._check_alert(given.alert_url)
        unit, amount = _amount(given)
        wanted = Budget(
            id=ids.new_id("bud"),
            project_id=found.id,
            key_id=given.key_id,
            period=given.period,
            unit=unit,
            amount=amount,
            hard=given.hard,
            alert_url=given.alert_url,
            created_at=time.time_ns() // 1_000_000,
        )
        stored = await self._budgets.put(wanted, self._change)
        level = await self._budgets.level(stored.id) or Level(stored, 0, 0)
        return _level(level, {found.id: found.name})

    async def remove_budget(self, budget_id: str) -> None:
        """End a budget; what is under it goes on without."""
        if not await self._budgets.remove(budget_id, lambda before: self._change(before, None)):
            raise Absent(f"There is no budget '{budget_id}'.")

    async def usage(self, asked: UsageAsked, span: Span = ALL) -> list[Usage]:
        """What was used, by day, project, key, model or label; a span begins behind such a group."""
        project_id = await self._gateway.project_id(asked.project)
        chosen = asked.model_dump(exclude={"project", "by"})
        wanted = Wanted(project_id, **{name: chosen[name] for name in Wanted._fields[1:]})
        if asked.by == "day" and span.after is not None:
            span = Span(span.limit, (_day(span.after[0]),))
        return [_usage(each, asked.by) for each in await self._ledger.report(wanted, asked.by, span)]

    def _check_alert(self, url: str) -> None:
        if not self._guard.enabled:
            raise OperationError("Webhooks are turned off here: 'egress.enabled'.")
        self._guard.check(url, "alert_url")

    def _change(self, before: Budget | None, after: Budget | None) -> Entry:
        changed = after or before
        assert changed is not None  # noqa: S101 - a change is from something or to something
        action = "budget.set" if after is not None else "budget.remove"
        details = {
            name: _told(each) for name, each in (("before", before), ("after", after)) if each is not None
        }
        return Entry(changed.project_id, self._actor, action, changed.id, details=details)


def _amount(given: BudgetGiven) -> tuple[str, int]:
    if (given.money is None) is (given.tokens is None):
        raise OperationError("A budget is either in money or in tokens.")
    if given.money is None:
        unit, text, amount = TOKENS, str(given.tokens), Decimal(given.tokens or 0)
    else:
        unit, text = MONEY, given.money
        amount = Decimal(text) * 1_000_000 if _DOLLARS.fullmatch(text) else Decimal(-1)
    if not 0 <= amount <= _MOST:
        example = "12.50, in US dollars" if unit == MONEY else "1000000"
        raise OperationError(f"'{text[:40]}' is no amount; write it like {example}.")
    return unit, int(amount)


def _day(text: object) -> int:
    """The day that a page begins behind."""
    try:
        return (date.fromisoformat(str(text)) - EPOCH).days
    except ValueError:
        raise OperationError("'page_token' is not one of this list.") from None


def _dollars(micros: int) -> str:
    return budgets.shown(MONEY, micros).removeprefix("$")


def _in(unit: str, amount: int) -> str | int:
    return _dollars(amount) if unit == MONEY else amount


def _told(budget: Budget) -> Json:
    """A budget in the audit log; of the URL only that there is one, as it may hold a secret."""
    return {
        "key_id": budget.key_id,
        "period": budget.period,
        "unit": budget.unit,
        "amount": budget.amount,
        "hard": budget.hard,
        "alerts": budget.alert_url is not None,
    }


def _level(level: Level, names: Mapping[str, str]) -> BudgetLevel:
    budget = level.budget
    return BudgetLevel(
        id=budget.id,
        project=names.get(budget.project_id, budget.project_id),
        key_id=budget.key_id,
        period=budget.period,
        unit=budget.unit,
        amount=_in(budget.unit, budget.amount),
        spent=_in(budget.unit, level.spent),
        reserved=_in(budget.unit, level.reserved),
        hard=budget.hard,
        alert_host=urlsplit(budget.alert_url).hostname if budget.alert_url is not None else None,
        created_at=budget.created_at,
    )


def _usage(found: Sum, by: str) -> Usage:
    counts = {each.name: getattr(found, each.name) for each in fields(Counts)}
    if by == "day":
        counts["group"] = (EPOCH + timedelta(days=int(found.group))).isoformat()
    return Usage(**counts, cost_usd=None if found.unpriced == found.calls else _dollars(found.cost))
