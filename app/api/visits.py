"""Visits: requests as they are seen from outside, from the first byte to the last.

The route that takes one says which action it is, the handler who asks and what about. When it is
over it is counted (`metrics`) and written down (`audited`).
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import ids
from app.errors import code_of

_CANCELLED = "cancelled"
_ID = b"x-request-id"


class Caller(Protocol):
    """What is written down of who asks."""

    @property
    def project_id(self) -> str:
        """The project whose log it is."""

    @property
    def key_id(self) -> str | None:
        """The key; None where the project is the key."""

    @property
    def address(self) -> str | None:
        """Where the request comes from."""


@dataclass(slots=True)
class Visit:
    """A request. `code` is the error's, where there is one; `status` is 0 until it is answered.

    What comes in is counted where it is limited, what goes out here.
    """

    request_id: str
    address: str | None
    action: str | None = None
    caller: Caller | None = None
    target: str | None = None
    status: int = 0
    code: str | None = None
    complete: bool = False
    bytes_in: int = 0
    bytes_out: int = 0

    @property
    def outcome(self) -> str:
        """How it ended: "ok", or the code of what was wrong."""
        if self.code is not None:
            return self.code
        if not self.complete:
            return _CANCELLED
        return "ok" if self.status < 400 else code_of(self.status)


Listener = Callable[[Scope, Visit], None]
"""Is told of every visit that is over."""


def of(scope: Scope) -> Visit:
    """The visit that this request is."""
    visit: Visit = scope["visit"]
    return visit


class Visits:
    """The outermost application: gives every request an id, tells it in the answer, and watches.

    `during` is what goes on around a request with these headers.
    """

    def __init__(
        self,
        app: ASGIApp,
        during: Callable[[Sequence[tuple[bytes, bytes]]], AbstractContextManager[None]],
        *listeners: Listener,
    ) -> None:
        self._app = app
        self._during = during
        self._listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        visit = Visit(ids.new_id("req"), client[0] if client else None)
        scope["visit"] = visit

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = [*message["headers"], (_ID, visit.request_id.encode())]
            else:
                visit.bytes_out += len(message.get("body", b""))
                visit.complete = not message.get("more_body", False)
            await send(message)

        try:
            with self._during(scope["headers"]):
                await self._app(scope, receive, sending)
        finally:
            for listener in self._listeners:
                listener(scope, visit)
