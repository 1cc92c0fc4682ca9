"""`gateway usage`: what was used, and what it cost."""

import csv
import dataclasses
import sys
from typing import Annotated

import typer

from app.admin import show
from app.admin.commands.running import Config, Json, run
from app.admin.money import Money, Usage

_FIELDS = tuple(field.name for field in dataclasses.fields(Usage))
_SHOWN = ("group", "calls", "input_tokens", "output_tokens", "total_tokens", "unpriced", "cost_usd")


def usage(
    *,
    project: Annotated[str | None, typer.Option("--project", "-p", help="Only this project's.")] = None,
    key: Annotated[str | None, typer.Option(help="Only this key's, by its id.")] = None,
    model: Annotated[str | None, typer.Option(help="Only this model's or agent's.")] = None,
    label: Annotated[str | None, typer.Option(help="Only calls with this label, NAME=VALUE.")] = None,
    since: Annotated[str, typer.Option(help="The first day: 2026-01-31, today, or 30d ago; in UTC.")] = "30d",
    until: Annotated[str | None, typer.Option(help="The last day, written the same way.")] = None,
    by: Annotated[str, typer.Option(help="day, project, key, model or label.")] = "day",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say what was used and what it cost. Calls of models without a price are counted as `unpriced`."""
    given = {
        "project": project,
        "key_id": key,
        "model": model,
        "label": label,
        "since": since,
        "until": until,
    }
    found = run(config, lambda *gateway: Money(*gateway).usage(given, by))
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(_FIELDS)
        writer.writerows([_cell(getattr(each, name)) for name in _FIELDS] for each in found)
    else:
        show.rows(found, json, _SHOWN)


def _cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: model names and labels are what clients wrote."""
    return (
        f"'{value}"
        if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
        else value
    )
