"""Rows P7, P8 and P9 of the fault list for background runs: nobody waits for them, and they must end well."""

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import GatewayFactory, scripted
from tests.support import PATIENCE
from tests.support.client import Client, events
from tests.support.databases import Templates
from tests.support.gateway import Gateway
from tests.support.proxy import Proxy
from tests.support.records import Records
from tests.support.runs import (
    QUICK,
    SAID,
    STEP,
    STREAM,
    begin,
    ended,
    must_be_whole,
    post,
    until,
    written,
)
from tests.support.upstream import Action, Gate, Pause, ScriptedUpstream, sse

AWAY = 2
AGAIN: list[Action] = [Pause(0.1), sse(SAID[4])] * 300
"""What keeps coming: that a commit has failed is noticed with the next event."""

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def postgresql(templates: Templates) -> Iterator[str]:
    with templates.fresh("postgresql") as url:
        yield url


@pytest.fixture
async def line(postgresql: str) -> AsyncIterator[Proxy]:
    """What connects the gateway to its database."""
    async with Proxy(postgresql) as proxy:
        yield proxy


@pytest.fixture
async def cuttable(line: Proxy, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway on a database that can be cut off."""
    settings = {**QUICK, "GATEWAY_UPSTREAMS": scripted(upstream.url), "GATEWAY_KEY_CACHE_SECONDS": "60"}
    running = await asyncio.to_thread(Gateway, tmp_path, line.url, **settings)
    with ExitStack() as stack:
        stack.callback(running.kill)
        yield running
        await asyncio.to_thread(running.must_be_in_order)


async def away(line: Proxy) -> None:
    """The database is gone for a while."""
    await line.cut()
    await asyncio.sleep(AWAY)
    await line.restore()


async def serving(client: Client) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await client.http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)


async def test_p7_a_run_nobody_reads_begins_anew_when_the_database_is_back(
    line: Proxy, cuttable: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(STREAM + sse(*SAID[:4]), *AGAIN)
    upstream.script(STREAM + sse(*SAID))
    async with Client(cuttable) as client:
        found = await begin(client)
        await until(lambda: upstream.requests and upstream.requests[0].sent)
        await asyncio.sleep(0.2)
        await away(line)
        await serving(client)
        done = await ended(client, found)
        assert (done["status"], done["steps"][1:]) == ("completed", [STEP])
        must_be_whole(await client.replay(found))
    assert len(upstream.requests) == 2
    await upstream.requests[0].abandoned()


async def test_p7_a_run_that_is_followed_fails_with_what_was_told(
    line: Proxy, cuttable: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(STREAM + sse(*SAID[:4]), *AGAIN)
    async with Client(cuttable) as client:
        async with client.open(background=True) as stream:
            found = (await stream.until(4))[0]["interaction"]["id"]
            await away(line)
            told = events(await stream.rest())
        await serving(client)
        assert (await ended(client, found))["status"] == "failed"
        whole = await client.replay(found)
        must_be_whole(whole)
        stored = [event for event in told if "event_id" in event]
        assert len(stored) >= 4
        assert whole.events[: len(stored)] == stored
    assert len(upstream.requests) == 1


async def test_p7_no_background_run_begins_without_a_database(
    line: Proxy, cuttable: Gateway, upstream: ScriptedUpstream, postgresql: str
) -> None:
    upstream.script(STREAM + sse(*SAID))
    async with Client(cuttable) as client:
        warm = await begin(client)
        await ended(client, warm)
        await line.cut()
        for headers in ({}, {"idempotency-key": "one"}):
            refused = await post(client, headers, background=True, input="never begun")
            assert (refused.status, refused.json()["error"]["code"]) == (503, "service_unavailable")
            assert refused.headers["retry-after"]
        await line.restore()
        await serving(client)
        again = await post(client, {"idempotency-key": "one"}, background=True, input="never begun")
        assert (await ended(client, again.id))["status"] == "completed"
        with Records(postgresql) as records:
            assert records.count("interactions") == 2


@ON_SQLITE
async def test_p8_a_background_run_waits_for_a_locked_database(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    """For longer than the lease: nobody else can take it up meanwhile, and it renews it afterwards."""
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **QUICK)
    upstream.script(STREAM + sse(*SAID[:4]), Pause(0.5), sse(*SAID[4:]))
    async with Client(gateway) as client:
        found = await begin(client)
        await written(gateway)
        holder = sqlite3.connect(gateway.database_url.removeprefix("sqlite:///"), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert (await client.get(found)).json()["status"] == "in_progress"
        await asyncio.sleep(3.5)
        holder.execute("ROLLBACK")
        holder.close()
        done = await ended(client, found)
        assert (done["status"], done["steps"][1:]) == ("completed", [STEP])
        must_be_whole(await client.replay(found))
    assert len(upstream.requests) == 1
    gateway.must_be_in_order()


@ON_SQLITE
async def test_p9_a_background_run_that_met_a_full_disk_has_one_end(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **QUICK)
    assert gateway.process is not None
    pid, path = gateway.process.pid, Path(gateway.database_url.removeprefix("sqlite:///"))
    big = {**SAID[3], "delta": {"type": "text", "text": "x" * 500_000}}
    gate = Gate()
    upstream.script(STREAM + sse(*SAID[:4]), gate, sse(big), *AGAIN)
    upstream.script(STREAM + sse(*SAID))
    async with Client(gateway) as client:
        found = await begin(client)
        await written(gateway)
        full = path.with_name(path.name + "-wal").stat().st_size  # where all that is written goes
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
        refused = await client.create(background=True, input="y" * 500_000)
        assert (refused.status, refused.json()["error"]["code"]) == (503, "service_unavailable")
        gate.open()
        await upstream.requests[0].abandoned()  # it could not go on
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        done = await ended(client, found)
        # What was refused may have been asked as well: its row was not awaited for that.
        asked = [one for one in upstream.requests if client.question.encode() in one.body]
        if done["status"] == "completed":  # begun anew, as nobody had read of it
            assert (done["steps"][1:], len(asked)) == ([STEP], 2)
        else:  # there was room for its end
            assert (done["status"], done["errors"][0]["code"]) == ("failed", "service_unavailable")
        must_be_whole(await client.replay(found))
        assert (await client.create(input="y" * 500_000, stream=True)).done
        with Records(gateway.database_url) as records:
            assert records.rows("PRAGMA integrity_check") == [("ok",)]
            assert records.count("interactions", "status = 'in_progress'") == 0
    gateway.must_be_in_order()
