"""`gateway`: the command line. Each command is one operation and a way to show it.

Exit codes: 0 done, 1 not possible (one line says why), 2 wrong usage or wrong settings.
"""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from app import log
from app import settings as app_settings
from app.admin import server, show
from app.admin.checkup import Checkup
from app.admin.commands import audit, budgets, interactions, keys, pepper, projects, running, tokens, usage
from app.admin.commands.running import Config, Json
from app.admin.operations import OperationError, Operations, explain
from app.errors import ApiError
from app.settings import Settings, SettingsError
from app.store.database import Database

R = TypeVar("R")

app = typer.Typer(
    help="The Interactions Gateway: your own Gemini Interactions API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(projects.app, name="projects")
app.add_typer(keys.app, name="keys")
app.add_typer(interactions.app, name="interactions")
app.add_typer(audit.app, name="audit")
app.add_typer(tokens.app, name="tokens")
app.add_typer(budgets.app, name="budgets")
app.add_typer(pepper.app, name="pepper")
app.command("usage")(usage.usage)


def main() -> None:
    """The entry point: runs a command and turns what cannot be done into an exit code."""
    log.logger().addHandler(logging.NullHandler())  # a command tells itself what went wrong
    try:
        app()
    except SettingsError as error:
        for line in error.lines:
            typer.echo(f"settings: {line}", err=True)
        sys.exit(2)
    except (OperationError, ApiError, OSError) as error:
        typer.echo(f"gateway: {explain(error)}", err=True)
        sys.exit(1)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 1,
    config: Config = None,
) -> None:
    """Bring the database up to date and serve."""
    settings = _settings(config)
    app_settings.check_host(settings, host)
    log.configure(settings.log_level, settings.log_format)
    port = server.claim(host, port)
    first = running.run(config, server.prepare)
    show.banner(settings, first, host, port)
    server.serve(settings, host, port, workers)


@app.command()
def migrate(
    restored: Annotated[
        bool, typer.Option("--restored", help="This is a backup: end what was under way when it was made.")
    ] = False,
    config: Config = None,
) -> None:
    """Bring the database up to date."""

    async def operation(operations: Operations) -> tuple[str, int]:
        return operations.migrate(), operations.end_restored() if restored else 0

    revision, ended = _run(_settings(config), operation)
    typer.echo(f"The database is at revision {revision}." + (f" Ended: {ended}." if restored else ""))


@app.command()
def doctor(json: Json = False, config: Config = None) -> None:
    """Look at everything that could be wrong; exit code 1 when something is."""
    findings = running.run(config, lambda *gateway: Checkup(*gateway).findings())
    show.rows(findings, json, ("subject", "ok", "text"))
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8090,
) -> None:
    """Serve the simulator: an upstream that needs no key and no network."""
    port = server.claim(host, port)
    show.simulator(host, port)
    server.simulate(host, port)


def _settings(config: Path | None) -> Settings:
    return app_settings.load(config)


def _run(settings: Settings, operation: Callable[[Operations], Awaitable[R]]) -> R:
    """Do an operation on the gateway's database."""

    async def with_database() -> R:
        database = Database(settings.database_url, settings.sqlite_synchronous)
        try:
            return await operation(Operations(settings, database))
        finally:
            await database.close()

    return asyncio.run(with_database())
