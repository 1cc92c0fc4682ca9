"""The events of a run as those of the outputs schema, one by one.

    interaction.created         interaction.start
    step.start, .delta, .stop   content.start, .delta, .stop
    interaction.completed       interaction.complete

Events of types that the schema does not have are not told: SDKs would take them for another.
"""

from collections.abc import Iterable, Iterator
from itertools import count

from app.core import events
from app.core.events import BrokenStream, Event
from app.core.model import Json
from app.wire.outputs import content, resource
from app.wire.outputs.told import Message, Silence, Thought, Told, Whole

_TOOLS = frozenset(
    f"{tool}_{end}"
    for tool in (
        *("function", "code_execution", "url_context", "google_search", "google_maps"),
        *("file_search", "mcp_server_tool"),
    )
    for end in ("call", "result")
)
_LATER = frozenset({"file_search_call", "google_maps_call", "google_maps_result", "mcp_server_tool_result"})
"""Deltas at which the earliest SDKs fail: they do not know them, or not in this form."""


class Translation:
    """Fed with every event of a run, from the first on."""

    def __init__(self, *, early: bool) -> None:
        self._early = early
        self._known = _TOOLS - _LATER if early else _TOOLS
        self._open: dict[int, Told] = {}
        self._indexes = count()
        self._tell = {
            events.CREATED: self._created,
            events.STATUS_UPDATE: self._status_update,
            events.STEP_START: self._start,
            events.STEP_DELTA: self._delta,
            events.STEP_STOP: self._stop,
            events.COMPLETED: self._completed,
            events.ERROR: self._error,
        }

    def add(self, event: Event) -> list[Event]:
        """What is told when this happens."""
        tell = self._tell.get(event.type)
        try:
            return [] if tell is None else [*tell(event.fields)]
        except BrokenStream:  # such an event has not been stored by any run
            return []

    def _created(self, fields: Json) -> Iterator[Event]:
        yield _renamed("interaction.start", fields, resource.begun(fields["interaction"]))

    def _status_update(self, fields: Json) -> Iterator[Event]:
        spent = {"usage": content.usage(fields["usage"])} if "usage" in fields else {}
        yield Event(events.STATUS_UPDATE, {**fields, **spent})

    def _start(self, fields: Json) -> Iterable[Event]:
        step = fields["step"]
        told = self._open[fields["index"]] = self._told(step["type"])
        return told.start(step)

    def _told(self, kind: str) -> Told:
        if kind == "user_input":
            return Silence()
        if kind == "model_output":
            return Message(self._indexes, early=self._early)
        if kind == "thought":
            return Thought(next(self._indexes))
        return Whole(next(self._indexes), known=kind in self._known)

    def _delta(self, fields: Json) -> Iterable[Event]:
        told = self._open.get(fields["index"])
        return told.delta(fields["delta"]) if told else ()

    def _stop(self, fields: Json) -> Iterable[Event]:
        told = self._open.pop(fields["index"], None)
        return told.stop() if told else ()

    def _completed(self, fields: Json) -> Iterator[Event]:
        for _, told in sorted(self._open.items()):
            yield from told.stop()
        yield _renamed("interaction.complete", fields, resource.ended(fields["interaction"]))

    def _error(self, fields: Json) -> Iterator[Event]:
        yield Event(events.ERROR, fields)


def _renamed(name: str, fields: Json, interaction: Json) -> Event:
    return Event(name, {**fields, "interaction": interaction, "event_type": name})
