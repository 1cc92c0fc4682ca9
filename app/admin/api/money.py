"""/budgets and /usage: what may be spent, and what was."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from app.admin.api.gate import Gateway, Input, Operator, Output, Reader, Text
from app.admin.api.pages import PageSize, PageToken, behind, cut, position, token
from app.admin.money import BudgetLevel, Money, Usage

_Given = Annotated[Text | None, Query()]


class BudgetGiven(Input):
    """A budget: an amount of money, in dollars as text, or of tokens, for a period."""

    project: Text
    key_id: Text | None = None
    period: Literal["day", "month", "total"]
    money: Text | None = None
    tokens: int | None = None
    hard: bool = True
    alert_url: Text | None = None


class BudgetShown(Output):
    """A budget as it stands; money is text in US dollars, tokens are numbers."""

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


class BudgetPage(Output):
    """Some budgets, oldest first."""

    budgets: list[BudgetShown]
    next_page_token: str | None = None


class UsageShown(Output):
    """What was used by one of a group; `cost_usd` is null when nothing had a price."""

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


class UsagePage(Output):
    """Some of the groups, by name."""

    usage: list[UsageShown]
    next_page_token: str | None = None


def budgets(gateway: Gateway) -> APIRouter:
    """The routes of budgets."""
    routes = APIRouter(prefix="/budgets", tags=["budgets"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=BudgetPage)
    async def list_budgets(
        actor: Reader, project: _Given = None, page_size: PageSize = 50, page_token: PageToken = None
    ) -> dict[str, Any]:
        start = position(page_token, str)
        found = await Money(*parts, actor).budgets(project)
        rest = behind(found, str(start[0]) if start else "", _age)
        page, more = cut(rest, page_size, lambda last: token(_age(last)))
        return {"budgets": page, "next_page_token": more}

    @routes.post("", response_model=BudgetShown)
    async def set_budget(given: BudgetGiven, actor: Operator) -> BudgetLevel:
        fields = given.model_dump(exclude_unset=True, exclude={"project"})
        return await Money(*parts, actor).set_budget(given.project, fields)

    @routes.delete("/{budget_id}")
    async def remove_budget(budget_id: Text, actor: Operator) -> dict[str, str]:
        await Money(*parts, actor).remove_budget(budget_id)
        return {}

    return routes


def usage(gateway: Gateway) -> APIRouter:
    """The routes of usage."""
    routes = APIRouter(prefix="/usage", tags=["usage"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=UsagePage)
    async def get_usage(
        *,
        actor: Reader,
        by: Text = "day",
        project: _Given = None,
        key_id: _Given = None,
        model: _Given = None,
        label: _Given = None,
        since: _Given = None,
        until: _Given = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
    ) -> dict[str, Any]:
        start = position(page_token, str)
        given = {"project": project, "key_id": key_id, "model": model, "label": label}
        given |= {"since": since, "until": until}
        found: list[Usage] = await Money(*parts, actor).usage(given, by)
        after = str(start[0]) if start else ""
        rest = behind(found, after, lambda each: each.group) if start else sorted(found, key=_group)
        page, more = cut(rest, page_size, lambda last: token(last.group))
        return {"usage": page, "next_page_token": more}

    return routes


def _age(level: BudgetLevel) -> str:
    return f"{level.created_at:015d} {level.id}"


def _group(used: Usage) -> str:
    return used.group
