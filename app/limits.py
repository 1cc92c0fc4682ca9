"""Limits: what a request may cost before anybody looks at it. Pure ASGI.

400  two Hosts, or a length and chunks; a path that is not in its canonical form
408  a body that does not arrive in time
413  a body past the limit, before it is read on
431  too many headers, or too long ones, the URL included
503  a request that is still going on when the server has to stop
504  a request that takes too long in all
"""

import asyncio
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api import visits
from app.errors import ApiError, code_of, envelope
from app.settings import Limits as LimitSettings


class _Refused(ApiError):
    """Closes the connection: what is left of the request is not read."""

    def __init__(self, status: int, message: str) -> None:
        code = "invalid_request" if status < 500 else code_of(status)
        super().__init__(message, status=status, code=code, headers={"connection": "close"})


class Limits:
    """Refuses what is too much or ambiguous; everything else passes untouched."""

    def __init__(self, app: ASGIApp, limits: LimitSettings) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
            await self._timed(self._app(scope, self._bounded(scope, receive), send))
        except _Refused as refused:
            if not visits.of(scope).status:
                await _refuse(scope, send, refused)

    async def _timed(self, answered: Awaitable[None]) -> None:
        """Until it is answered, but not for ever."""
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                await answered
        except TimeoutError:
            raise _Refused(504, "The request took too long.") from None
        except asyncio.CancelledError:  # by the server, which has waited long enough
            raise _Refused(503, "The gateway is shutting down.") from None

    def _check(self, scope: Scope) -> None:
        headers = scope["headers"]
        if len(headers) > self._limits.header_count:
            raise _Refused(431, f"More than {self._limits.header_count} headers.")
        url = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if url + sum(len(name) + len(value) for name, value in headers) > self._limits.header_bytes:
            raise _Refused(431, f"Headers of more than {self._limits.header_bytes} bytes.")
        hosts = framings = 0
        for name, value in headers:
            if name == b"host":
                hosts += 1
            elif name in (b"content-length", b"transfer-encoding"):
                framings += 1
                _check_framing(name, value, self._most(scope))
            elif name == b"expect" and value.lower() != b"100-continue":
                raise _Refused(417, "The expectation cannot be met.")
        if hosts > 1 or framings > 1:
            raise _Refused(400, "Ambiguous request: repeated Host, Content-Length or Transfer-Encoding.")
        _check_path(scope)

    def _most(self, scope: Scope) -> int:
        """How many bytes the body may have."""
        return self._limits.upload_bytes if _is_upload(scope) else self._limits.body_bytes

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, until the body is complete in bounded time and size; untouched afterwards.

        The time is that of the whole body; of an upload, the time from one piece to the next.
        """
        visit, complete = visits.of(scope), False
        most, upload = self._most(scope), _is_upload(scope)
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._limits.body_seconds

        async def bounded() -> Message:
            nonlocal complete, deadline
            if complete:
                return await receive()
            if upload:
                deadline = clock() + self._limits.body_seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise _Refused(408, "The request body did not arrive in time.") from None
            visit.bytes_in += len(message.get("body", b""))
            if visit.bytes_in > most:
                raise _too_large(most)
            complete = not message.get("more_body", False)
            return message

        return bounded


def _is_upload(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith("/upload/")


def _check_framing(name: bytes, value: bytes, most: int) -> None:
    if name == b"transfer-encoding":
        if value.lower() != b"chunked":
            raise _Refused(400, "Transfer-Encoding can only be chunked.")
        return
    if not value.isdigit():
        raise _Refused(400, "Content-Length is not a number.")
    if len(value) > 15 or int(value) > most:
        raise _too_large(most)


def _too_large(most: int) -> _Refused:
    return _Refused(413, f"The request body is larger than {most} bytes.")


def _check_path(scope: Scope) -> None:
    raw: bytes = scope.get("raw_path") or b""
    path: str = scope["path"]
    parts = path.split("/")
    if (
        not path.startswith("/")
        or "//" in path
        or "." in parts
        or ".." in parts
        or ";" in path
        or "\\" in path
        or not path.isprintable()
        or "\ufffd" in path  # stands for bytes that are no UTF-8, any of them
        or b"%2f" in raw.lower()
    ):
        raise _Refused(400, "The path is not in its canonical form.")


async def _refuse(scope: Scope, send: Send, refused: _Refused) -> None:
    body = envelope(scope["path"], refused.status, refused.message, refused.code)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
