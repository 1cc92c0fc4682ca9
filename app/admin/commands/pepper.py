"""`gateway pepper`: the secret that digests are made with, changed or lost."""

from typing import Annotated

import typer

from app.admin.commands.running import Config, run
from app.admin.peppers import Peppers

app = typer.Typer(help="The secret that digests are made with.", no_args_is_help=True)


@app.command("rotate")
def rotate(config: Config = None) -> None:
    """Take the next step of changing the pepper in the data folder, and say what is to be done then."""
    typer.echo(run(config, lambda *gateway: Peppers(*gateway).rotate()))


@app.command("accept")
def accept(
    yes: Annotated[bool, typer.Option("--yes", help="Yes, what was made with the lost one is void.")] = False,
    config: Config = None,
) -> None:
    """Go on with another pepper than the one that is lost: its keys are void, content stays."""
    if not yes:
        raise typer.BadParameter("keys that were made with the lost pepper are void for ever: say --yes")
    void = run(config, lambda *gateway: Peppers(*gateway).accept())
    typer.echo(f"Void: {void or 'nothing'}.")
