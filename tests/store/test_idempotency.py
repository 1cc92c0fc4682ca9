"""Idempotency keys in the store: one interaction for each, whoever comes; rows C11 and P2."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from app import ids
from app.store.database import Database
from app.store.idempotency import Existing, claim
from app.store.schema import idempotency_keys, interactions, projects

MINE, THEIRS = "prj_mine", "prj_theirs"
DAY = 86_400_000
PRINT, OTHER_PRINT = b"\x00\xff" * 16, b"other"


class Create(NamedTuple):
    """A request with a key, as far as the store is concerned."""

    id: str
    project_id: str = MINE
    key: str = "key"
    fingerprint: bytes = PRINT
    ttl_ms: int = DAY


def create(connection: Connection, batch: Sequence[Create]) -> Sequence[Existing | None]:
    """Claim and insert, one after the other, in one transaction."""
    return [_create(connection, each) for each in batch]


def _create(connection: Connection, new: Create) -> Existing | None:
    existing = claim(connection, new.project_id, new.key, new.fingerprint, new.id, new.ttl_ms)
    if existing is None:
        connection.execute(
            insert(interactions).values(
                id=new.id,
                project_id=new.project_id,
                root_id=new.id,
                depth=0,
                history_bytes=0,
                store=True,
                background=False,
                status="in_progress",
                created_at=1,
                updated_at=1,
                expires_at=DAY,
                attempt=1,
                last_seq=0,
            )
        )
    return existing


@pytest.fixture
async def store(database: Database) -> Database:
    """A store with two projects."""

    def begin(connection: Connection, batch: Sequence[None]) -> Sequence[None]:
        for name in (MINE, THEIRS):
            connection.execute(insert(projects).values(id=name, name=name, created_at=1))
        return batch

    await database.write(begin, None)
    return database


async def said(database: Database, new: Create) -> Existing | None:
    return await database.write(create, new)


async def entries(database: Database) -> list[tuple[str, str, str]]:
    columns = idempotency_keys.c
    query = select(columns.project_id, columns.key, columns.interaction_id).order_by(columns.interaction_id)
    rows = await database.read(lambda connection: connection.execute(query).all())
    return [(row[0], row[1], row[2]) for row in rows]


async def expire(database: Database) -> None:
    def pass_by(connection: Connection, batch: Sequence[None]) -> Sequence[None]:
        connection.execute(update(idempotency_keys).values(expires_at=1))
        return batch

    await database.write(pass_by, None)


async def drop(database: Database, interaction_id: str) -> None:
    def erase(connection: Connection, batch: Sequence[str]) -> Sequence[None]:
        connection.execute(delete(interactions).where(interactions.c.id.in_(batch)))
        return [None] * len(batch)

    await database.write(erase, interaction_id)


async def test_c11_a_key_stands_for_the_first_interaction(store: Database) -> None:
    assert await said(store, Create("v1_first")) is None
    assert await said(store, Create("v1_second")) == Existing("v1_first", PRINT)
    assert await said(store, Create("v1_third", fingerprint=OTHER_PRINT)) == Existing("v1_first", PRINT)
    assert await entries(store) == [(MINE, "key", "v1_first")]


async def test_c11_projects_and_keys_are_independent(store: Database) -> None:
    for new in (Create("v1_1"), Create("v1_2", project_id=THEIRS), Create("v1_3", key="key 2 ~")):
        assert await said(store, new) is None
    assert len(await entries(store)) == 3


async def test_c11_copies_in_one_transaction(store: Database) -> None:
    go = threading.Event()
    store.write(lambda _, batch: [go.wait(60) for _ in batch], None)
    copies = [said(store, Create(f"v1_{number}")) for number in range(10)]
    copying = [asyncio.ensure_future(each) for each in copies]
    await asyncio.sleep(0.05)
    go.set()
    assert await asyncio.gather(*copying) == [None] + [Existing("v1_0", PRINT)] * 9


@pytest.fixture
def processes(store: Database, database_url: str) -> Iterator[tuple[Database, Database]]:
    """Two processes, as far as the database can tell."""
    other = Database(database_url)
    yield store, other
    asyncio.run(other.close())


Before = Callable[[Database], Awaitable[None]]


async def _never_used(database: Database) -> None:
    """The key is new."""


async def _expired(database: Database) -> None:
    await said(database, Create(ids.new_interaction_id()))
    await expire(database)


async def _deleted(database: Database) -> None:
    await said(database, Create("v1_gone"))
    await drop(database, "v1_gone")


@pytest.mark.parametrize("before", [_never_used, _expired, _deleted])
async def test_c11_copies_at_the_same_moment_in_two_processes(
    processes: tuple[Database, Database], before: Before
) -> None:
    for _ in range(20):
        await before(processes[0])
        news = [Create(ids.new_interaction_id()) for _ in processes]
        told = await asyncio.gather(*(said(each, new) for each, new in zip(processes, news, strict=True)))
        winner = told.index(None)
        assert told[1 - winner] == Existing(news[winner].id, PRINT)
        assert await entries(processes[0]) == [(MINE, "key", news[winner].id)]
        await drop(processes[0], news[winner].id)


class _Slow:
    """The create of a process that takes its time before it commits, or fails to."""

    def __init__(self, *, fails: bool) -> None:
        self.claimed, self.go = threading.Event(), threading.Event()
        self._fails = fails

    def __call__(self, connection: Connection, batch: Sequence[Create]) -> Sequence[Existing | None]:
        told = create(connection, batch)
        self.claimed.set()
        self.go.wait(60)
        if self._fails:
            raise ValueError("not committed")
        return told


@contextmanager
def _finally_going(slow: _Slow) -> Iterator[None]:
    try:
        yield
    finally:
        slow.go.set()


@pytest.mark.parametrize("before", [_never_used, _expired, _deleted])
@pytest.mark.parametrize("fails", [False, True], ids=["committed", "rolled back"])
async def test_c11_who_comes_during_the_others_transaction_is_told_how_it_ended(
    processes: tuple[Database, Database], before: Before, fails: bool
) -> None:
    one, other = processes
    await before(one)
    slow = _Slow(fails=fails)
    with _finally_going(slow):
        first = one.write(slow, Create("v1_first"))
        await asyncio.to_thread(slow.claimed.wait, 60)
        second = other.write(create, Create("v1_second"))
        await asyncio.sleep(0.1)
        assert not second.done()
    assert await second == (None if fails else Existing("v1_first", PRINT))
    await asyncio.gather(first, return_exceptions=True)
    assert await entries(one) == [(MINE, "key", "v1_second" if fails else "v1_first")]


async def test_p2_what_was_not_committed_leaves_the_key_free(store: Database) -> None:
    slow = _Slow(fails=True)
    slow.go.set()
    with pytest.raises(ValueError, match="not committed"):
        await store.write(slow, Create("v1_first"))
    assert await said(store, Create("v1_second")) is None


async def test_p2_what_was_committed_but_not_told_is_found_again(store: Database) -> None:
    committing = store.write(create, Create("v1_first"))
    del committing  # whoever asked is gone
    assert await said(store, Create("v1_second")) == Existing("v1_first", PRINT)


async def test_an_expired_key_is_free_again(store: Database) -> None:
    assert await said(store, Create("v1_first")) is None
    await expire(store)
    assert await said(store, Create("v1_second", fingerprint=OTHER_PRINT)) is None
    assert await said(store, Create("v1_third")) == Existing("v1_second", OTHER_PRINT)


async def test_a_key_expires_by_the_databases_clock(store: Database) -> None:
    assert await said(store, Create("v1_first", ttl_ms=2000)) is None
    assert await said(store, Create("v1_second")) == Existing("v1_first", PRINT)
    await asyncio.sleep(2.1)
    assert await said(store, Create("v1_third")) is None


async def test_the_key_of_a_deleted_interaction_is_free_again(store: Database) -> None:
    assert await said(store, Create("v1_first")) is None
    await drop(store, "v1_first")
    assert await said(store, Create("v1_second", fingerprint=OTHER_PRINT)) is None
    assert await said(store, Create("v1_third")) == Existing("v1_second", OTHER_PRINT)
