"""Row P8 of the fault list, and what it uncovers: a database that is slow while a run has to end."""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.client import Client, events
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.upstream import HANG, ScriptedUpstream, answer, head, sse, text_events

SAID = text_events("a", "b", "c")
STREAM = head("200 OK", "text/event-stream")
RUN = 3.0

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def gateway(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    return await asyncio.to_thread(start_gateway, upstream.url)


@pytest.fixture
async def hasty(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    """A gateway that gives a run little time."""
    return await asyncio.to_thread(start_gateway, upstream.url, GATEWAY_TIMEOUTS__RUN=str(RUN))


@contextmanager
def locked(gateway: Gateway) -> Iterator[None]:
    """Nobody else can write, as while a backup copies the file."""
    holder = sqlite3.connect(gateway.database_url.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    yield
    holder.execute("ROLLBACK")
    holder.close()


async def asked_for(upstream: ScriptedUpstream, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(upstream.requests) < count:
            await asyncio.sleep(0.005)


async def ended(gateway: Gateway, count: int = 1) -> list[str]:
    """How so many interactions ended."""
    with Records(gateway.database_url) as records:
        async with asyncio.timeout(PATIENCE):
            while records.count("interactions", "status <> 'in_progress'") < count:
                await asyncio.sleep(0.02)
        return [row[0] for row in records.rows("SELECT status FROM interactions ORDER BY created_at")]


async def test_p8_waits_for_a_locked_database(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.script(answer({"status": "completed", "steps": []}))
    async with Client(gateway) as client:
        with locked(gateway):
            calls = [asyncio.ensure_future(client.create(store=stored)) for stored in (True, False)]
            await asyncio.sleep(0.4)
            assert not calls[0].done()
        assert [heard.status for heard in await asyncio.gather(*calls)] == [200, 200]
    assert await ended(gateway, 2) == ["completed", "completed"]


async def test_p8_client_leaves_before_the_row_is_there(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    """The run is stopped while it waits for its own row: the row must get its end all the same."""
    upstream.script(STREAM + sse(*SAID[:4]), HANG)
    async with Client(gateway) as client:
        with locked(gateway):
            call = asyncio.ensure_future(client.create(store=False, stream=True))
            await asked_for(upstream, 1)
            await asyncio.sleep(0.2)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await asyncio.sleep(0.2)
    assert await ended(gateway) == ["cancelled"]
    await upstream.requests[0].abandoned()


async def test_p8_deadline_passes_while_events_wait_for_their_commit(
    hasty: Gateway, upstream: ScriptedUpstream
) -> None:
    """What is being committed when the run is ended is committed once, and nothing is lost behind it."""
    big = {**SAID[3], "delta": {"type": "text", "text": "x" * 400_000}}
    upstream.script(STREAM + sse(*SAID[:4]), *([sse(big)] * 10), HANG)
    async with Client(hasty) as client, client.open() as stream:
        found = (await stream.until(4))[0]["interaction"]["id"]
        began = time.monotonic()
        with locked(hasty):
            await asyncio.sleep(max(0, RUN + 0.4 - (time.monotonic() - began)))
        heard = await stream.rest()
        told = events(heard)
        assert told[-1]["event_type"] == "error"
        assert told[-1]["error"]["code"] == "deadline_exceeded"
        assert await ended(hasty) == ["failed"]
        assert (await client.replay(found)).body == heard
        numbers = [int(event["event_id"].rpartition("_")[2]) for event in told]
        assert numbers == [*range(1, len(told) + 1)]
    hasty.must_be_in_order()
