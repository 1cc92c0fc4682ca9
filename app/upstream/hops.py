"""Long answers: a model that stops with `requires_continuation` is asked to go on, in the background.

Each hop answers with steps of its own; they are told as one run. In the foreground it is the
client who goes on, with the `continuation_token` that it is told.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from app.core import events, status
from app.core.events import BrokenStream, Event
from app.core.model import Json

_MOST = 64
_STEP_EVENTS = frozenset({events.STEP_START, events.STEP_DELTA, events.STEP_STOP})

Ask = Callable[[str | None], AsyncGenerator[Event]]
"""Makes the call that begins an answer, or goes on with one, by its token."""


async def hops(ask: Ask) -> AsyncGenerator[Event]:
    """The events of all hops as those of one run."""
    answer = _Answer()
    while True:
        async with aclosing(ask(answer.token)) as heard:
            async for event in heard:
                if (told := answer.take(event)) is not None:
                    yield told
        if not answer.goes_on:
            return


class _Answer:
    """What has been heard of one answer; `token` asks for its next hop."""

    def __init__(self) -> None:
        self.token: str | None = None
        self.goes_on = False
        self._hop = 0
        self._first, self._last = 0, -1
        self._usage: Json = {}

    def take(self, event: Event) -> Event | None:
        """The event as one of the whole answer; None for what is of no meaning in a later hop."""
        if event.type in _STEP_EVENTS:
            return self._step(event)
        if event.type == events.COMPLETED:
            return self._end(event)
        self.goes_on = False
        return None if self._hop and event.type != events.ERROR else event

    def _step(self, event: Event) -> Event:
        index = event.fields.get("index")
        if not isinstance(index, int):
            raise BrokenStream(f"a {event.type} without an index")
        self._last = max(self._last, index + self._first)
        if not self._first:
            return event
        return Event(event.type, {**event.fields, "index": index + self._first})

    def _end(self, event: Event) -> Event | None:
        interaction = event.fields.get("interaction")
        ended: Json = interaction if isinstance(interaction, dict) else {}
        self._usage = _sum(self._usage, ended.get("usage"))
        token = ended.get("continuation_token")
        self.goes_on = (
            ended.get("status") == status.REQUIRES_CONTINUATION
            and isinstance(token, str)
            and self._hop < _MOST
        )
        if not self.goes_on:
            return events.completed({**ended, "usage": self._usage}) if self._hop else event
        self.token, self._hop, self._first = token, self._hop + 1, self._last + 1
        return _used(self._usage) if self._usage else None


def _used(usage: Json) -> Event:
    """What has been used so far: it was, even if a later hop fails."""
    update = events.status_update("")
    return Event(update.type, {**update.fields, "usage": usage})


def _sum(one: Json, other: object) -> Json:
    """Usage of both: numbers added, also those of each modality and tool; else as it was said last."""
    if not isinstance(other, dict):
        return one
    return {**one, **{name: _added(one.get(name), value) for name, value in other.items()}}


def _added(one: object, other: Any) -> Any:
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    if not (isinstance(one, list) and isinstance(other, list)):
        return other
    sums: dict[str, Json] = {}
    for each in filter(_is_object, [*one, *other]):
        name = str(each.get("modality") or each.get("type"))
        sums[name] = _sum(sums.get(name, {}), each)
    return list(sums.values())


def _is_object(value: object) -> bool:
    return isinstance(value, dict)
