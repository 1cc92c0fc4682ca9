"""The database under its writers: shared commits, nobody else's errors, outages, locks."""

import asyncio
import secrets
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from app.errors import Unavailable
from app.settings import SettingsError
from app.store.database import Database
from app.store.keys import AlreadyExists, Project
from app.store.runs import Runs
from app.store.schema import interactions, projects
from tests.store.conftest import MINE, THEIRS, Store, new
from tests.support import PATIENCE

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


async def count(database: Database) -> int:
    query = select(func.count()).select_from(interactions)
    return await database.read(lambda connection: connection.execute(query).scalar_one())


@asynccontextmanager
async def busy_writer(database: Database) -> AsyncIterator[None]:
    """Keep the writer thread busy, so that what is written meanwhile gathers."""
    begun, go = threading.Event(), threading.Event()

    def wait(_: Any, batch: Any) -> list[bool]:
        begun.set()
        return [go.wait(60) for _ in batch]

    database.write(wait, None)
    assert await asyncio.to_thread(begun.wait, 60)
    try:
        yield
    finally:
        go.set()


class Recorder:
    """A kind of write that remembers its batches and fails for negative numbers."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, _connection: Any, batch: Any) -> list[int]:
        self.batches.append(list(batch))
        if any(number < 0 for number in batch):
            raise ValueError(batch)
        return [number * 10 for number in batch]


async def test_a_lone_write_commits_at_once(database: Database):
    record = Recorder()
    assert await database.write(record, 4) == 40
    assert record.batches == [[4]]


async def test_writes_that_wait_share_a_commit(database: Database):
    record, other = Recorder(), Recorder()
    async with busy_writer(database):
        writes = []
        for n in range(50):
            writes += [database.write(kind, n) for kind in (record, other)]
            await asyncio.sleep(0)
    assert await asyncio.gather(*writes) == [n * 10 for n in range(50) for _ in range(2)]
    assert record.batches == other.batches == [list(range(50))]


async def test_what_a_turn_of_the_loop_writes_shares_a_commit(database: Database):
    record = Recorder()
    writes = [database.write(record, n) for n in range(50)]
    assert await asyncio.gather(*writes) == [n * 10 for n in range(50)]
    assert record.batches == [list(range(50))]


async def test_a_failing_write_is_nobody_elses(database: Database):
    record = Recorder()
    async with busy_writer(database):
        writes = [database.write(record, n) for n in (1, -2, 3)]
    one, two, three = await asyncio.gather(*writes, return_exceptions=True)
    assert (one, three) == (10, 30)
    assert isinstance(two, ValueError)
    assert record.batches == [[1, -2, 3], [1], [-2], [3]]


async def test_a_conflict_belongs_to_its_own_writer(store: Store):
    made = await store.begin()
    async with busy_writer(store.database):
        inserts = [store.runs.insert(new(id=one)) for one in ("v1_before_it", made, "v1_behind_it")]
        names = ["a", f"name of {MINE}", "b"]
        creations = [store.keys.create_project(Project(f"prj_{name}", name, 1, None)) for name in names]
        outcomes = asyncio.gather(*inserts, *creations, return_exceptions=True)
        await asyncio.sleep(0)
    first, conflict, second, *created = await outcomes
    assert first is second is None
    assert isinstance(conflict, IntegrityError)
    assert [type(one) for one in created] == [type(None), AlreadyExists, type(None)]
    assert await count(store.database) == 3


async def test_what_a_database_cannot_hold_belongs_to_its_own_writer(store: Store):
    async with busy_writer(store.database):
        runs = (new(), new(model="b\x00"), new(), new(labels=(("a", secrets.token_hex(8000)),)), new())
        writes = [store.runs.insert(run) for run in runs]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert outcomes[::2] == [None] * 3
    assert not any(isinstance(one, Unavailable) for one in outcomes)  # to try again would be no use


async def test_five_hundred_at_once(store: Store):
    await asyncio.gather(*(store.begin() for _ in range(500)))
    assert await count(store.database) == 500


async def test_a_write_happens_whether_or_not_anybody_waits_for_it(store: Store):
    async with busy_writer(store.database):
        store.runs.insert(new(id="v1_unawaited"))
        store.runs.insert(new(id="v1_cancelled")).cancel()
    await store.begin()
    assert await store.interactions.get(MINE, "v1_unawaited")
    assert await store.interactions.get(MINE, "v1_cancelled")


async def test_a_write_that_fails_unheard_makes_no_noise(store: Store, caplog):
    made = await store.begin()
    store.runs.insert(new(id=made))
    await store.begin()
    await asyncio.sleep(0.01)
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_closing_commits_what_waits(store: Store, database_url):
    for _ in range(300):
        store.runs.insert(new())
    await store.database.close()
    again = Database(database_url)
    assert await count(again) == 300
    await again.close()


async def test_what_is_written_while_it_closes_fails_and_holds_nothing_up(database: Database):
    async with busy_writer(database):
        closing = asyncio.create_task(database.close())
        await asyncio.sleep(0)
        late = database.write(Recorder(), 1)
    async with asyncio.timeout(PATIENCE):
        await closing
    with pytest.raises(Unavailable):
        await late


async def test_a_read_sees_what_was_written_before(store: Store):
    for _ in range(50):
        assert await store.interactions.get(MINE, await store.begin())


UNREACHABLE = {
    "postgresql": lambda _: "postgresql://127.0.0.1:1/nothing",
    "no such database": lambda _: "postgresql://127.0.0.1:5432/gateway_test_there_is_none",
    "sqlite": lambda folder: f"sqlite:///{folder}",
}


@pytest.mark.parametrize("url", UNREACHABLE.values(), ids=UNREACHABLE.keys())
async def test_an_outage_is_told_to_everybody_soon(tmp_path: Path, url: Callable[[Path], str]):
    database = Database(url(tmp_path))
    start = time.perf_counter()
    writes = [Runs(database).insert(new()) for _ in range(20)]
    for outcome in await asyncio.gather(database.ping(), *writes, return_exceptions=True):
        assert isinstance(outcome, Unavailable)
        assert outcome.status == 503
        assert outcome.headers == {"retry-after": "2"}
        assert str(outcome) == "The database is not available; try again."
    assert time.perf_counter() - start < 5
    await database.close()


@pytest.mark.parametrize("url", ["postgresql://h:port/db", "nothing"])
def test_what_is_no_url_is_a_wrong_setting(url):
    with pytest.raises(SettingsError, match=r"^database_url: this is not a URL$"):
        Database(url)


async def test_a_table_that_is_missing_is_an_outage_too(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path}/new/folder/empty.db")
    with pytest.raises(Unavailable):
        await count(database)
    await database.close()


@ON_POSTGRESQL
async def test_lost_connections_are_made_again(store: Store):
    await asyncio.gather(*(store.interactions.get(MINE, "v1_x") for _ in range(8)), store.begin())
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    with pytest.raises(Unavailable):  # the one that cuts the others off cuts itself off, twice
        await store.database.read(lambda connection: connection.exec_driver_sql(others).all())
    made = await store.begin()
    assert all(await asyncio.gather(*(store.interactions.get(MINE, made) for _ in range(8))))


@ON_POSTGRESQL
async def test_a_deadlock_between_replicas_is_not_an_outage(store: Store, database_url):
    """Each of two transactions locks what the other wants next: the loser does its own again."""
    other = Database(database_url)
    both = threading.Barrier(2)
    met = threading.Event()

    def lock(connection, project):
        rename = update(projects).where(projects.c.id == project).values(created_at=projects.c.created_at + 1)
        connection.execute(rename)

    def kind(connection, batch):
        [(first, second)] = batch
        lock(connection, first)
        if not met.is_set():
            both.wait(60)
            met.set()
        lock(connection, second)
        return [True]

    writes = store.database.write(kind, (MINE, THEIRS)), other.write(kind, (THEIRS, MINE))
    assert all(await asyncio.gather(*writes))
    await other.close()
    assert [project.created_at for project in await store.keys.projects()] == [3, 3]


@ON_SQLITE
async def test_a_writer_waits_for_another_process_and_readers_do_not(store: Store, database_url):
    made = await store.begin()
    foreign = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    waiting = store.runs.insert(new())
    await asyncio.sleep(0.5)
    assert not waiting.done()
    assert await store.interactions.get(MINE, made)
    foreign.execute("COMMIT")
    foreign.close()
    await waiting
    assert await count(store.database) == 2


@ON_SQLITE
async def test_what_is_read_is_never_written(database: Database):
    with pytest.raises(Unavailable):
        await database.read(lambda connection: connection.execute(update(projects).values(name="x")))
