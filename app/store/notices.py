"""Notices: what processes on one PostgreSQL server tell one another at once, by LISTEN and NOTIFY.

They are hints. Any of them may be lost, come twice or in another order: whoever hears one looks
into the database sooner than it would have, no more. So nothing is sent a second time, nothing
waits for a notice to arrive, and where none arrives (SQLite, or a pooler that hands out another
connection for every transaction) the same things happen a poll later.

NOTIFY takes a lock on the whole server at commit. What gathers within 50 ms therefore leaves in
one transaction, on a connection of its own that does not wait for the disk.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import psycopg
from sqlalchemy import Connection, func, make_url, select

from app import log

Heard = Callable[[str, list[str]], None]
"""What is done with a notice: its kind, and the ids that it is about."""

REVOKED = "revoked"
"""Keys or policies have changed: what is remembered of them is forgotten."""

_CHANNEL = "gateway"
# The driver's own connection takes text, and LISTEN is no expression anyway.
_LISTEN = "LISTEN gateway"
_NOTIFY = "SELECT pg_notify('gateway', text) FROM unnest(%s::text[]) AS text"
_LONGEST_TEXT = 7900  # PostgreSQL refuses 8000 bytes
_MOST_WAITING = 10_000
_GATHER, _OUTAGE = 0.05, 1.0
_FIRST_PAUSE, _LONGEST_PAUSE, _STEADY = 0.1, 10.0, 15.0
_LAST_SECONDS = 1.0
_CONNECTION = {
    "connect_timeout": 5,
    "options": "-c synchronous_commit=off",
    # A server that is gone without a word is noticed within half a minute, also by who only listens.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class Notices(Protocol):
    """Says things to the other processes, and hears what they say."""

    def open(self, heard: Heard) -> None:
        """Begin to listen, in the background: from now on, whenever the server can be reached."""
        ...

    def send(self, kind: str, ids: Iterable[str] = ()) -> None:
        """Tell every other process, soon; returns at once, and never fails."""
        ...

    async def close(self) -> None:
        """Send what still waits, if that is a matter of a moment, and stop listening."""
        ...


def of(url: str) -> Notices:
    """The notices of the processes that share this database."""
    if make_url(url).get_backend_name() == "sqlite":
        return Silence()
    return PostgresNotices(url)


def announce(connection: Connection, kind: str) -> None:
    """Tell every process, this one too, when the transaction commits; on SQLite nobody would hear it."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_notify(_CHANNEL, kind)))


class Silence:
    """Nobody to hear anything, and nobody to tell: processes on one SQLite file poll."""

    def open(self, heard: Heard) -> None:
        """Nothing will be heard."""

    def send(self, kind: str, ids: Iterable[str] = ()) -> None:
        """Nobody hears it."""

    async def close(self) -> None:
        """There is nothing to stop."""


class PostgresNotices:
    """Listens on one connection and speaks on another, both opened again whenever they break."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url).set(drivername="postgresql+psycopg")
        self._address = {**_CONNECTION, **parsed.get_dialect()().create_connect_args(parsed)[1]}
        self._outbox = Outbox()
        self._tasks: list[asyncio.Task[None]] = []
        self._speaker: psycopg.AsyncConnection[Any] | None = None
        self._own_pid = 0

    def open(self, heard: Heard) -> None:
        """See Notices."""
        self._tasks = [
            asyncio.create_task(self._listen(heard), name="notices-listen"),
            asyncio.create_task(self._speak(), name="notices-speak"),
        ]

    def send(self, kind: str, ids: Iterable[str] = ()) -> None:
        """See Notices."""
        self._outbox.add(kind, ids)

    async def close(self) -> None:
        """See Notices."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._deliver(self._outbox.take())
        await self._hang_up()

    async def _listen(self, heard: Heard) -> None:
        """Listen for ever, whatever happens to the connection; one warning for each outage."""
        pause, clock = 0.0, asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                await self._hear(heard)
            except Exception as error:  # noqa: BLE001 - a process that hears nothing still polls
                if pause == 0 or clock() - began > _STEADY:  # else the last outage is still going on
                    pause = _FIRST_PAUSE
                    cause = str(error).partition("\n")[0]
                    log.event(logging.WARNING, "other processes cannot be heard; polling", cause=cause)
                else:
                    pause = min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _hear(self, heard: Heard) -> None:
        async with await self._connect() as connection:
            await connection.execute(_LISTEN)
            async with contextlib.aclosing(connection.notifies()) as notices:
                async for notice in notices:
                    if notice.pid != self._own_pid:
                        kind, *ids = notice.payload.split(" ")
                        heard(kind, ids)

    async def _speak(self) -> None:
        """Send what waits: at once after a silence, else all that 50 ms have gathered."""
        while True:
            await self._outbox.filled()
            delivered = await self._deliver(self._outbox.take())
            await asyncio.sleep(_GATHER if delivered else _OUTAGE)

    async def _deliver(self, texts: list[str]) -> bool:
        """Send these texts in one transaction; False when they are lost."""
        if not texts:
            return True
        for _ in range(2):  # that a connection has died is only noticed by using it
            try:
                connection = self._speaker or await self._connect()
                self._speaker, self._own_pid = connection, connection.info.backend_pid
                await connection.execute(_NOTIFY, (texts,))
            except Exception:  # noqa: BLE001 - what cannot be sent is lost, and nothing else is
                await self._hang_up()
            else:
                return True
        return False

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        # Nothing is prepared: behind a pooler the next statement may meet another server process.
        return await psycopg.AsyncConnection.connect(**self._address, autocommit=True, prepare_threshold=None)

    async def _hang_up(self) -> None:
        speaker, self._speaker = self._speaker, None
        if speaker is not None:
            await speaker.close()


class Outbox:
    """What waits to be sent: everything once, however often it was said."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, None]] = {}
        self._size = 0
        self._filled = asyncio.Event()

    def add(self, kind: str, ids: Iterable[str]) -> None:
        """Take a notice in; past ten thousand ids, while nothing can be sent, forget it."""
        waiting = self._waiting.setdefault(kind, {})
        for each in ids:
            if self._size >= _MOST_WAITING:
                break
            self._size += each not in waiting
            waiting[each] = None
        self._filled.set()

    async def filled(self) -> None:
        """Wait until there is something to send."""
        await self._filled.wait()

    def take(self) -> list[str]:
        """Everything that waits, as texts that are short enough."""
        waiting, self._waiting, self._size = self._waiting, {}, 0
        self._filled.clear()
        return list(_texts(waiting))


def _texts(notices: Mapping[str, Iterable[str]]) -> Iterator[str]:
    for kind, ids in notices.items():
        text = kind
        for each in ids:
            if len(text) + 1 + len(each) > _LONGEST_TEXT:
                yield text
                text = kind
            text += f" {each}"
        yield text
