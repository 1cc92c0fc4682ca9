"""What all commands share: their common options, and how an operation is run."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from app import settings as app_settings
from app.core.audit import Actor
from app.settings import Settings
from app.store.database import Database

R = TypeVar("R")

Json = Annotated[bool, typer.Option("--json", help="Print JSON, also on a terminal.")]
Project = Annotated[str, typer.Option("--project", "-p", help="The project's name or id.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="The settings file (GATEWAY_CONFIG).", show_default="gateway.toml"),
]


def run(config: Path | None, operation: Callable[[Settings, Database, Actor], Awaitable[R]]) -> R:
    """Do an operation on the gateway's database, in the name of whoever is logged in here."""
    settings = app_settings.load(config)

    async def with_database() -> R:
        database = Database(settings.database_url, settings.sqlite_synchronous)
        try:
            return await operation(settings, database, Actor("cli", _user()))
        finally:
            await database.close()

    return asyncio.run(with_database())


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as somebody who has no name
        return None
