"""What lists, reports and exports can be asked for: once, for the command line and for the admin API.

So is what a budget is made of, which has many fields, too.
"""

import re
import time
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from app.core.budget import Period
from app.core.listing import Query

EPOCH = date(1970, 1, 1)
_UNITS = MappingProxyType({"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000})
_LATEST_MS = 253_402_300_799_999  # the end of the year 9999


def _days(text: object) -> object:
    """Days since 1970, from a date like 2026-01-31, `today` or 30d for so many days ago; in UTC."""
    if not isinstance(text, str):
        return text
    today = datetime.now(UTC).date()
    if text == "today":
        return (today - EPOCH).days
    if re.fullmatch(r"[0-9]{1,5}d", text):
        return (today - EPOCH).days - int(text[:-1])
    try:
        return (date.fromisoformat(text) - EPOCH).days
    except ValueError:
        raise ValueError("this is no day; write 2026-01-31, today or 30d") from None


def _milliseconds(text: object) -> object:
    """Milliseconds since 1970, from themselves or a moment in UTC."""
    if not isinstance(text, str) or re.fullmatch(r"[0-9]{1,15}", text):
        return text
    try:
        moment = datetime.fromisoformat(text)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError("this is no moment; write 2026-01-31 or 2026-01-31T12:00:00") from None


def _ago(text: object) -> object:
    """The same, or how long ago it was, like 90s, 30m, 24h or 7d."""
    if isinstance(text, str) and (found := re.fullmatch(r"([0-9]{1,6})([smhd])", text)):
        return time.time_ns() // 1_000_000 - int(found[1]) * _UNITS[found[2]]
    return _milliseconds(text)


def _distinct(labels: list[str]) -> list[str]:
    if len({label.partition("=")[0] for label in labels}) < len(labels):
        raise ValueError("a label has one value")
    return labels


Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
"""What a database can hold, and not too long."""

Day = Annotated[
    int,
    BeforeValidator(_days),
    WithJsonSchema({"type": "string", "examples": ["2026-01-31", "today", "30d"]}),
]
Moment = Annotated[
    int,
    BeforeValidator(_milliseconds),
    Field(ge=0, le=_LATEST_MS),
    WithJsonSchema({"type": "string", "examples": ["1769817600000", "2026-01-31", "2026-01-31T12:00:00Z"]}),
]
"""The same whenever it is asked for."""

Past = Annotated[
    int,
    BeforeValidator(_ago),
    Field(ge=0, le=_LATEST_MS),
    WithJsonSchema({"type": "string", "examples": ["1769817600000", "2026-01-31", "7d"]}),
]
Label = Annotated[str, Field(max_length=500, pattern=r"^[^\x00=]+=[^\x00]*$")]

_OfProject = Annotated[Text | None, Field(description="Only this project's, by its name or id.")]
_OfKey = Annotated[Text | None, Field(description="Only what was made with this key, by its id.")]
_OfModel = Annotated[Text | None, Field(description="Only of this model or agent.")]


class Question(BaseModel):
    """These conditions, all of them, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OfProject(Question):
    """Of one project, or of all."""

    project: _OfProject = None


class UsageAsked(OfProject):
    """Which calls a report of usage is about, and by what they are added up."""

    key_id: _OfKey = None
    model: _OfModel = None
    label: Annotated[Label | None, Field(description="Only calls with this label, NAME=VALUE.")] = None
    since: Annotated[
        Day, Field(description="The first day: 2026-01-31, today, or 30d ago; in UTC.", validate_default=True)
    ] = "30d"  # type: ignore[assignment]
    until: Annotated[Day | None, Field(description="The last day, written the same way.")] = None
    by: Annotated[
        Literal["day", "project", "key", "model", "label"],
        Field(description="day, project, key, model or label."),
    ] = "day"


class AuditAsked(OfProject):
    """Which records of the audit log."""

    project: Annotated[
        Text | None, Field(description="Only this project's; `gateway` for what is no project's.")
    ] = None
    action: Annotated[Text | None, Field(description="Only this action, as interaction.delete.")] = None
    actor: Annotated[Text | None, Field(description="Only this key (its id), token or user.")] = None
    since: Annotated[
        Past | None, Field(description="Not before: 2030-12-31 (UTC), or 7d for a week ago.")
    ] = None


class InteractionsAsked(Question):
    """Which interactions of a project."""

    project: Annotated[Text, Field(description="The project's name or id.")]
    model: Annotated[Text | None, Field(description="Only of this model.")] = None
    agent: Annotated[Text | None, Field(description="Only of this agent.")] = None
    status: Annotated[Text | None, Field(description="Only with this status.")] = None

    def query(self, limit: int, after: tuple[int | str, ...] | None = None) -> Query:
        """So many of them, from behind a position on."""
        return Query(limit, after, self.model, self.agent, self.status)


class ExportAsked(Question):
    """Which interactions of a project are exported."""

    project: Annotated[Text, Field(description="The project's name or id.")]
    key_id: _OfKey = None
    model: Annotated[Text | None, Field(description="Only of this model.")] = None
    label: Annotated[
        list[Label], Field(description="NAME=VALUE; all of these.", max_length=64), AfterValidator(_distinct)
    ] = Field(default_factory=list)
    since: Annotated[Moment | None, Field(description="Created then or later: 2030-12-31, in UTC.")] = None
    until: Annotated[Moment | None, Field(description="Created before then, written the same way.")] = None


class BudgetGiven(Question):
    """A budget: an amount of money, in dollars as text, or of tokens, for a period."""

    model_config = ConfigDict(strict=True)

    project: Annotated[Text, Field(description="The project's name or id.")]
    period: Annotated[Period, Field(description="day, month (both in UTC) or total.")]
    money: Annotated[Text | None, Field(description="US dollars, like 12.50.")] = None
    tokens: Annotated[int | None, Field(description="Tokens, instead of money.")] = None
    key_id: Annotated[Text | None, Field(description="Only this key's, by its id.")] = None
    hard: Annotated[bool, Field(description="Refuse what may not fit, or only tell.")] = True
    alert_url: Annotated[Text | None, Field(description="A webhook that is told at 50, 80 and 100 %.")] = None
