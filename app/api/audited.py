"""How requests become entries of the audit log: here, and only here.

Every request is a *visit*, from the first byte to the last. The route that takes it says which
action it is, the handler who asks and what about; the rest is seen from outside. What no route
takes (health, unknown paths) is no entry. The entry is written when the answer is over, beside
whatever else is committed: nobody waits for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import ids, log
from app.core.audit import GATEWAY, Actor, Entry
from app.errors import code_of
from app.store.audit import Audit

PEN = "pen"
"""The name of the pen in the state that the application's lifespan makes."""

_CANCELLED = "cancelled"
_ID = b"x-request-id"
_STRANGERS_SECONDS = 1.0
_MOMENT = 0.02


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
    """A request, as far as the audit log is concerned. `code` is the error's, where there is one."""

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

    def entry(self) -> Entry:
        """The entry for it; of somebody without a valid key in the log of the gateway itself."""
        by, action = self.caller, self.action or ""
        if by is None:
            actor = Actor("key", None, self.address, self.request_id)
            return Entry(GATEWAY, actor, action, None, self.outcome, self.bytes_in, self.bytes_out)
        actor = Actor("key", by.key_id, by.address or self.address, self.request_id)
        sizes = (self.bytes_in, self.bytes_out)
        return Entry(by.project_id, actor, action, self.target, self.outcome, *sizes)


def of(scope: Scope) -> Visit:
    """The visit that this request is."""
    visit: Visit = scope["visit"]
    return visit


class Audited:
    """The outermost application: gives every request an id, tells it in the answer, and has it written."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._strangers = _Strangers(time.monotonic)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        visit = Visit(ids.new_id("req"), client[0] if client else None)
        scope["visit"] = visit

        async def receiving() -> Message:
            message = await receive()
            visit.bytes_in += len(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                message["headers"] = [*message["headers"], (_ID, visit.request_id.encode())]
            else:
                visit.bytes_out += len(message.get("body", b""))
                visit.complete = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        finally:
            if visit.action is not None:
                self._write(visit, scope["state"][PEN])

    def _write(self, visit: Visit, pen: "Pen") -> None:
        entry = visit.entry()
        if visit.caller is None:
            unwritten = self._strangers.take()
            if unwritten is None:
                return
            entry = entry._replace(details={"unwritten": unwritten} if unwritten else None)
        pen.write(entry)


class Pen:
    """Writes the entries of a moment together: a commit for each would cost more than its request."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._waiting: list[Entry] = []

    def write(self, entry: Entry) -> None:
        """Have an entry written in a moment."""
        if not self._waiting:
            asyncio.get_running_loop().call_later(_MOMENT, self.flush)
        self._waiting.append(entry)

    def flush(self) -> None:
        """Write what waits."""
        entries, self._waiting = self._waiting, []
        if entries:
            self._audit.write(*entries).add_done_callback(partial(_look, entries))


class _Strangers:
    """Lets one entry a second be written for those without a key: whoever has none cannot fill the log."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._next = 0.0
        self._unwritten = 0

    def take(self) -> int | None:
        """How many were not written since the last one; None when this one is not to be written."""
        now = self._clock()
        if now < self._next:
            self._unwritten += 1
            return None
        self._next = now + _STRANGERS_SECONDS
        unwritten, self._unwritten = self._unwritten, 0
        return unwritten


def _look(entries: Sequence[Entry], done: "asyncio.Future[None]") -> None:
    """What could not be written stands at least in the log of the process: it has no content."""
    if done.cancelled() or done.exception() is None:
        return
    for project_id, actor, action, target, outcome, *_ in entries:
        who = {"project": project_id, "key": actor.name, "request": actor.request_id}
        what = {"action": action, "target": target, "outcome": outcome}
        log.event(logging.ERROR, "not written to the audit log", **who, **what)
