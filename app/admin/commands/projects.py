"""`gateway projects`: tenants, and what their keys may do."""

from typing import Annotated

import typer

from app.admin import show
from app.admin.commands import options
from app.admin.commands.options import Labels, Owner
from app.admin.commands.running import Config, Json, run
from app.admin.records import Records
from app.admin.teams import Teams

_LONGEST = 36_500
_SHOWN = ("name", "id", "created_at", "retention_days", "owner")

app = typer.Typer(help="Tenants: they own keys and interactions.", no_args_is_help=True)


@app.command("create")
@options.with_policy
def create(
    *,
    name: Annotated[str, typer.Argument(help="The project's name.")],
    owner: Owner = None,
    label: Labels = None,
    retention_days: Annotated[
        int | None,
        typer.Option(min=0, max=_LONGEST, help="Keep interactions this many days; 0 keeps no content."),
    ] = None,
    json: Json = False,
    config: Config = None,
    policy: dict[str, object],
) -> None:
    """Make a project."""
    given = options.given(
        owner=owner, labels=options.labels(label), retention_days=retention_days, policy=policy
    )
    show.record(run(config, lambda *gateway: Teams(*gateway).create_project(name, given)), json)


@app.command("list")
def list_(json: Json = False, config: Config = None) -> None:
    """List the projects."""
    show.rows(run(config, lambda *gateway: Teams(*gateway).projects()), json, _SHOWN)


@app.command("set")
@options.with_policy
def set_(
    *,
    name: Annotated[str, typer.Argument(help="The project's name or id.")],
    owner: Owner = None,
    label: Labels = None,
    retention_days: Annotated[
        int | None,
        typer.Option(
            min=-1,
            max=_LONGEST,
            help="Keep interactions this many days; 0 keeps no content, -1 is the setting of the gateway.",
        ),
    ] = None,
    config: Config = None,
    policy: dict[str, object],
) -> None:
    """Change a project: what is given, and nothing else."""
    changes = options.given(owner=owner, labels=options.labels(label), policy=policy)
    if retention_days is not None:
        changes["retention_days"] = None if retention_days < 0 else retention_days
    if not changes:
        raise typer.BadParameter("say what to change")
    run(config, lambda *gateway: Teams(*gateway).set_project(name, changes))


@app.command("delete")
def delete(
    name: Annotated[str, typer.Argument(help="The project's name or id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Yes, everything of it.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Delete a project everywhere, with all it has here and at upstreams; its audit log stays."""
    if not yes:
        raise typer.BadParameter("this cannot be undone: say --yes")
    show.record(run(config, lambda *gateway: Records(*gateway).delete_project(name)), json)


@app.command("webhook-secret")
def webhook_secret(
    name: Annotated[str, typer.Argument(help="The project's name or id.")], config: Config = None
) -> None:
    """Show what receivers verify a project's webhooks with."""
    typer.echo(run(config, lambda *gateway: Teams(*gateway).webhook_secret(name)))
