"""`gateway budgets`: how much projects and keys may spend."""

from typing import Annotated

import typer

from app.admin import show
from app.admin.commands.running import Config, Json, Project, run
from app.admin.money import Money

_SHOWN = ("id", "project", "key_id", "period", "unit", "amount", "spent", "reserved", "hard")

app = typer.Typer(help="How much projects and keys may spend.", no_args_is_help=True)


@app.command("set")
def set_(
    *,
    project: Project,
    period: Annotated[str, typer.Option(help="day, month (both in UTC) or total.")],
    money: Annotated[str | None, typer.Option(help="US dollars, like 12.50.")] = None,
    tokens: Annotated[int | None, typer.Option(min=0, help="Tokens, instead of money.")] = None,
    key: Annotated[str | None, typer.Option(help="Only this key's, by its id.")] = None,
    hard: Annotated[
        bool, typer.Option("--hard/--soft", help="Refuse what may not fit, or only tell.")
    ] = True,
    alert_url: Annotated[str | None, typer.Option(help="A webhook that is told at 50, 80 and 100 %.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Make a budget, or change the one of the same project, key, period and unit; noticed within seconds."""
    given = {
        "period": period,
        "money": money,
        "tokens": tokens,
        "key_id": key,
        "hard": hard,
        "alert_url": alert_url,
    }
    show.record(run(config, lambda *gateway: Money(*gateway).set_budget(project, given)), json)


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
