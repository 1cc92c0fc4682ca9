"""A run of the server: one stored interaction, its events as they happen, and who follows them."""

import asyncio
import base64
from collections.abc import AsyncGenerator

from app.core import events, status
from app.core.events import Event
from app.core.fold import Fold
from app.core.model import Json, Request
from app.errors import InvalidRequest
from app.upstream.simulator import playback, stream
from app.upstream.simulator.model import Answer
from app.upstream.simulator.resource import Resource


class Run:
    """An interaction that can be read, followed, continued and, in the background, cancelled."""

    def __init__(self, request: Request, history: list[Json], answer: Answer, resource: Resource) -> None:
        self.resource = resource
        self.status = status.IN_PROGRESS
        self.background = request.background
        self._given = request.input
        self._history = history
        self._answer = answer
        self._events: list[Event] = []
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Let the answer come, whether anyone follows or not."""
        self._task = asyncio.create_task(self._execute())

    def complete(self) -> None:
        """Have the whole answer at once."""
        for event in stream.streamed(self._answer, self.resource):
            self._add(event)

    def cancel(self) -> None:
        """End now, with what there is."""
        if self._task is not None:
            self._task.cancel()
        if not status.is_terminal(self.status):
            self._add(events.completed(self.resource.ended(status.CANCELLED)))

    async def follow(self, place: int = 0) -> AsyncGenerator[Event]:
        """The events from this place on, as they happen, until the run ends."""
        while True:
            while place < len(self._events):
                yield self._events[place]
                place += 1
            if status.is_terminal(self.status):
                return
            await self._more.wait()

    def after(self, event_id: str) -> int:
        """The place behind the event with this id. Raises InvalidRequest when there is none."""
        for place, event in enumerate(self._events):
            if event.fields.get("event_id") == event_id:
                return place + 1
        raise InvalidRequest(f"'last_event_id' is not an event of this interaction: {event_id[:100]}")

    def context(self) -> list[Json]:
        """All steps up to the end of this interaction: what comes before its next turn."""
        return [*self._history, *self._given, *self._output()]

    def shown(self) -> Json:
        """The interaction as a GET shows it."""
        if self.status == status.IN_PROGRESS:
            return self.resource.answered(self.status)
        usage = self._answer.usage if self.status == self._answer.status else None
        shown = self.resource.answered(self.status, usage, [*self._given, *self._output()])
        if self.status == status.FAILED:
            shown["errors"] = [self._events[-1].fields["error"]]
        return shown

    async def _execute(self) -> None:
        async for event in playback.play(self._answer, self.resource):
            self._add(event)

    def _add(self, event: Event) -> None:
        if self.background and event.type == events.STEP_DELTA and event.fields["delta"]["type"] == "text":
            event = _identified(event, len(self._events))
        self._events.append(event)
        if event.type == events.COMPLETED:
            self.status = event.fields["interaction"]["status"]
        elif event.type == events.ERROR:
            self.status = status.FAILED
        self._more.set()
        self._more = asyncio.Event()

    def _output(self) -> list[Json]:
        if self.status == self._answer.status:
            return self._answer.steps
        fold = Fold()
        for event in self._events:
            fold.add(event)
        return fold.steps()


def _identified(event: Event, number: int) -> Event:
    """The event with an id like Gemini's, which only texts of background runs have."""
    index, delta = event.fields["index"], event.fields["delta"]
    name = base64.b64encode(f"{index}_{delta['type']}_{number}".encode()).decode().rstrip("=")
    fields = {"index": index, "delta": delta, "event_id": f"v1_{name}", "event_type": event.type}
    return Event(event.type, fields)
