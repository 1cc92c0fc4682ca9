"""How requests become entries of the audit log: here, and only here.

What no route takes (health, unknown paths) is no entry. The entry is written when the answer is
over, beside whatever else is committed: nobody waits for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from starlette.types import Scope

from app import log
from app.api.visits import Visit
from app.core.audit import GATEWAY, Actor, Entry
from app.store.audit import Audit

PEN = "pen"
"""The name of the pen in the state that the application's lifespan makes."""

_STRANGERS_SECONDS = 1.0
_MOMENT = 0.02


class Audited:
    """Has every visit written that a route has taken."""

    def __init__(self) -> None:
        self._strangers = _Strangers(time.monotonic)

    def __call__(self, scope: Scope, visit: Visit) -> None:
        """Write a visit that is over."""
        if visit.action is None:
            return
        entry = _entry(visit, visit.action)
        if visit.caller is None:
            unwritten = self._strangers.take()
            if unwritten is None:
                return
            entry = entry._replace(details={"unwritten": unwritten} if unwritten else None)
        pen: Pen = scope["state"][PEN]
        pen.write(entry)


def _entry(visit: Visit, action: str) -> Entry:
    """The entry for it; of somebody without a valid key in the log of the gateway itself."""
    by, sizes = visit.caller, (visit.bytes_in, visit.bytes_out)
    if by is None:
        actor = Actor("key", None, visit.address, visit.request_id)
        return Entry(GATEWAY, actor, action, None, visit.outcome, *sizes)
    actor = Actor("key", by.key_id, by.address or visit.address, visit.request_id)
    return Entry(by.project_id, actor, action, visit.target, visit.outcome, *sizes)


class Pen:
    """Writes the entries of a moment together: what a transaction costs is above all the pages it touches."""

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
