"""The sweeper: of all processes one at a time erases what has expired, in small batches.

A sweep is a few jobs, and each goes on until it finds nothing to do. Between two batches others
have their turn, and the lease is renewed; a process that dies in the middle is followed by another
when the lease lapses. A batch that fails is logged, and its rows are there for the next sweep.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from app import log
from app.errors import ApiError
from app.settings import Retention as RetentionSettings
from app.store.erasure import START
from app.store.leases import Leases
from app.store.retention import Retention
from app.telemetry.observer import QUIET, Observer

SWEEP = "sweep"
"""The name of the lease."""

_LEASE_MS = 60_000
_PAUSE = 0.005
_WHOLE_EVERY = 60
"""What expired longer ago is looked at again only so often: most of it still is held by what continues it."""


class _LostLease(Exception):
    """Somebody else sweeps now."""


class Sweeper:
    """A loop that sweeps about every `sweep_seconds`.

    `chores` are what else is done on the way; each is asked again until it finds nothing to do.
    """

    def __init__(
        self,
        retention: Retention,
        leases: Leases,
        chores: Sequence[Callable[[], Awaitable[bool]]],
        owner: str,
        settings: RetentionSettings,
        observer: Observer = QUIET,
    ) -> None:
        self._observer = observer
        self._retention = retention
        self._leases = leases
        self._chores = chores
        self._owner = owner
        self._every = settings.sweep_seconds
        self._sweeps = 0
        self._seen = START

    async def run(self) -> None:
        """Sweep until cancelled; whatever goes wrong costs a sweep, not the loop."""
        while True:
            await asyncio.sleep(self._every * random.uniform(0.5, 1.5))  # noqa: S311 - spreads replicas
            await self._attempt(self.sweep)

    async def sweep(self) -> bool:
        """Do everything that is to be done; False when another process does it, or took it over."""
        if not await self._leases.take(SWEEP, self._owner, _LEASE_MS):
            return False
        try:
            chores = [partial(self._drain, chore) for chore in self._chores]
            jobs: list[Callable[[], Awaitable[object]]] = [self._compact, self._expire, self._purge, *chores]
            for job in (*jobs, self._retention.checkpoint):
                await self._attempt(job)
        except _LostLease:
            log.event(logging.WARNING, "another process has taken over the sweep")
            return False
        await self._leases.done(SWEEP, self._owner)
        self._sweeps += 1
        self._observer.swept()
        return True

    async def _compact(self) -> None:
        await self._drain(self._retention.compact)

    async def _expire(self) -> None:
        position = self._seen if self._sweeps % _WHOLE_EVERY else START
        while (found := await self._retention.expired(position)) is not None:
            await self._attempt(partial(self._erase, found.free))
            await self._pause()
            position = found.last
        self._seen = position

    async def _erase(self, ids: Sequence[str]) -> None:
        """Erase these and whatever that frees, up to the beginning of their conversations."""
        count = 0
        while ids:
            erased = await self._retention.erase(ids)
            ids, count = erased.left, count + erased.count
            await self._pause()
        if count:
            self._observer.erased(count)
            log.event(logging.INFO, "erased what had expired", interactions=count)

    async def _purge(self) -> None:
        await self._drain(self._retention.purge)

    async def _drain(self, step: Callable[[], Awaitable[bool]]) -> None:
        while await step():
            await self._pause()

    async def _pause(self) -> None:
        """Let others write, and make sure that nobody else sweeps."""
        await asyncio.sleep(_PAUSE)
        if not await self._leases.take(SWEEP, self._owner, _LEASE_MS):
            raise _LostLease

    async def _attempt(self, job: Callable[[], Awaitable[object]]) -> None:
        try:
            await job()
        except _LostLease:
            raise
        except ApiError as error:
            log.event(logging.WARNING, "a part of the sweep failed", reason=error.message)
        except Exception:  # noqa: BLE001 - the rest of the sweep, and the next one, must go on
            log.logger().exception("a part of the sweep failed in a way nobody foresaw")
