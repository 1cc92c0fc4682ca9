"""Admission: how many runs go on at once, and who is next when there are too many.

A run takes a slot before anything of it is kept in memory, and gives it back at its end. Where
none is free it waits in its project's line; the lines take turns, so that a project with a
thousand runs in line delays another project's first one by a single turn.

A slot is never free while somebody who may have it waits: whoever gives one back hands it on.
So a run that finds a free slot overtakes nobody.
"""

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Self

from app.errors import ApiError, Unavailable


class Slot:
    """The right to execute one run; given back at the end of a `with`, unless it was kept."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def keep(self) -> "Slot":
        """The same right for somebody who stays longer."""
        release, self._release = self._release, None
        return Slot(release or _nothing)

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        release, self._release = self._release, None
        if release is not None:
            release()


class Admission:
    """Hands out `total` slots, no more than `per_project` of them to one project.

    Up to `queue` runs wait for one, for `wait_seconds` each.
    """

    def __init__(self, total: int, per_project: int, queue: int, wait_seconds: float) -> None:
        self._total = total
        self._per_project = per_project
        self._queue = queue
        self._seconds = wait_seconds
        self._held: dict[str, int] = {}
        self._lines: dict[str, OrderedDict[asyncio.Future[Slot], None]] = {}
        self._turns: OrderedDict[str, None] = OrderedDict()
        """The projects that have a line and are below their own limit, the next one first."""
        self.running = 0
        self.waiting = 0

    def try_enter(self, project_id: str) -> Slot | None:
        """A slot, if one is free now."""
        held = self._held.get(project_id, 0)
        if self.running >= self._total or held >= self._per_project:
            return None
        self._held[project_id] = held + 1
        self.running += 1
        return Slot(partial(self._give_back, project_id))

    @property
    def free(self) -> int:
        """How many slots nobody has."""
        return self._total - self.running

    def full(self) -> list[str]:
        """The projects that may have no more slots now."""
        return [project for project, held in self._held.items() if held >= self._per_project]

    async def enter(self, project_id: str) -> Slot:
        """A slot, in turn.

        Raises ApiError (429) when the project has too many runs, Unavailable (503) when the process has.
        """
        return self.try_enter(project_id) or await self._wait(project_id)

    async def _wait(self, project_id: str) -> Slot:
        waiter = self._line_up(project_id)
        try:
            # Unlike awaiting it, this never cancels it: it is done exactly when it has got a slot.
            await asyncio.wait((waiter,), timeout=self._seconds)
        except asyncio.CancelledError:
            if waiter.done() and waiter.exception() is None:
                waiter.result().release()
            self._leave(project_id, waiter)
            raise
        if waiter.done():
            return waiter.result()
        self._leave(project_id, waiter)
        raise self._refusal(project_id)

    def _line_up(self, project_id: str) -> "asyncio.Future[Slot]":
        if self.waiting >= self._queue:
            self._make_room(project_id)
        waiter: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(project_id, OrderedDict())[waiter] = None
        self.waiting += 1
        self._take_turn(project_id)
        return waiter

    def _make_room(self, project_id: str) -> None:
        """Refuse the last of the longest line, or the newcomer if that would be no fairer."""
        mine = len(self._lines.get(project_id, ()))
        longest = max(self._lines, key=lambda each: len(self._lines[each]), default=project_id)
        if mine + 1 >= len(self._lines.get(longest, ())):
            raise self._refusal(project_id)
        last = next(reversed(self._lines[longest]))
        last.set_exception(self._refusal(longest))
        self._leave(longest, last)

    def _leave(self, project_id: str, waiter: "asyncio.Future[Slot]") -> None:
        """Out of the line, if it is still there; a line of nobody is no line."""
        line = self._lines.get(project_id)
        if line is not None and waiter in line:
            del line[waiter]
            self.waiting -= 1
            if not line:
                del self._lines[project_id]
                self._turns.pop(project_id, None)

    def _give_back(self, project_id: str) -> None:
        self.running -= 1
        self._held[project_id] -= 1
        if not self._held[project_id]:
            del self._held[project_id]
        self._take_turn(project_id)
        self._hand_on()

    def _hand_on(self) -> None:
        """Fill what is free, one of each line in turn."""
        while self._turns and self.running < self._total:
            project_id, _ = self._turns.popitem(last=False)
            waiter = next(iter(self._lines[project_id]))
            slot = self.try_enter(project_id)
            assert slot is not None  # noqa: S101 - a project with a turn is below its limit
            waiter.set_result(slot)
            self._leave(project_id, waiter)
            self._take_turn(project_id)

    def _take_turn(self, project_id: str) -> None:
        """Let a project's line take part in the turns, from the end on, if it may."""
        if project_id in self._lines and self._held.get(project_id, 0) < self._per_project:
            self._turns.setdefault(project_id)

    def _refusal(self, project_id: str) -> ApiError:
        again = max(1, math.ceil(self._seconds))
        if self._held.get(project_id, 0) >= self._per_project:
            text = f"The project has {self._per_project} interactions running, which is its limit; try later."
            headers = {"retry-after": str(again)}
            return ApiError(text, status=429, code="rate_limit_exceeded", headers=headers)
        return Unavailable("The gateway has too many interactions running; try later.", retry_after=again)


def _nothing() -> None:
    """A slot that was given back already."""
