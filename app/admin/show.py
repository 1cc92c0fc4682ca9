"""Results on a terminal as tables, and as JSON when piped or asked for."""

import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from app.admin.teams import NewKey
from app.core import rules
from app.core.policy import Policy
from app.settings import Settings


def rows(found: Sequence[Any], json: bool, fields: tuple[str, ...], *, only: bool = False) -> None:
    """A list of records: a table of these fields, or JSON of all fields (`only`: of these)."""
    if json or not sys.stdout.isatty():
        records = [_fields(record, fields if only else None) for record in found]
        typer.echo(_json(records))
        return
    table = Table(*fields, box=None, header_style="bold", pad_edge=False)
    for record in found:
        table.add_row(*(_cell(name, getattr(record, name)) for name in fields))
    Console().print(table)


def record(made: Any, json: bool) -> None:
    """One record."""
    if json or not sys.stdout.isatty():
        typer.echo(_json(_fields(made, None)))
        return
    for name, value in _fields(made, None).items():
        typer.echo(f"{name:15} {_cell(name, value)}")


def simulator(host: str, port: int) -> None:
    """Where the simulator is."""
    typer.echo(f"Simulator on {_url(host, port)}")
    sys.stdout.flush()


def banner(settings: Settings, first: NewKey | None, host: str, port: int) -> None:
    """What a person wants to know when the gateway starts."""
    url = _url(host, port)
    lines = [f"Interactions Gateway on {url}"]
    for upstream in settings.upstreams:
        where = str(upstream.base_url).rstrip("/") if upstream.base_url else "embedded"
        lines.append(f"  upstream  {upstream.name} ({upstream.kind}, {where})")
    if all(upstream.kind == "simulator" for upstream in settings.upstreams):
        lines.append("  The simulator answers: no model is called. Set GEMINI_API_KEY for Gemini.")
    if settings.auth == "passthrough":
        lines.append("  Callers bring their own upstream keys (GATEWAY_AUTH=passthrough).")
    if first is not None:
        lines += [
            "",
            f"  A first key, of project '{first.project}'. It is shown only this once:",
            "",
            f"export GOOGLE_GEMINI_BASE_URL={url}",
            f"export GEMINI_API_KEY={first.key}",
            "",
        ]
    typer.echo("\n".join(lines))
    sys.stdout.flush()


def _url(host: str, port: int) -> str:
    """Where this machine finds the gateway: one that listens everywhere is not called by that name."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is not bound to
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _json(value: Any) -> bytes:
    return orjson.dumps(value, _plain, orjson.OPT_INDENT_2 | orjson.OPT_PASSTHROUGH_DATACLASS)


def _plain(value: Any) -> Any:
    """What JSON has no form for."""
    if isinstance(value, Policy):
        return rules.written(value)
    raise TypeError(type(value).__name__)


def _fields(record_: Any, names: tuple[str, ...] | None) -> dict[str, Any]:
    names = names or tuple(field.name for field in dataclasses.fields(record_))
    return {name: getattr(record_, name) for name in names}


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_at"):
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(value / 1000))
    if isinstance(value, bool):
        return "ok" if value else "NOT OK"
    return orjson.dumps(value, _plain).decode() if isinstance(value, dict | Policy) else str(value)
