"""Wake-ups: who waits for something is told that it has happened, in this process and in others.

queued      a run waits for somebody to execute it
stopped     runs were cancelled or deleted, and whoever executes them has to look now
progressed  a run has new events; said to other processes only while one of them follows it
wanted      this process follows these runs, which live elsewhere; said again and again
revoked     keys or policies have changed; said with the commit itself, by whoever changed them

All of it is hints: without them everything is found a poll later.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Self

from app.store.notices import REVOKED, Notices

_QUEUED, _STOPPED, _PROGRESSED, _WANTED = "queued", "stopped", "progressed", "wanted"
_SAY_AGAIN, _FORGET = 10.0, 30.0


@dataclass(slots=True)
class Hints:
    """What the worker of this process should look at before it would have anyway."""

    queued: bool = False
    stopped: set[str] = field(default_factory=set)
    """Ids of runs, also of runs that live in other processes."""


class Following:
    """A follower's ear for one run. What was said since it last waited wakes it at once."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def change(self) -> None:
        """Wake the follower."""
        self._changed.set()

    async def changed(self, seconds: float) -> bool:
        """Wait until the run has new events, or may have; False when nobody said so, for so long."""
        said = await _within(seconds, self._changed)
        self._changed.clear()
        return said


class Wakeups:
    """Passes hints on between the parts of this process, and by notices to other processes.

    To be entered before anything is said: `async with Wakeups(...)`.
    """

    def __init__(self, notices: Notices, say_again: float = _SAY_AGAIN, forget: float = _FORGET) -> None:
        self._notices = notices
        self._say_again = say_again
        self._believed = forget
        self._hints = Hints()
        self._work = asyncio.Event()
        self._followed: dict[str, set[Following]] = {}
        self._wanted: dict[str, float] = {}
        """Runs that another process follows, and until when that is believed, soonest first."""
        self._announcing: asyncio.Task[None] | None = None
        self._revoked: list[Callable[[], None]] = []

    async def __aenter__(self) -> Self:
        self._notices.open(self._heard)
        self._announcing = asyncio.create_task(self._announce(), name="wakeups-announce")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._announcing is not None:
            self._announcing.cancel()
        await self._notices.close()

    def queued(self) -> None:
        """A run waits to be claimed, by this process or another one."""
        self._hear_queued()
        self._notices.send(_QUEUED)

    def room(self) -> None:
        """This process has a place for another background run."""
        self._hear_queued()

    def stopped(self, ids: Iterable[str]) -> None:
        """These runs were cancelled or deleted, wherever they live."""
        ids = list(ids)
        self._hear_stopped(ids)
        self._notices.send(_STOPPED, ids)

    def progressed(self, interaction_id: str) -> None:
        """A run of this process has committed something: events, its end, another status.

        Called for every commit of every run, so it costs nothing as long as nobody wants to know.
        """
        if interaction_id in self._followed:
            self._change(interaction_id)
        if interaction_id in self._wanted and self._wanted[interaction_id] > time.monotonic():
            self._notices.send(_PROGRESSED, (interaction_id,))

    def on_revoked(self, forget: Callable[[], None]) -> None:
        """Have this called whenever keys or policies have changed, wherever that was done."""
        self._revoked.append(forget)

    async def work(self, seconds: float) -> Hints:
        """Wait, but not longer than this, for a hint; all that came since the last call.

        For one worker: what it was told is not told again.
        """
        await _within(seconds, self._work)
        self._work.clear()
        hints, self._hints = self._hints, Hints()
        return hints

    @contextlib.contextmanager
    def following(self, interaction_id: str) -> Iterator[Following]:
        """Have a run's progress told to this process, wherever the run lives, until the end of the block."""
        mine = Following()
        others = self._followed.setdefault(interaction_id, set())
        if not others:
            self._notices.send(_WANTED, (interaction_id,))
        others.add(mine)
        try:
            yield mine
        finally:
            others.discard(mine)
            if not others:
                del self._followed[interaction_id]

    async def _announce(self) -> None:
        """Say again what is followed here: a process may not have been there when it was said."""
        while True:
            await asyncio.sleep(self._say_again)
            if self._followed:
                self._notices.send(_WANTED, self._followed)
            self._forget()

    def _heard(self, kind: str, ids: list[str]) -> None:
        """What another process said. A newer version may say things that mean nothing here."""
        if kind == _QUEUED:
            self._hear_queued()
        elif kind == _STOPPED:
            self._hear_stopped(ids)
        elif kind == _PROGRESSED:
            for each in ids:
                self._change(each)
        elif kind == _WANTED:
            self._hear_wanted(ids)
        elif kind == REVOKED:
            for forget in self._revoked:
                forget()

    def _hear_queued(self) -> None:
        self._hints.queued = True
        self._work.set()

    def _hear_stopped(self, ids: Iterable[str]) -> None:
        self._hints.stopped.update(ids)
        self._work.set()

    def _hear_wanted(self, ids: Iterable[str]) -> None:
        until = time.monotonic() + self._believed
        for each in ids:
            self._wanted.pop(each, None)  # so that it goes to the end
            self._wanted[each] = until
        self._forget()

    def _forget(self) -> None:
        now = time.monotonic()
        for each in [*takewhile(lambda each: self._wanted[each] <= now, self._wanted)]:
            del self._wanted[each]

    def _change(self, interaction_id: str) -> None:
        for following in self._followed.get(interaction_id, ()):
            following.change()


async def _within(seconds: float, event: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()
