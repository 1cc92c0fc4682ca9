"""The events of a run: what an upstream says, one after the other, in the steps schema."""

from dataclasses import dataclass
from typing import Any

import orjson

from app.core import jsontext, status
from app.core.jsontext import NotJson
from app.core.model import Json

CREATED = "interaction.created"
STATUS_UPDATE = "interaction.status_update"
STEP_START = "step.start"
STEP_DELTA = "step.delta"
STEP_STOP = "step.stop"
COMPLETED = "interaction.completed"
ERROR = "error"

TERMINAL = frozenset({COMPLETED, ERROR})


class BrokenStream(Exception):
    """The upstream's events make no sense; the message says what and where."""


@dataclass(slots=True)
class Event:
    """One event: its type, its JSON object, and the JSON text it arrived as, if it did.

    `text` is None when the object was made or changed here. It never holds a line break, so it
    can stand behind `data:` as it is.
    """

    type: str
    fields: Json
    text: bytes | None = None

    def json(self) -> bytes:
        """The event as one line of JSON text."""
        return self.text if self.text is not None else orjson.dumps(self.fields)


def parse(text: bytes, name: str = "") -> Event:
    """The event in this JSON text; `name` is the type where the text does not repeat it.

    Raises BrokenStream when the text is not a JSON object with a type.
    """
    try:
        fields = jsontext.parse(text)
    except NotJson as problem:
        raise BrokenStream(str(problem)) from None
    if not isinstance(fields, dict):
        raise BrokenStream("not a JSON object")
    kind = fields.get("event_type") or name
    if not isinstance(kind, str) or not kind or not kind.isprintable():
        raise BrokenStream("no usable event_type")
    if fields.get("event_type") != kind:
        fields["event_type"] = kind
        return Event(kind, fields)
    return Event(kind, fields, None if b"\n" in text or b"\r" in text else text)


def created(interaction: Json) -> Event:
    """The first event of every run; `interaction` is the partial resource."""
    return Event(CREATED, {"interaction": interaction, "event_type": CREATED})


def status_update(interaction_id: str, value: str = status.IN_PROGRESS) -> Event:
    """An event that tells the run's status."""
    return Event(
        STATUS_UPDATE,
        {
            "interaction_id": interaction_id,
            "status": value,
            "event_type": STATUS_UPDATE,
        },
    )


def step_start(index: int, step: Json) -> Event:
    """A step begins; `step` is as much of it as is known, at least its type."""
    return Event(STEP_START, {"index": index, "step": step, "event_type": STEP_START})


def step_delta(index: int, delta: Json) -> Event:
    """More of a step that has begun."""
    return Event(STEP_DELTA, {"index": index, "delta": delta, "event_type": STEP_DELTA})


def step_stop(index: int) -> Event:
    """A step is whole."""
    return Event(STEP_STOP, {"index": index, "event_type": STEP_STOP})


def completed(interaction: Json) -> Event:
    """The orderly end of a run, whatever its status; `interaction` has no steps."""
    return Event(COMPLETED, {"interaction": interaction, "event_type": COMPLETED})


def error(code: str, message: str) -> Event:
    """The disorderly end of a run; nothing comes after it."""
    body: dict[str, Any] = {"message": message, "code": code}
    return Event(ERROR, {"error": body, "event_type": ERROR})
