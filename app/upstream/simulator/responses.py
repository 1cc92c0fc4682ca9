"""Responses that begin with what they say first, and that can break off like a lost connection."""

from collections.abc import AsyncIterator, Callable

from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from app import sse
from app.core import events
from app.core.events import Event
from app.errors import ApiError
from app.upstream.simulator.playback import ConnectionLost


class LateResponse(StreamingResponse):
    """Sends no headers before it has something to say, so that it can be silent or fail until then.

    When the body raises ConnectionLost, it returns without an end: the server then closes the
    connection, and the client finds the body incomplete.
    """

    def __init__(
        self,
        content: AsyncIterator[bytes],
        content_type: str,
        failed: Callable[[ApiError], Response] | None = None,
    ) -> None:
        super().__init__(content, headers={"content-type": content_type})
        self._failed = failed or failure

    async def stream_response(self, send: Send) -> None:
        """Send the body as it comes."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        begun = False
        try:
            async for chunk in self.body_iterator:
                if not begun:
                    await send(start)
                    begun = True
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except ConnectionLost:
            if not begun:
                await send(start)
        except ApiError as error:  # of a unary answer, before it has said anything
            failed = self._failed(error)
            await send({**start, "status": failed.status_code, "headers": failed.raw_headers})
            await send({"type": "http.response.body", "body": failed.body})
        else:
            if not begun:
                await send(start)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def failure(error: ApiError) -> Response:
    """The error envelope as a response."""
    headers = {**error.headers, "content-type": "application/json; charset=UTF-8"}
    return Response(error.body(), error.status, headers)


def rpc_failure(error: ApiError) -> Response:
    """As `failure`, in the envelope of the rest of the API."""
    headers = {**error.headers, "content-type": "application/json; charset=UTF-8"}
    return Response(error.rpc(), error.status, headers)


async def frames(played: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """The events as server-sent ones; the last frame says that the stream is whole."""
    async for event in played:
        yield sse.encode(event.type, event.json())
        if event.type == events.COMPLETED:
            yield sse.DONE
