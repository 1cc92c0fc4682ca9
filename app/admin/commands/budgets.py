"""`gateway budgets`: how much projects and keys may spend."""

from typing import Annotated

import typer

from app.admin import show
from app.admin.commands.asking import asking
from app.admin.commands.running import Config, Json, run
from app.admin.money import Money
from app.admin.questions import BudgetGiven

_SHOWN = ("id", "project", "key_id", "period", "unit", "amount", "spent", "reserved", "hard")

app = typer.Typer(help="How much projects and keys may spend.", no_args_is_help=True)


@app.command("set")
@asking(BudgetGiven)
def set_(*, asked: BudgetGiven, json: Json = False, config: Config = None) -> None:
    """Make a budget, or change the one of the same project, key, period and unit; noticed within seconds."""
    show.record(run(config, lambda *gateway: Money(*gateway).set_budget(asked)), json)


@app.command("list")
def list_(
    project: Annotated[str | None, typer.Option("--project", "-p", help="Only this project's.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """List budgets, as they stand in their present period."""
    show.rows(run(config, lambda *gateway: Money(*gateway).budgets(project)), json, _SHOWN)


@app.command("remove")
def remove(
    budget_id: Annotated[str, typer.Argument(help="The budget's id, as in `budgets list`.")],
    config: Config = None,
) -> None:
    """End a budget."""
    run(config, lambda *gateway: Money(*gateway).remove_budget(budget_id))
