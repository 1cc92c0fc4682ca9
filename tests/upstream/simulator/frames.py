"""Server-sent events as a client reads them."""

import json
from dataclasses import dataclass
from typing import Any

from app.core.events import Event
from app.core.fold import Fold
from app.core.model import Json


@dataclass(frozen=True)
class Frames:
    """The events of a stream, and whether it said that it is done."""

    events: list[Json]
    done: bool

    @property
    def last(self) -> Json:
        """The last event."""
        return self.events[-1]

    def __getitem__(self, name: str) -> Any:
        """A field of the interaction, as the first event shows it."""
        return self.events[0]["interaction"][name]

    def steps(self) -> list[Json]:
        """The steps that were streamed."""
        fold = Fold()
        for event in self.events:
            fold.add(Event(event["event_type"], event))
        return fold.steps()


def read(body: bytes) -> Frames:
    """The events in this body, each one framed as Gemini does."""
    *frames, rest = body.decode().split("\n\n")
    assert rest == ""
    done = bool(frames) and frames[-1] == "event: done\ndata: [DONE]"
    events = []
    for frame in frames[: -1 if done else None]:
        named, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert named == f"event: {event['event_type']}"
        events.append(event)
    return Frames(events, done)
