"""A forwarded request's body on its way up, and the answer on its way down, piece by piece."""

import logging
from collections.abc import AsyncIterator

from starlette.types import Receive, Send

from app import log
from app.errors import ApiError
from app.upstream import headers
from app.upstream.headers import Headers
from app.upstream.peer import Answer

_LENGTH = b"content-length"


class Incoming:
    """The body of a request, read while it is sent on; `failure` tells why it broke off."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.failure: ApiError | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces as they arrive."""
        more = True
        while more:
            try:
                message = await self._receive()
            except ApiError as error:
                self.failure = error
                raise
            if message["type"] == "http.disconnect":
                self.failure = ApiError("The client closed the connection.", status=499, code="cancelled")
                raise self.failure
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]


async def text(receive: Receive, most: int) -> bytes:
    """A body that is read whole. Raises ApiError (413) when it is longer than `most` bytes."""
    chunks: list[bytes] = []
    size = 0
    async for piece in Incoming(receive).pieces():
        chunks.append(piece)
        size += len(piece)
        if size > most:
            message = f"The request body is larger than {most} bytes."
            raise ApiError(message, status=413, code="invalid_request", headers={"connection": "close"})
    return b"".join(chunks)


async def whole(send: Send, answer: Answer, body: bytes, more: Headers | None = None) -> None:
    """Answer with this body, and the headers that pass."""
    passed = [(name, value) for name, value in headers.answered(answer.headers) if name != _LENGTH]
    length = (_LENGTH, str(len(body)).encode())
    start = {
        "type": "http.response.start",
        "status": answer.status,
        "headers": [*passed, length, *(more or [])],
    }
    await send(start)
    await send({"type": "http.response.body", "body": body})


async def pass_on(send: Send, answer: Answer, begun: bytes = b"") -> None:
    """Answer with what comes, after what has been read of it.

    When it breaks off, nothing more is sent: the server closes the connection, and the client finds
    the body incomplete.
    """
    passed = headers.answered(answer.headers)
    await send({"type": "http.response.start", "status": answer.status, "headers": passed})
    await send({"type": "http.response.body", "body": begun, "more_body": True})
    try:
        async for chunk in answer.chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except ApiError as error:
        log.event(logging.WARNING, "a forwarded answer broke off", code=error.code, what=error.message)
        return
    await send({"type": "http.response.body", "body": b""})
