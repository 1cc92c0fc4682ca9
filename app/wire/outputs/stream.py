"""A stream in the outputs schema: stored frames in, frames of that schema out.

The view remembers what has begun, so it is fed every event from the first on and keeps to itself
what the client already has. One event can become several frames: the last has the event's id,
those before it the ids of its parts (see `app.ids`).
"""

from collections.abc import AsyncIterator

from app import ids, sse
from app.core import events
from app.core.events import Event
from app.ids import Place
from app.wire import steps
from app.wire.outputs.translation import Translation

_NO_LIMIT = 2**62  # stored frames have been measured when they came


class Stream:
    """A stream for a client that is at `place`."""

    after = 0

    def __init__(self, place: Place, *, early: bool) -> None:
        self._place = place
        self._translation = Translation(early=early)
        self._seq = 0

    async def frames(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The frames that the client does not have yet.

        Where there is nothing to tell of a chunk, a comment says that the stream is alive.
        """
        decoder = sse.Decoder(_NO_LIMIT)
        async for chunk in chunks:
            yield b"".join(self._told(frame) for frame in decoder.feed(chunk)) or sse.KEEP_ALIVE

    def _told(self, frame: sse.Frame) -> bytes:
        if frame.data.startswith(b"[DONE]"):
            return sse.DONE
        event = events.parse(frame.data, frame.event)
        told = self._translation.add(event)
        event_id = event.fields.get("event_id")
        if event_id is None:  # it is not stored, so nobody can have it yet
            return b"".join(steps.frame(one, None) for one in told)
        self._seq += 1
        if self._seq <= self._place.seq:
            return b""
        known = self._place.part if self._seq == self._place.seq + 1 else 0
        return b"".join(_frames(told, event_id)[known:])


def _frames(told: list[Event], event_id: str) -> list[bytes]:
    part_ids = [ids.part_id(event_id, part) for part in range(1, len(told))]
    return [steps.frame(one, one_id) for one, one_id in zip(told, [*part_ids, event_id], strict=False)]
