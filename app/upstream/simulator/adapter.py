"""The embedded simulator: the upstream of a gateway that has none configured."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import orjson

from app.core.events import Event
from app.core.model import Kept, Request, Turn
from app.errors import InvalidRequest
from app.upstream.simulator import model, playback, stream
from app.upstream.simulator.resource import resource_of


class SimulatorAdapter:
    """Answers for any model and any agent, in this process."""

    def __init__(self, name: str = "simulator") -> None:
        self.name = name

    async def run(self, turn: Turn) -> AsyncGenerator[Event]:
        """The events of the answer; the ids in them are empty, as in a call that is not stored."""
        answer = model.answer(turn.request, _steps(turn.steps))
        resource = resource_of(turn.request, "")
        if not turn.request.stream:
            if await playback.deliver(answer):
                for event in stream.whole(answer, resource):
                    yield event
            return
        played = playback.play(answer, resource)
        async with aclosing(playback.transmit(played, answer.directives)) as events:
            async for event in events:
                yield event

    def keeps(self, request: Request) -> bool:  # noqa: ARG002 - as in the protocol
        """Nothing outlives a call."""
        return False

    async def cancel(self, kept: Kept) -> None:
        """Nothing is kept."""

    async def forget(self, kept: Kept) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is held."""


def _steps(text: bytes) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The steps of the turn are not JSON: {error}.") from None
