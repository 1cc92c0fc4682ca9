"""Notices between processes: heard, gathered, healed; row P14 of the fault list."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
import uvloop

from app.store import notices
from app.store.notices import Notices, Outbox
from tests.support import PATIENCE
from tests.support.proxy import Proxy

ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Ear:
    """Notices, and what was heard on them."""

    def __init__(self, url: str) -> None:
        self.notices: Notices = notices.of(url)
        self.heard: list[tuple[str, list[str]]] = []

    async def hears(self, teller: Notices, kind: str) -> None:
        """Have it said until it is heard: before the connections stand, nothing is."""
        async with asyncio.timeout(PATIENCE):
            while not any(kind == each for each, _ in self.heard):
                teller.send(kind)
                await asyncio.sleep(0.02)


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Ear]:
    ear = Ear(url)
    ear.notices.open(lambda kind, ids: ear.heard.append((kind, ids)))
    try:
        yield ear
    finally:
        await ear.notices.close()


@asynccontextmanager
async def raw(url: str) -> AsyncIterator[list[str]]:
    """Every text that goes over the channel."""
    texts: list[str] = []
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("LISTEN gateway")

        async def read() -> None:
            async for notice in connection.notifies():
                texts.append(notice.payload)  # noqa: PERF401 - each is looked at before the next comes

        reading = asyncio.create_task(read())
        yield texts
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def until(texts: list[str], last: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while last not in texts:
            await asyncio.sleep(0.01)


@ON_POSTGRESQL
async def test_processes_hear_one_another_but_not_themselves(database_url: str) -> None:
    async with listening(database_url) as one, listening(database_url) as other:
        await other.hears(one.notices, "hello")
        await one.hears(other.notices, "hello")
        one.notices.send("stopped", ["v1_a", "v1_b"])
        await other.hears(one.notices, "last")
        await one.hears(other.notices, "last")  # whatever came before this came before
        assert ("stopped", ["v1_a", "v1_b"]) in other.heard
        assert "stopped" not in [kind for kind, _ in one.heard]


@ON_POSTGRESQL
async def test_loops_of_either_kind_hear_one_another(database_url: str) -> None:
    asyncio_heard, uvloop_heard = threading.Event(), threading.Event()

    async def talk(mine: threading.Event, others: threading.Event) -> list[tuple[str, list[str]]]:
        async with listening(database_url) as ear, asyncio.timeout(PATIENCE):
            while not (mine.is_set() and others.is_set()):
                ear.notices.send("hello", ["v1_a"])
                await asyncio.sleep(0.02)
                if ear.heard:
                    mine.set()
            return ear.heard

    there = asyncio.create_task(asyncio.to_thread(uvloop.run, talk(uvloop_heard, asyncio_heard)))
    assert (await talk(asyncio_heard, uvloop_heard))[0] == ("hello", ["v1_a"])
    assert (await there)[0] == ("hello", ["v1_a"])


@ON_POSTGRESQL
async def test_what_gathers_leaves_together(database_url: str) -> None:
    async with listening(database_url) as ear, raw(database_url) as texts:
        began, said = time.monotonic(), 0
        while time.monotonic() - began < 0.5 or texts.count("progressed v1_a") < 2:
            ear.notices.send("progressed", ["v1_a"])
            said += 1
            await asyncio.sleep(0)
        ear.notices.send("last")
        await until(texts, "last")
        took = time.monotonic() - began
    assert said > 100
    assert 2 <= texts.count("progressed v1_a") <= took / 0.05 + 1


@ON_POSTGRESQL
async def test_many_ids_are_sent_in_several_texts(database_url: str) -> None:
    ids = [f"v1_{number:028}" for number in range(1000)]
    async with listening(database_url) as ear, raw(database_url) as texts:
        ear.notices.send("stopped", ids)
        ear.notices.send("last")
        await until(texts, "last")
    stopped = [text.split(" ") for text in texts if text.startswith("stopped")]
    assert len(stopped) == 5
    assert [each for _, *some in stopped for each in some] == ids


@ON_POSTGRESQL
async def test_the_first_after_a_silence_is_sent_at_once_and_what_waits_at_the_end(database_url: str) -> None:
    async with raw(database_url) as texts:
        async with listening(database_url) as ear:
            ear.notices.send("first")
            await until(texts, "first")
            ear.notices.send("last")
        await until(texts, "last")


@ON_POSTGRESQL
async def test_p14_killed_connections_heal_with_one_warning_each(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gateway")
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"  # noqa: E501
    async with listening(database_url) as one, listening(database_url) as other:
        await other.hears(one.notices, "before")
        await one.hears(other.notices, "before")
        with psycopg.connect(database_url, autocommit=True) as admin:
            killed = admin.execute(kill).rowcount
        assert killed == 4
        await other.hears(one.notices, "after")
        await one.hears(other.notices, "after")
    assert [record.message for record in caplog.records] == ["other processes cannot be heard; polling"] * 2


@ON_POSTGRESQL
async def test_p14_a_notice_is_sent_over_a_new_connection_when_the_old_one_has_died(
    database_url: str,
) -> None:
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_notify%' AND datname = current_database() AND pid <> pg_backend_pid()"  # noqa: E501
    async with raw(database_url) as texts, listening(database_url) as ear:
        ear.notices.send("before")
        await until(texts, "before")
        with psycopg.connect(database_url, autocommit=True) as admin:
            assert admin.execute(kill).rowcount == 1
        ear.notices.send("once")
        await until(texts, "once")


@ON_POSTGRESQL
async def test_p14_without_a_server_nothing_fails_and_it_heals_by_itself(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "gateway")
    async with Proxy(database_url) as proxy, listening(proxy.url) as far, listening(database_url) as near:
        await near.hears(far.notices, "before")
        await far.hears(near.notices, "before")
        await proxy.cut()
        for number in range(50):
            far.notices.send("stopped", [f"v1_{number}"])
            await asyncio.sleep(0.01)
        await proxy.restore()
        await near.hears(far.notices, "after")
        await far.hears(near.notices, "after")
    assert len(caplog.records) == 1


async def test_p14_closing_does_not_wait_for_a_server_that_is_gone() -> None:
    async with listening("postgresql://127.0.0.1:1/none") as ear:
        ear.notices.send("queued")
        began = time.monotonic()
    assert time.monotonic() - began < PATIENCE / 2


@ON_SQLITE
async def test_on_sqlite_nobody_hears_anything(database_url: str) -> None:
    async with listening(database_url) as one, listening(database_url) as other:
        one.notices.send("queued")
        await asyncio.sleep(0.2)
        assert one.heard == other.heard == []


async def test_what_cannot_be_sent_takes_bounded_memory() -> None:
    outbox = Outbox()
    for number in range(30_000):
        outbox.add("stopped", [f"v1_{number}"])
        outbox.add("queued", [])
    texts = outbox.take()
    assert sum(len(text.split(" ")) - 1 for text in texts) == 10_000
    assert texts[-1] == "queued"
    assert max(map(len, texts)) < 8000
    assert outbox.take() == []
