"""Money: budgets, and what was used and what it cost."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from types import MappingProxyType

from app import ids
from app.admin.operations import Absent, OperationError, Operations
from app.core import budget as budgets
from app.core.audit import Actor, Entry
from app.core.budget import MONEY, PERIODS, TOKENS, Budget
from app.core.model import Json
from app.egress import Guard
from app.settings import Settings
from app.store.budgets import Budgets, Level
from app.store.database import Database
from app.store.keys import Key, Keys
from app.store.ledger import Ledger
from app.store.reports import Sum, Wanted

BY = ("day", "project", "key", "model", "label")
"""What a report can be by."""

_EPOCH = date(1970, 1, 1)
_MOST = 2**53
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class BudgetLevel:
    """A budget as it stands in its present period; money is text in US dollars, tokens are numbers."""

    id: str
    project: str
    key_id: str | None
    period: str
    unit: str
    amount: str | int
    spent: str | int
    reserved: str | int
    hard: bool
    alert_url: str | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Usage:
    """The calls of a day, project, key, model or label.

    `cost_usd` is text; it is None when no call had a price, and without the `unpriced` ones when some had.
    """

    group: str
    calls: int
    unpriced: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    thought_tokens: int
    tool_use_tokens: int
    total_tokens: int
    grounding_calls: int
    cost_usd: str | None


class Money:
    """What an operator can do with budgets, and ask about usage. A change is one record in the audit log."""

    def __init__(self, settings: Settings, database: Database, actor: Actor) -> None:
        self._guard = Guard(settings.egress)
        self._gateway = Operations(settings, database)
        self._keys = Keys(database)
        self._budgets = Budgets(database)
        self._ledger = Ledger(database)
        self._actor = actor

    async def budgets(self, project: str | None = None) -> list[BudgetLevel]:
        """The budgets of a project, or of all, as they stand."""
        project_id = (await self._gateway.project(project)).id if project else None
        names = await self._names()
        return [_level(found, names) for found in await self._budgets.all(project_id)]

    async def set_budget(self, project: str, given: Json) -> BudgetLevel:
        """Make a budget, or change the one of the same project, key, period and unit.

        `given` has period (day, month, total), money (dollars, as text) or tokens, and may have key_id,
        hard and alert_url.
        """
        found = await self._gateway.project(project)
        key_id, url = given.get("key_id"), given.get("alert_url")
        if key_id is not None:
            await self._key_of(found.id, key_id)
        if url is not None:
            self._check_alert(url)
        unit, amount = _amount(given)
        wanted = Budget(
            id=ids.new_id("bud"),
            project_id=found.id,
            key_id=key_id,
            period=_period(given),
            unit=unit,
            amount=amount,
            hard=bool(given.get("hard", True)),
            alert_url=url,
            created_at=time.time_ns() // 1_000_000,
        )
        stored = await self._budgets.put(wanted, self._change)
        levels = {level.budget.id: level for level in await self._budgets.all(found.id)}
        return _level(levels.get(stored.id, Level(stored, 0, 0)), {found.id: found.name})

    async def remove_budget(self, budget_id: str) -> None:
        """End a budget; what is under it goes on without."""
        if not await self._budgets.remove(budget_id, lambda before: self._change(before, None)):
            raise Absent(f"There is no budget '{budget_id}'.")

    async def usage(self, given: Mapping[str, str | None], by: str) -> list[Usage]:
        """What was used, by day, project, key, model or label.

        `given` may have project, key_id, model, label (name=value), since and until (dates, both included).
        """
        if by not in BY:
            raise OperationError(f"Usage is by {', '.join(BY)}.")
        project = given.get("project")
        wanted = Wanted(
            project_id=(await self._gateway.project(project)).id if project else None,
            key_id=given.get("key_id"),
            model=given.get("model"),
            label=given.get("label"),
            since=_day(given.get("since")),
            until=_day(given.get("until")),
        )
        names = await self._names() if by == "project" else {}
        return [_usage(each, by, names) for each in await self._ledger.report(wanted, by)]

    async def _names(self) -> Mapping[str, str]:
        return {project.id: project.name for project in await self._keys.projects()}

    async def _key_of(self, project_id: str, key_id: str) -> Key:
        for key in await self._keys.issued(project_id):
            if key.id == key_id:
                return key
        raise Absent(f"The project has no key '{key_id}'.")

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


_SCALED = MappingProxyType({MONEY: 1_000_000, TOKENS: 1})


def _amount(given: Json) -> tuple[str, int]:
    if (given.get(MONEY) is None) is (given.get(TOKENS) is None):
        raise OperationError("A budget is either in money or in tokens.")
    unit = MONEY if given.get(MONEY) is not None else TOKENS
    text = str(given[unit])
    try:
        amount = Decimal(text) * _SCALED[unit] if _AMOUNT.fullmatch(text) or text.isdigit() else Decimal(-1)
    except InvalidOperation:
        amount = Decimal(-1)
    if amount != int(amount) or not 0 <= amount <= _MOST:
        example = "12.50, in US dollars" if unit == MONEY else "1000000"
        raise OperationError(f"'{text[:40]}' is no amount; write it like {example}.")
    return unit, int(amount)


def _period(given: Json) -> str:
    period = given.get("period")
    if period not in PERIODS:
        raise OperationError(f"The period of a budget is {', '.join(PERIODS)}.")
    return str(period)


def _day(text: str | None) -> int | None:
    """Days since 1970, from a date like 2026-01-31, `today` or 30d for so many days ago; in UTC."""
    if text is None:
        return None
    today = datetime.now(UTC).date()
    if text == "today":
        return (today - _EPOCH).days
    if re.fullmatch(r"[0-9]{1,5}d", text):
        return (today - _EPOCH).days - int(text[:-1])
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise OperationError(f"'{text[:40]}' is no day; write 2026-01-31, today or 30d.") from None


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
        alert_url=budget.alert_url,
        created_at=budget.created_at,
    )


def _usage(found: Sum, by: str, names: Mapping[str, str]) -> Usage:
    group = found.group
    if by == "day":
        group = (_EPOCH + timedelta(days=int(group))).isoformat()
    return Usage(
        group=names.get(group, group),
        calls=found.calls,
        unpriced=found.unpriced,
        input_tokens=found.input_tokens,
        cached_tokens=found.cached_tokens,
        output_tokens=found.output_tokens,
        thought_tokens=found.thought_tokens,
        tool_use_tokens=found.tool_use_tokens,
        total_tokens=found.total_tokens,
        grounding_calls=found.grounding_calls,
        cost_usd=None if found.unpriced == found.calls else _dollars(found.cost),
    )
