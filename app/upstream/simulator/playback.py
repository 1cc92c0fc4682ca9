"""Playback: an answer in time, with the pauses and the failures that were ordered."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.core import events
from app.core.events import Event
from app.errors import ApiError, Unavailable
from app.upstream.simulator import stream
from app.upstream.simulator.directives import Directives
from app.upstream.simulator.model import Answer
from app.upstream.simulator.resource import Resource

_OVERLOADED = (
    "The model is currently experiencing high demand, spikes in demand are usually temporary. "
    "Please try again later."
)
_EVENTS_AT_ONCE = 64  # then others get their turn
_LOST = "The connection to the simulator was lost."


class ConnectionLost(ApiError):
    """The connection to the simulator has broken; a server breaks it when it sees this."""

    status, code = 502, "bad_gateway"


async def play(answer: Answer, resource: Resource) -> AsyncGenerator[Event]:
    """The events as the model makes them: it may be slow, fail or fall silent."""
    orders = answer.directives
    shown = 0
    for event in stream.streamed(answer, resource):
        if shown == orders.hang_after:
            await silence()
        if shown == orders.error_after:
            yield events.error(Unavailable.code, _OVERLOADED)
            return
        if shown % _EVENTS_AT_ONCE == 0:
            await asyncio.sleep(0)
        if orders.delay_ms and event.type == events.STEP_DELTA:
            await asyncio.sleep(orders.delay_ms / 1_000)
        yield event
        shown += 1
    if shown == orders.hang_after:
        await silence()


async def transmit(played: AsyncGenerator[Event], orders: Directives) -> AsyncGenerator[Event]:
    """The events that come through: the connection may break, or close too early."""
    ends = [after for after in (orders.fail_after, orders.drop_after) if after is not None]
    left = min(ends, default=-1)
    async with aclosing(played):
        while left != 0 and (event := await anext(played, None)) is not None:
            yield event
            left -= 1
    if left == 0 and min(ends) == orders.fail_after:
        raise ConnectionLost(_LOST)


async def deliver(answer: Answer) -> bool:
    """Take the time that a unary answer takes. False when the connection closes without one.

    Raises ApiError when the answer is ordered to fail.
    """
    orders = answer.directives
    if orders.delay_ms:
        await asyncio.sleep(orders.delay_ms / 1_000 * stream.count_deltas(answer))
    if orders.hang_after is not None:
        await silence()
    if orders.error_after is not None:
        raise Unavailable(_OVERLOADED)
    if orders.fail_after is not None:
        raise ConnectionLost(_LOST)
    return orders.drop_after is None


async def silence() -> None:
    """Wait until nobody waits any more."""
    await asyncio.Event().wait()
