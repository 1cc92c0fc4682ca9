"""`gateway tokens`: who may use the admin API."""

import sys
from typing import Annotated

import typer

from app.admin import show
from app.admin.commands.running import Config, Json, run
from app.admin.tokens import Tokens

_SHOWN = ("id", "name", "role", "created_at", "expires_at", "revoked_at")

app = typer.Typer(help="The tokens of the admin API.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose token it is.")],
    role: Annotated[str, typer.Option(help="owner, operator, auditor or viewer.")],
    days: Annotated[int | None, typer.Option(min=1, max=36_500, help="How long it is valid.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Make a token and print it: the only time that it is shown."""
    made = run(config, lambda *gateway: Tokens(*gateway).create(name, role, days))
    if json or not sys.stdout.isatty():
        show.record(made, json=True)
    else:
        typer.echo(made.token)


@app.command("list")
def list_(json: Json = False, config: Config = None) -> None:
    """List tokens, without the tokens themselves."""
    show.rows(run(config, lambda *gateway: Tokens(*gateway).tokens()), json, _SHOWN)


@app.command("revoke")
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="The token's id, as in `tokens list`.")],
    config: Config = None,
) -> None:
    """End a token's validity, in every process within seconds."""
    run(config, lambda *gateway: Tokens(*gateway).revoke(token_id))
