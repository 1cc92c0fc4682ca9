"""/budgets and /usage: what may be spent, and what was."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.admin.api.gate import Gateway, Operator, Output, Reader
from app.admin.api.pages import Paged, PagedOfProject, page
from app.admin.money import BudgetLevel, Money, Usage
from app.admin.questions import BudgetGiven, Text, UsageAsked


class BudgetPage(Output):
    """Some budgets, oldest first."""

    budgets: list[BudgetLevel]
    next_page_token: str | None = None


class UsagePageAsked(UsageAsked, Paged):
    """Which calls, a page of groups at a time."""


class UsagePage(Output):
    """Some of the groups, in their order."""

    usage: list[Usage]
    next_page_token: str | None = None


def budgets(gateway: Gateway) -> APIRouter:
    """The routes of budgets."""
    routes = APIRouter(prefix="/budgets", tags=["budgets"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=BudgetPage)
    async def list_budgets(actor: Reader, asked: Annotated[PagedOfProject, Query()]) -> dict[str, Any]:
        found = await Money(*parts, actor).budgets(asked.project, asked.span(int, str))
        return page("budgets", found, asked, lambda last: (last.created_at, last.id))

    @routes.post("")
    async def set_budget(given: BudgetGiven, actor: Operator) -> BudgetLevel:
        return await Money(*parts, actor).set_budget(given)

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
    async def get_usage(actor: Reader, asked: Annotated[UsagePageAsked, Query()]) -> dict[str, Any]:
        found = await Money(*parts, actor).usage(asked, asked.span(str))
        return page("usage", found, asked, lambda last: (last.group,))

    return routes
