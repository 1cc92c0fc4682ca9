"""`gateway interactions`: what is stored is shown, exported, held and deleted."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from app.admin import show
from app.admin.commands.asking import asking
from app.admin.commands.running import Config, Json, Project, run
from app.admin.exports import Exports
from app.admin.questions import ExportAsked, InteractionsAsked
from app.admin.records import Records
from app.store.holds import Kind
from app.wire import steps as wire_steps

_LISTED = ("id", "status", "model", "agent", "parent_id", "created_at")

_Id = Annotated[str, typer.Argument(help="The interaction's id.")]

app = typer.Typer(help="What is stored.", no_args_is_help=True)


@app.command("list")
@asking(InteractionsAsked)
def list_(
    *,
    asked: InteractionsAsked,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List a project's newest interactions, without their content."""
    found = run(config, lambda *gateway: Records(*gateway).interactions(asked.project, asked.query(limit)))
    show.rows(found, json, _LISTED, only=True)


@app.command("show")
def show_(interaction_id: _Id, project: Project, config: Config = None) -> None:
    """Print an interaction as the API shows it, with its content."""
    found = run(config, lambda *gateway: Records(*gateway).get(project, interaction_id))
    text = orjson.loads(wire_steps.interaction(found, timeline=True))
    typer.echo(orjson.dumps(text, option=orjson.OPT_INDENT_2))


@app.command("delete")
def delete(interaction_id: _Id, project: Project, config: Config = None) -> None:
    """Erase an interaction, unless it is held."""
    run(config, lambda *gateway: Records(*gateway).delete(project, interaction_id))


@app.command("export")
@asking(ExportAsked)
def export(
    *,
    asked: ExportAsked,
    out: Annotated[Path, typer.Option(help="The folder to write to, or one to go on with.")],
    config: Config = None,
) -> None:
    """Write interactions with their content as lines of JSON, and a manifest of what is in which file.

    Broken off, the same command goes on behind the last complete file.
    """
    made = run(config, lambda *gateway: Exports(*gateway).write(asked, out))
    show.record(made, json=True)


@app.command("hold")
def hold(
    *,
    project: Project,
    reason: Annotated[str, typer.Option(help="Why: it stands in the audit log.")],
    interaction: Annotated[str | None, typer.Option(help="Hold this interaction.")] = None,
    conversation: Annotated[str | None, typer.Option(help="Hold everything below this root.")] = None,
    key: Annotated[str | None, typer.Option(help="Hold what is made with this key (its id).")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Hold the whole project.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Keep interactions from expiring and from being deleted, until the hold is released."""
    given: dict[Kind, str | None] = {"interaction": interaction, "conversation": conversation, "key": key}
    chosen: list[tuple[Kind, str | None]] = [(kind, target) for kind, target in given.items() if target]
    chosen += [("project", None)] if everything else []
    if len(chosen) != 1:
        raise typer.BadParameter("say one of --interaction, --conversation, --key, --all")
    kind, target = chosen[0]
    show.record(run(config, lambda *gateway: Records(*gateway).hold(project, kind, target, reason)), json)


@app.command("release")
def release(
    hold_id: Annotated[str, typer.Argument(help="The hold's id, as in `interactions holds`.")],
    config: Config = None,
) -> None:
    """End a hold."""
    run(config, lambda *gateway: Records(*gateway).release(hold_id))


@app.command("holds")
def holds(
    project: Annotated[str | None, typer.Option("--project", "-p", help="Only this project's.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """List what is held."""
    found = run(config, lambda *gateway: Records(*gateway).holds(project))
    show.rows(found, json, ("id", "project_id", "kind", "target", "reason", "created_at"))


@app.command("due")
def due(
    project: Annotated[str | None, typer.Option("--project", "-p", help="Only this project's.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say what expires when, by project and day (UTC), and what of it is held."""
    found = run(config, lambda *gateway: Records(*gateway).due(project))
    show.rows(found, json, ("project", "day", "interactions", "held"))
