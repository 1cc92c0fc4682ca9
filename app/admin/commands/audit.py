"""`gateway audit`: who did what, and whether that is still what was written down."""

import sys
from typing import Annotated

import typer

from app.admin import show
from app.admin.audits import Audits
from app.admin.commands.asking import asking
from app.admin.commands.running import Config, Json, Project, run
from app.admin.questions import AuditAsked
from app.core.audit import Actor
from app.core.listing import Span
from app.settings import Settings
from app.store.database import Database

_LISTED = ("at", "project_id", "seq", "actor_kind", "actor", "action", "target", "outcome", "request_id")
_VERIFIED = ("project_id", "ok", "records", "unsealed", "first_bad", "text", "hash")

_Project = Annotated[
    str | None,
    typer.Option("--project", "-p", help="Only this project's; `gateway` for what is no project's."),
]

app = typer.Typer(help="The audit log.", no_args_is_help=True)


@app.command("list")
@asking(AuditAsked)
def list_(
    *,
    asked: AuditAsked,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many, newest first.")] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List who did what, newest first."""
    found = run(config, lambda *gateway: Audits(*gateway).records(asked, Span(limit)))
    show.rows(found, json, _LISTED)


@app.command("verify")
def verify(project: _Project = None, json: Json = False, config: Config = None) -> None:
    """Follow the chains from the first record to the signed end; exit code 1 when something is wrong."""
    found = run(config, lambda *gateway: Audits(*gateway).verify(project))
    show.rows(found, json, _VERIFIED)
    if not all(chain.ok for chain in found):
        raise typer.Exit(1)


@app.command("export")
def export(
    project: _Project = None,
    after: Annotated[int, typer.Option(min=0, help="Behind the project's record with this number.")] = 0,
    config: Config = None,
) -> None:
    """Print the sealed records with their hashes as lines of JSON: docs/audit.md says how to verify them."""

    async def operation(settings: Settings, database: Database, actor: Actor) -> None:
        async for line in Audits(settings, database, actor).export(project, after):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    run(config, operation)


@app.command("accept")
def accept(
    project: Project,
    reason: Annotated[str, typer.Option(help="Why: it stands in the audit log.")],
    config: Config = None,
) -> None:
    """Sign a broken chain as it ends now, so that it is sealed again."""
    run(config, lambda *gateway: Audits(*gateway).accept(project, reason))
