"""Quotas: requests and tokens in a minute, and runs at a time, of a project or a key; also of some models.

Requests and tokens are counted by the library `limits` with a sliding window: in this process, or in
Redis for all replicas. When Redis does not answer, each process counts by itself until it does: limits
keep a team from crowding out another, and are not worth refusing everybody. Tokens are taken by an
estimate, and corrected when it is known what was used. Runs at a time are counted here and in the
database, which knows the other replicas' runs.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from limits.aio.storage import MemoryStorage, RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import RedisError

from app import log
from app.core.quota import WINDOW, Scope, Window, wait
from app.errors import ApiError

R = TypeVar("R")

_ANY = 2**53
"""A limit that corrections never meet."""
_REDIS_SECONDS = 1.0
_REDIS_CONNECTIONS = 32
_REDIS_AGAIN = 5.0

Running = Callable[[str, str | None, str | None], Awaitable[int]]
"""How many runs of a project go on, in all replicas: of one key, and of the models that fit a pattern."""


class _Taken(NamedTuple):
    counter: str
    amount: int
    tokens: bool


class Permit:
    """The right to make one call; to be given back when it has ended, with what it has used."""

    def __init__(self, counters: "Counters", live: Counter[str]) -> None:
        self._counters = counters
        self._live = live
        self._entered: list[str] = []
        self._began = time.monotonic()
        self.taken: list[_Taken] = []

    def enter(self, counter: str) -> None:
        """Count as one of those that go on."""
        self._live[counter] += 1
        self._entered.append(counter)

    def leave(self) -> None:
        """The call has ended; a second time does nothing."""
        entered, self._entered = self._entered, []
        for counter in entered:
            self._live[counter] -= 1
            if not self._live[counter]:
                del self._live[counter]

    async def settle(self, tokens: int) -> None:
        """Correct the estimate by what the call has used. What is a minute old is corrected only upwards."""
        old = time.monotonic() - self._began >= WINDOW
        for taken in self.taken:
            more = tokens - taken.amount
            if taken.tokens and more and not (old and more < 0):
                await self._counters.add(taken.counter, more)
        self.taken = []

    async def give_back(self) -> None:
        """The call is not made: as if nobody had asked."""
        self.leave()
        for taken in self.taken:
            await self._counters.add(taken.counter, -taken.amount)
        self.taken = []


class Counters:
    """Counts in Redis, where there is one that answers, else in this process."""

    def __init__(self, redis_url: str | None) -> None:
        self._memory = MemoryStorage()
        self._redis: RedisStorage | None = None
        self._pool: BlockingConnectionPool | None = None
        self._away_until = 0.0
        if redis_url is not None:
            self._pool = BlockingConnectionPool.from_url(
                redis_url,
                max_connections=_REDIS_CONNECTIONS,
                timeout=_REDIS_SECONDS,
                socket_timeout=_REDIS_SECONDS,
                socket_connect_timeout=_REDIS_SECONDS,
            )
            options: dict[str, Any] = {"connection_pool": self._pool}
            self._redis = RedisStorage(redis_url, implementation="redispy", **options)

    async def take(self, counter: str, limit: int, amount: int) -> bool:
        """Count so much more, unless that is over the limit."""
        return await self._do(
            lambda storage: storage.acquire_sliding_window_entry(counter, limit, WINDOW, amount)
        )

    async def add(self, counter: str, amount: int) -> None:
        """Count more, or less, whatever the limit is."""
        await self.take(counter, _ANY, amount)

    async def window(self, counter: str) -> Window:
        """What has been counted."""
        before, before_left, now, now_left = await self._do(
            lambda storage: storage.get_sliding_window(counter, WINDOW)
        )
        return Window(before, before_left, now, now_left)

    async def close(self) -> None:
        """Let go of the connections."""
        if self._pool is not None:
            await self._pool.disconnect()

    async def _do(self, ask: Callable[[MemoryStorage | RedisStorage], Awaitable[R]]) -> R:
        if self._redis is not None and time.monotonic() >= self._away_until:
            try:
                return await ask(self._redis)
            except (RedisError, OSError) as error:
                self._away_until = time.monotonic() + _REDIS_AGAIN
                log.event(logging.WARNING, "no Redis: each process counts by itself", reason=str(error))
        return await ask(self._memory)


class Quota:
    """Lets calls pass that are within all limits of theirs."""

    def __init__(self, counters: Counters, running: Running) -> None:
        self._counters = counters
        self._running = running
        self._live: Counter[str] = Counter()

    async def admit(self, scopes: Sequence[Scope], tokens: int) -> Permit:
        """Count a call that may use so many tokens.

        Raises ApiError (429), naming the limit; nothing is counted then.
        """
        permit = Permit(self._counters, self._live)
        try:
            for scope in scopes:
                await self._enter(permit, scope)
            for scope in scopes:
                await self._take(permit, scope, "requests", scope.limits.rpm, 1)
                await self._take(permit, scope, "tokens", scope.limits.tpm, tokens)
        except BaseException:
            await permit.give_back()
            raise
        return permit

    async def _enter(self, permit: Permit, scope: Scope) -> None:
        most = scope.limits.concurrent
        if most is None:
            return
        here = self._live[scope.counter]
        if here < most:
            permit.enter(scope.counter)  # before anything is awaited: the next one has to see it
        if here >= most or await self._running(*scope[1:]) >= most:
            text = f"The {scope.owner} has {most} interactions running, which is {scope.named('concurrent')}."
            raise _refused(text, 1)

    async def _take(self, permit: Permit, scope: Scope, what: str, limit: int | None, amount: int) -> None:
        if limit is None:
            return
        counter = f"gateway:{scope.counter}:{what}"
        amount = min(amount, limit)  # an estimate alone refuses nobody for ever
        if await self._counters.take(counter, limit, amount):
            permit.taken.append(_Taken(counter, amount, tokens=what == "tokens"))
            return
        seconds = wait(limit, amount, await self._counters.window(counter))
        name = scope.named("tpm" if what == "tokens" else "rpm")
        raise _refused(f"The {scope.owner} has used its {limit} {what} in a minute, {name}.", seconds)


def _refused(text: str, seconds: int) -> ApiError:
    headers = {"retry-after": str(seconds)}
    return ApiError(text, status=429, code="rate_limit_exceeded", headers=headers)
