"""Engines, threads and transactions.

Drivers are synchronous (sqlite3, psycopg) and run in threads of their own: a transaction costs
the event loop one hop, whatever it does inside (docs/decisions/0004-storage.md).

    read(query)            on one of a few reader threads
    write(kind, argument)  on the one writer thread; everything that waits shares a commit,
                           and so does what is written in one turn of the event loop

A *kind* of write is a function over a batch: it gets the connection and the arguments of all
writers that wait, and returns their results in the same order. When a shared transaction fails,
each argument is tried again alone, so that one writer's error is nobody else's.
"""

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import Connection, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import log
from app.errors import Unavailable
from app.store.engines import READERS, engines, patient
from app.telemetry.observer import QUIET, Observer

A = TypeVar("A")
R = TypeVar("R")
Kind = Callable[[Connection, Sequence[A]], Sequence[R]]

_BATCH = 128
_DEADLOCK, _TOO_LARGE = "40P01", "54"  # as PostgreSQL's SQLSTATE begins


class OneByOne(Exception):
    """Raised where writes that share a transaction have to be done alone, each in its own."""


class _Write(NamedTuple):
    kind: Kind[Any, Any]
    argument: Any
    done: "asyncio.Future[Any]"


class Database:
    """A SQLite file or a PostgreSQL server; `url` and `synchronous` as in the settings."""

    def __init__(self, url: str, synchronous: str = "normal", observer: Observer = QUIET) -> None:
        self._observer = observer
        self._writer, self._reader = engines(url, synchronous)
        self.is_sqlite = self._writer.dialect.name == "sqlite"
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._written: list[_Write] = []
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._connection: Connection | None = None

    async def read(self, query: Callable[[Connection], R]) -> R:
        """What `query` returns, from one read transaction. Raises Unavailable on an outage."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, query)

    def write(self, kind: Kind[A, R], argument: A) -> "asyncio.Future[R]":
        """A future for this argument's result, set once the transaction is committed.

        The write happens whether or not anybody awaits it. The future fails with Unavailable on an
        outage, and with IntegrityError or DataError on a conflict or a value that the database cannot
        hold.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()
        if self._closed:
            done.set_exception(Unavailable("The gateway is stopping."))
            done.exception()  # marks it as seen: a write need not be awaited
            return done
        if self._thread is None:
            self._thread = threading.Thread(target=self._run_writer, name="store-write", daemon=True)
            self._thread.start()
        if not self._written:
            loop.call_soon(self._hand_over)
        self._written.append(_Write(kind, argument, done))
        return done

    async def ping(self) -> None:
        """Ask the database anything. Raises Unavailable."""
        await self.read(lambda connection: connection.execute(select(1)))

    async def close(self) -> None:
        """Commit what waits, then let go of every connection; what is written later fails."""
        self._closed = True
        if self._thread is not None:
            self._hand_over()
            self._writes.put(None)
            await asyncio.to_thread(self._thread.join)
        self._readers.shutdown(wait=True)
        self.dispose()

    def dispose(self) -> None:
        """Let go of the connections, where nothing but `transaction` was used."""
        self._writer.dispose()
        self._reader.dispose()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A write transaction on the calling thread, for migrations. Raises Unavailable."""
        with _reaching(self._writer.connect) as connection, patient(connection):
            yield connection

    def _hand_over(self) -> None:
        """Give the writer thread all that this turn of the loop has written.

        One by one it would be woken for each, and commit each alone.
        """
        written, self._written = self._written, []
        for write in written:
            self._writes.put(write)

    def _read(self, query: Callable[[Connection], R]) -> R:
        def once() -> R:
            with self._reader.connect() as connection:
                return query(connection)

        return _reaching(once)

    def _run_writer(self) -> None:
        while True:
            batch = self._gather()
            last = batch[-1] is None
            writes = [write for write in batch if write is not None]
            if writes:
                self._commit(writes)
            if last:
                break
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _gather(self) -> list[_Write | None]:
        """Everything that waits, or the next thing to come: idle commits at once, busy shares."""
        batch = [self._writes.get()]
        while batch[-1] is not None and len(batch) < _BATCH:
            try:
                batch.append(self._writes.get_nowait())
            except queue.Empty:
                break
        return batch

    def _commit(self, writes: list[_Write]) -> None:
        began = time.perf_counter()
        try:
            outcomes = self._transact(writes)
            self._observer.committed(len(writes), time.perf_counter() - began)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the writers
            if len(writes) > 1 and not isinstance(error, Unavailable):
                for write in writes:
                    self._commit([write])
                return
            outcomes = [error] * len(writes)
        _tell(writes, outcomes)

    @contextlib.contextmanager
    def _held_connection(self) -> Iterator[Connection]:
        """The writer thread's connection, kept from one transaction to the next until one fails."""
        connection, self._connection = self._connection or self._writer.connect(), None
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def _transact(self, writes: list[_Write]) -> list[Any]:
        kinds: dict[Kind[Any, Any], list[int]] = {}
        for position, write in enumerate(writes):
            kinds.setdefault(write.kind, []).append(position)

        def once() -> list[Any]:
            outcomes: list[Any] = [None] * len(writes)
            with self._held_connection() as connection, connection.begin():
                for kind, positions in kinds.items():
                    results = kind(
                        connection,
                        [writes[position].argument for position in positions],
                    )
                    for position, result in zip(positions, results, strict=True):
                        outcomes[position] = result
            return outcomes

        return _reaching(once if len(writes) == 1 else partial(_or_one_by_one, once))


def _tell(writes: list[_Write], outcomes: list[Any]) -> None:
    """Hand the outcomes to the event loop, all of a batch in one call."""
    loop = writes[0].done.get_loop()

    def settle() -> None:
        for write, outcome in zip(writes, outcomes, strict=True):
            if write.done.done():
                continue
            if isinstance(outcome, Exception):
                write.done.set_exception(outcome)
                write.done.exception()  # marks it as seen: a write need not be awaited
            else:
                write.done.set_result(outcome)

    with contextlib.suppress(RuntimeError):  # the loop is gone, and so is whoever asked
        loop.call_soon_threadsafe(settle)


def _reaching(once: Callable[[], R]) -> R:
    """Run a transaction; again, once, when its connection had died or it lost a deadlock.

    What the database cannot do now becomes Unavailable; what it never will (a conflict, a value
    that it cannot hold) stays what it is.
    """
    try:
        try:
            return once()
        except DBAPIError as error:
            if not (error.connection_invalidated or _sqlstate(error) == _DEADLOCK):
                raise
            return once()
    except (DataError, IntegrityError):
        raise
    except (DBAPIError, PoolTimeout) as error:
        if _sqlstate(error).startswith(_TOO_LARGE):
            raise
        cause = error.orig if isinstance(error, DBAPIError) else error
        log.event(logging.WARNING, "the database cannot be used", cause=str(cause).partition("\n")[0])
        raise Unavailable("The database is not available; try again.", retry_after=2) from error


def _or_one_by_one(once: Callable[[], R]) -> R:
    """Run a shared transaction, which is taken apart when it loses a deadlock.

    Alone, a write locks nothing while it waits for something.
    """
    try:
        return once()
    except DBAPIError as error:
        if _sqlstate(error) == _DEADLOCK:
            raise OneByOne from error
        raise


def _sqlstate(error: Exception) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""
