"""Wake-ups: heard at once where they can be, and nothing but latency where they cannot (row P14)."""

import asyncio
import time
import timeit
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import psycopg
import pytest

from app.runs.wakeups import Hints, Wakeups
from app.store import notices
from tests.support import PATIENCE

RUN, OTHER = "v1_run_1", "v1_run_2"
ON_POSTGRESQL = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Process = Callable[..., "asyncio.Future[Wakeups]"]


@pytest.fixture
async def process(database_url: str) -> AsyncIterator[Process]:
    """What a process has of wake-ups; keyword arguments are its intervals."""
    async with AsyncExitStack() as stack:

        def start(**seconds: float) -> "asyncio.Future[Wakeups]":
            made = Wakeups(notices.of(database_url), **seconds)
            return asyncio.ensure_future(stack.enter_async_context(made))

        yield start


async def acquainted(one: Wakeups, other: Wakeups) -> None:
    """Until each hears the other, and nothing is left of that."""
    async with asyncio.timeout(PATIENCE):
        for teller, listener, name in ((one, other, "one"), (other, one, "other")):
            while f"hello_from_{name}" not in (await listener.work(0.1)).stopped:
                teller.stopped([f"hello_from_{name}"])
        for teller, listener, name in ((one, other, "one"), (other, one, "other")):
            teller.stopped([f"last_from_{name}"])
            while f"last_from_{name}" not in (await listener.work(PATIENCE)).stopped:
                pass
    await other.work(0)  # what it said itself


async def test_a_queued_run_wakes_this_process_at_once(process: Process) -> None:
    wakeups = await process()
    waiting = asyncio.create_task(wakeups.work(PATIENCE))
    await asyncio.sleep(0)
    wakeups.queued()
    began = time.monotonic()
    assert await waiting == Hints(queued=True)
    assert time.monotonic() - began < PATIENCE / 2


async def test_hints_gather_while_nobody_waits_and_are_told_once(process: Process) -> None:
    wakeups = await process()
    wakeups.stopped([RUN])
    wakeups.queued()
    wakeups.stopped([OTHER, RUN])
    assert await wakeups.work(PATIENCE) == Hints(queued=True, stopped={RUN, OTHER})
    assert await wakeups.work(0.01) == Hints()


async def test_a_follower_in_this_process_is_woken(process: Process) -> None:
    wakeups = await process()
    with wakeups.following(RUN) as one, wakeups.following(RUN) as two, wakeups.following(OTHER) as other:
        wakeups.progressed(RUN)  # before they wait: it is not lost
        assert await one.changed(PATIENCE)
        assert await two.changed(PATIENCE)
        assert not await one.changed(0.01)
        assert not await other.changed(0.01)


async def test_a_follower_that_leaves_leaves_the_others_their_ears(process: Process) -> None:
    wakeups = await process()
    with wakeups.following(RUN) as one:
        with wakeups.following(RUN):
            pass
        wakeups.progressed(RUN)
        assert await one.changed(PATIENCE)
    assert wakeups._followed == {}


async def test_what_nobody_wants_to_know_costs_next_to_nothing(process: Process) -> None:
    """No more than some calls of nothing, of which each costs a machine some hundredths of a microsecond."""
    wakeups = await process()
    told = min(timeit.repeat(lambda: wakeups.progressed(RUN), number=10_000, repeat=50))
    nothing = min(timeit.repeat(lambda: None, number=10_000, repeat=50))
    assert told < 15 * nothing


@ON_SQLITE
async def test_p14_where_nothing_is_heard_waiting_ends_in_time(process: Process) -> None:
    one, other = await process(), await process()
    with other.following(RUN) as following:
        one.queued()
        one.stopped([RUN])
        one.progressed(RUN)
        assert not await following.changed(0.1)
        assert await other.work(0.1) == Hints()
    assert one._wanted == {}


@ON_POSTGRESQL
async def test_another_process_hears_what_is_queued_and_stopped(process: Process) -> None:
    one, other = await process(), await process()
    await acquainted(one, other)
    one.queued()
    assert (await other.work(PATIENCE)).queued
    one.stopped([RUN])
    assert (await other.work(PATIENCE)).stopped == {RUN}


@ON_POSTGRESQL
async def test_progress_is_told_to_who_follows_from_another_process(process: Process) -> None:
    runner, follower = await process(), await process()
    await acquainted(runner, follower)
    with follower.following(RUN) as following:
        async with asyncio.timeout(PATIENCE):
            while RUN not in runner._wanted:
                await asyncio.sleep(0.01)
        runner.progressed(OTHER)
        runner.progressed(RUN)
        assert await following.changed(PATIENCE)


@ON_POSTGRESQL
async def test_progress_that_nobody_follows_is_not_sent(process: Process, database_url: str) -> None:
    runner = await process()
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute("LISTEN gateway")
        runner.progressed(RUN)
        runner.queued()
        heard = [each.payload async for each in connection.notifies(timeout=PATIENCE, stop_after=1)]
    assert heard == ["queued"]


@ON_POSTGRESQL
async def test_a_process_that_comes_later_is_told_what_is_followed(process: Process) -> None:
    follower = await process(say_again=0.05)
    with follower.following(RUN) as following:
        runner = await process()
        async with asyncio.timeout(PATIENCE):
            while not await following.changed(0.05):
                runner.progressed(RUN)


@ON_POSTGRESQL
async def test_who_follows_no_longer_is_forgotten(process: Process) -> None:
    runner, follower = await process(say_again=0.1, forget=0.5), await process(say_again=0.1)
    with follower.following(RUN):
        async with asyncio.timeout(PATIENCE):
            while RUN not in runner._wanted:
                await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE):
        while runner._wanted:
            await asyncio.sleep(0.01)


@ON_POSTGRESQL
@pytest.mark.parametrize(
    "text", ["", " ", "unknown v1_x", "progressed", "progressed  v1_none", "wanted", "é\n\t"]
)
async def test_p14_strange_notices_do_no_harm(process: Process, database_url: str, text: str) -> None:
    wakeups, other = await process(), await process()
    await acquainted(wakeups, other)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(3):
            connection.execute("SELECT pg_notify('gateway', %s)", (text,))
    other.stopped([RUN])
    assert await wakeups.work(PATIENCE) == Hints(stopped={RUN})
