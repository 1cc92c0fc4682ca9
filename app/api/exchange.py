"""One request and its answer, as plain ASGI: what FastAPI would do, without what it costs.

FastAPI's own request handling was measured at twice the price of the whole route; the hot routes
therefore speak ASGI inside the FastAPI application.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.types import Receive, Send

from app import sse
from app.core import events
from app.errors import ApiError, Unavailable

_JSON = (b"content-type", b"application/json")
_SSE = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


async def read(receive: Receive) -> bytes:
    """The request's body. Raises ApiError when the client leaves in the middle of it."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiError("The client closed the connection.", status=499, code="cancelled")
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def answer(
    send: Send, body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> None:
    """Send a JSON answer."""
    more = [(name.encode(), value.encode("latin-1", "replace")) for name, value in (headers or {}).items()]
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length, *more]})
    await send({"type": "http.response.body", "body": body})


async def stream(receive: Receive, send: Send, frames: AsyncIterator[bytes]) -> bool:
    """Send frames as they come; True when the client stayed to the end.

    The headers go out at once: some SDKs send a request again that has none after a minute.
    """
    await send({"type": "http.response.start", "status": 200, "headers": _SSE})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    try:
        stayed = await unless_gone(receive, asyncio.ensure_future(_relay(send, frames)))
    except asyncio.CancelledError:
        await _fail(send, Unavailable("The gateway ended this stream; what is stored can be read by its id."))
        raise
    except ApiError as error:  # too late for a status code
        await _fail(send, error)
        return True
    if stayed:
        await send({"type": "http.response.body", "body": b""})
    return stayed


async def _relay(send: Send, frames: AsyncIterator[bytes]) -> None:
    async for text in frames:
        await send({"type": "http.response.body", "body": text, "more_body": True})


async def _fail(send: Send, error: ApiError) -> None:
    """End a stream with an `error` event that is not among the run's own."""
    last = events.error(error.code, error.message)
    await send({"type": "http.response.body", "body": sse.encode(last.type, last.json())})


async def unless_gone(receive: Receive, work: "asyncio.Future[Any]") -> bool:
    """Wait for `work`, but not longer than for the client; False when the client left first.

    What was not done then is cancelled. The body must have been read.
    """
    gone = asyncio.ensure_future(_disconnect(receive))
    both: set[asyncio.Future[Any]] = {work, gone}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
            return True
        return False
    finally:
        for task in both:
            task.cancel()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
