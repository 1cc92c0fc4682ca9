"""The steps schema (2026-05-20), which is also what is kept: a view without much to do."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from app import sse
from app.core import events
from app.core import steps as core_steps
from app.core.events import Event
from app.core.model import ECHOED, Interaction, Json, Request
from app.errors import InvalidRequest
from app.wire import create

_SCHEMA_TYPES = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_SCHEMA_WORDS = frozenset(
    {"properties", "items", "anyOf", "oneOf", "allOf", "enum", "const", "$ref", "$schema"}
)


def request(body: Json) -> Request:
    """The request in this body. Raises InvalidRequest, naming the field."""
    given = body.get("response_format")
    if isinstance(given, dict) and _is_schema(given):
        raise InvalidRequest(
            "'response_format' is a JSON schema, which only the outputs schema of the API takes as it is; "
            'here it goes into {"type": "text", "mime_type": "application/json", "schema": ...}.'
        )
    return create.request(body)


def _is_schema(given: Json) -> bool:
    kind = given.get("type")
    if kind is None:
        return not _SCHEMA_WORDS.isdisjoint(given)
    return isinstance(kind, list) or (isinstance(kind, str) and kind in _SCHEMA_TYPES)


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream as it is stored: nobody looks into the frames."""

    after: int

    def frames(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks as they are."""
        return chunks


def interaction(found: Interaction, *, timeline: bool, include_input: bool = False) -> bytes:
    """The resource as JSON text. `timeline` puts the user's steps before the model's, as GET does."""
    parts = (found.input, found.output) if timeline else (found.output,)
    shown = _resource(found, orjson.Fragment(core_steps.join(parts)))
    if include_input:
        shown["input"] = orjson.Fragment(found.input)
    return orjson.dumps(shown)


def summary(found: Interaction) -> bytes:
    """The resource as JSON text without its content, as it stands in a list."""
    return orjson.dumps(_resource(found, None))


def _resource(found: Interaction, steps: orjson.Fragment | None) -> Json:
    """The fields in the order of the live service, then those that were asked and are echoed."""
    details, options = orjson.loads(found.details), orjson.loads(found.options)
    shown: Json = {
        "id": found.id or None,
        "status": found.status,
        "usage": details.pop("usage", None),
        "created": instant(found.created_at),
        "updated": instant(found.updated_at),
        **details,
        "steps": steps,
        "object": "interaction",
        "model": found.model,
        "agent": found.agent,
        "previous_interaction_id": found.parent_id,
        "errors": [orjson.Fragment(found.error)] if found.error is not None else details.get("errors"),
    }
    for name in ECHOED:
        if name in options:
            shown.setdefault(name, options[name])
    return {name: value for name, value in shown.items() if value is not None}


def instant(milliseconds: int) -> str:
    """An API timestamp: ISO 8601, UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000))


def frame(event: Event, event_id: str | None) -> bytes:
    """The event as an SSE frame; `event_id` is spliced into the JSON text, not dumped anew."""
    if "event_id" in event.fields:  # the upstream's own, which means nothing here
        fields = {name: value for name, value in event.fields.items() if name != "event_id"}
        event = Event(event.type, fields)
    text = event.json()
    if event_id is not None:
        text = b'{"event_id":"' + event_id.encode() + b'",' + text.lstrip()[1:].lstrip()
    return sse.encode(event.type, text)


def for_clients(event: Event) -> Event:
    """The event with what some SDKs need beside what the upstream sent.

    Python SDKs 2.0 to 2.8 read argument fragments only from `partial_arguments`.
    """
    if event.type != events.STEP_DELTA:
        return event
    delta = event.fields.get("delta")
    if not isinstance(delta, dict) or delta.get("type") != "arguments_delta":
        return event
    if "arguments" not in delta or "partial_arguments" in delta:
        return event
    delta = {**delta, "partial_arguments": delta["arguments"]}
    return Event(event.type, {**event.fields, "delta": delta})
