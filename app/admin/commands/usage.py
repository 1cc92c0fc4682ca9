"""`gateway usage`: what was used, and what it cost."""

import csv
import dataclasses
import sys
from typing import Annotated

import typer

from app.admin import show
from app.admin.commands.asking import asking
from app.admin.commands.running import Config, Json, run
from app.admin.money import Money, Usage
from app.admin.questions import UsageAsked

_FIELDS = tuple(field.name for field in dataclasses.fields(Usage))
_SHOWN = ("group", "calls", "input_tokens", "output_tokens", "total_tokens", "unpriced", "cost_usd")


@asking(UsageAsked)
def usage(
    *,
    asked: UsageAsked,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say what was used and what it cost. Calls of models without a price are counted as `unpriced`."""
    found = run(config, lambda *gateway: Money(*gateway).usage(asked))
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
