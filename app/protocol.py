"""The HTTP protocol of the server: uvicorn's, with bounds on what comes before there is a request.

httptools takes headers of any size for any time, and the application is not asked before they are
complete. Here they end in time and within `header_bytes` (and the read that began them), and so
does, in time, whatever is still sent of a request that has been answered.
"""

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app import ids, log
from app.errors import envelope
from app.settings import Limits

_HEAD = (
    b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
)


class Protocol(HttpToolsProtocol):
    """One connection. Closed when it owes us something for longer than `header_seconds`."""

    def __init__(self, limits: Limits, **server: Any) -> None:
        super().__init__(**server)
        self._limits = limits
        self._size = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        super().connection_lost(exc)
        self._unwatch()

    def data_received(self, data: bytes) -> None:
        """Parse; then see whether the client is still in the middle of something."""
        before = self.scope
        super().data_received(data)
        self._size = self._size + len(data) if self.scope is before else 0
        if self.transport.is_closing():
            return
        if self._in_head() and self._size > self._limits.header_bytes:
            self._refuse(431, f"Headers of more than {self._limits.header_bytes} bytes.")
        elif self._in_head() or self.cycle is None or self.cycle.response_complete:
            self._watch()
        else:
            self._unwatch()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers, which come after the body, are not part of the request."""
        if self._in_head():
            super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self._refuse(400, msg)

    def _in_head(self) -> bool:
        # uvicorn makes the scope with the first byte, and adds the path after the last header.
        return self.scope is not None and "path" not in self.scope

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self._limits.header_seconds, self.transport.close)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int, message: str) -> None:
        """Answer, unless another answer is being sent, and close the connection."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            url = self.url if self.scope is not None else b""
            request_id = ids.new_id("req")
            body = envelope(url.decode("latin-1"), status, message)
            self.transport.write(STATUS_LINE[status] + _HEAD % (len(body), request_id.encode()) + body)
            log.event(logging.DEBUG, "not a request", request=request_id, status=status, reason=message)
        self.transport.close()
