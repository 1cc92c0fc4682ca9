"""`gateway keys`: the keys that clients use."""

import sys
from typing import Annotated

import typer

from app.admin import show
from app.admin.commands import options
from app.admin.commands.options import Labels, Owner
from app.admin.commands.running import Config, Json, Project, run
from app.admin.teams import NewKey, Teams

_SHOWN = ("id", "project", "name", "prefix", "owner", "created_at", "expires_at", "revoked_at")

_Id = Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, as in `keys list`.")]
_Expires = Annotated[
    str | None,
    typer.Option(help="When it ends: 90d from now, or 2030-12-31 in UTC; none.", show_default=False),
]

app = typer.Typer(help="The keys that clients use.", no_args_is_help=True)


@app.command("create")
@options.with_policy
def create(
    *,
    project: Project,
    name: Annotated[str, typer.Option(help="What the key is for.")],
    owner: Owner = None,
    label: Labels = None,
    expires: _Expires = None,
    json: Json = False,
    config: Config = None,
    policy: dict[str, object],
) -> None:
    """Make a key and print it: the only time that it is shown."""
    given = options.given(owner=owner, labels=options.labels(label), policy=policy)
    if expires is not None:
        given["expires_at"] = options.moment(expires, "--expires")
    _print(run(config, lambda *gateway: Teams(*gateway).create_key(project, name, given)), json)


@app.command("list")
def list_(
    project: Annotated[str | None, typer.Option("--project", "-p", help="Only this project's.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """List keys, without the keys themselves."""
    show.rows(run(config, lambda *gateway: Teams(*gateway).keys(project)), json, _SHOWN)


@app.command("set")
@options.with_policy
def set_(
    *,
    key_id: _Id,
    name: Annotated[str | None, typer.Option(help="What the key is for.")] = None,
    owner: Owner = None,
    label: Labels = None,
    expires: _Expires = None,
    config: Config = None,
    policy: dict[str, object],
) -> None:
    """Change a key: what is given, and nothing else; in every process within seconds."""
    changes = options.given(name=name, owner=owner, labels=options.labels(label), policy=policy)
    if expires is not None:
        changes["expires_at"] = options.moment(expires, "--expires")
    if not changes:
        raise typer.BadParameter("say what to change")
    run(config, lambda *gateway: Teams(*gateway).set_key(key_id, changes))


@app.command("rotate")
def rotate(
    key_id: _Id,
    grace: Annotated[str, typer.Option(help="How long the old key goes on: 90s, 30m, 24h, 7d.")] = "24h",
    json: Json = False,
    config: Config = None,
) -> None:
    """Make a key with the same settings and print it; the old one ends after the grace period."""
    grace_ms = options.duration(grace, "--grace")
    _print(run(config, lambda *gateway: Teams(*gateway).rotate_key(key_id, grace_ms)), json)


@app.command("revoke")
def revoke(key_id: _Id, config: Config = None) -> None:
    """End a key's validity, in every process within seconds; what runs already goes on."""
    run(config, lambda *gateway: Teams(*gateway).revoke_key(key_id))


@app.command("identify")
def identify(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The whole key; - reads it from standard input.")],
    json: Json = False,
    config: Config = None,
) -> None:
    """Tell whose a key is, also of a revoked one, without storing it."""
    found = sys.stdin.readline().strip() if key == "-" else key
    show.record(run(config, lambda *gateway: Teams(*gateway).identify(found)), json)


def _print(made: NewKey, json: bool) -> None:
    if json or not sys.stdout.isatty():
        show.record(made, json=True)
    else:
        typer.echo(made.key)
