"""Rows P7 and P9 of the fault list: a database that goes away, and a disk that is full."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.auth import keys
from tests.conftest import GatewayFactory, scripted
from tests.support import PATIENCE
from tests.support.client import Client, Heard, events
from tests.support.databases import Templates
from tests.support.gateway import Gateway
from tests.support.proxy import Proxy
from tests.support.records import Records
from tests.support.runs import until
from tests.support.upstream import Action, Gate, Pause, ScriptedUpstream, answer, head, sse, text_events

SAID = text_events("a", "b", "c")
STREAM = head("200 OK", "text/event-stream")
PLAIN = answer({"status": "completed", "steps": [{"type": "model_output", "content": []}]})
LEASE, BEAT = 3.0, 0.5


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
async def gateway(line: Proxy, upstream: ScriptedUpstream, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway on a database that can be cut off."""
    running = await asyncio.to_thread(
        Gateway,
        tmp_path,
        line.url,
        GATEWAY_UPSTREAMS=scripted(upstream.url),
        GATEWAY_RUNS__LEASE=str(LEASE),
        GATEWAY_RUNS__HEARTBEAT=str(BEAT),
        GATEWAY_KEY_CACHE_SECONDS="60",
    )
    with ExitStack() as stack:
        stack.callback(running.kill)
        yield running
        await asyncio.to_thread(running.must_be_in_order)


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    async with Client(gateway) as made:
        yield made


def unavailable(heard: Heard) -> bool:
    """An outage, and when to come back."""
    return (heard.status, heard.json()["error"]["code"]) == (503, "service_unavailable") and bool(
        heard.headers["retry-after"]
    )


async def ready(client: Client) -> bool:
    return (await client.http.get("/readyz")).status_code == 200


async def until_it_serves(client: Client) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await ready(client):
            await asyncio.sleep(0.05)


async def ended(url: str) -> list[tuple[Any, ...]]:
    """The interactions, once none of them runs."""
    with Records(url) as records:
        async with asyncio.timeout(PATIENCE):
            while records.count("interactions", "status = 'in_progress'"):
                await asyncio.sleep(0.05)
        return records.rows("SELECT id, status FROM interactions ORDER BY created_at")


async def test_p7_database_gone_and_back(
    line: Proxy, client: Client, upstream: ScriptedUpstream, postgresql: str
) -> None:
    upstream.script(PLAIN)
    kept = (await client.create()).id
    await line.cut()
    assert not await ready(client)
    assert (await client.http.get("/healthz")).status_code == 200
    for heard in (
        await client.create(),
        await client.create(stream=True),
        await client.create(previous_interaction_id=kept),
        await client.get(kept),
        await client.replay(kept),
        await client.delete(kept),
    ):
        assert unavailable(heard), heard
    # what need not be kept is still served, and a key that cannot be one is still refused without asking
    unstored = await client.create(store=False)
    assert unstored.status == 200
    assert (await client.create(store=False, stream=True)).done
    other = {"x-goog-api-key": "igw_x"}
    assert (await client.http.get("/v1beta/interactions/v1_absent-absent", headers=other)).status_code == 401
    unknown = {"x-goog-api-key": keys.new_key()}
    assert (
        await client.http.get("/v1beta/interactions/v1_absent-absent", headers=unknown)
    ).status_code == 503
    await line.restore()
    await until_it_serves(client)
    assert (await client.get(kept)).status == 200
    assert (await client.create(previous_interaction_id=kept)).status == 200
    assert {status for _, status in await ended(postgresql)} <= {"completed", "failed"}


async def test_p7_database_gone_in_the_middle_of_a_stream(
    line: Proxy, client: Client, upstream: ScriptedUpstream, postgresql: str
) -> None:
    again: list[Action] = [Pause(0.1), sse(SAID[4])]
    upstream.script(STREAM + sse(*SAID[:4]), *(again * 600))
    async with client.open() as stream:
        told = await stream.until(4)
        await line.cut()
        rest = events(await stream.rest())[4:]
    assert rest[-1]["event_type"] == "error"
    assert rest[-1]["error"]["code"] == "service_unavailable"
    assert "event_id" not in rest[-1]  # it is not among the stored ones
    await upstream.requests[0].abandoned()
    await line.restore()
    await until_it_serves(client)
    assert [status for _, status in await ended(postgresql)] == ["failed"]
    found = told[0]["interaction"]["id"]
    kept = await client.replay(found)
    assert kept.events[: len(told) + len(rest) - 1] == told + rest[:-1]
    assert [event["event_type"] for event in kept.events].count("error") == 1
    assert kept.events[-1]["event_type"] == "error"
    assert [int(event["event_id"].rpartition("_")[2]) for event in kept.events] == [
        *range(1, len(kept.events) + 1)
    ]
    assert (await client.get(found)).json()["status"] == "failed"


@pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
async def test_p7_database_gone_at_the_end(
    line: Proxy, client: Client, upstream: ScriptedUpstream, postgresql: str, streamed: bool
) -> None:
    """No end is told that was not committed; and the run does not stay open for ever."""
    gate = Gate()
    whole: list[Action] = [STREAM + sse(*SAID[:-1]), gate, sse(SAID[-1])] if streamed else [gate, PLAIN]
    upstream.script(*whole)
    call = asyncio.ensure_future(client.create(stream=streamed))
    with Records(postgresql) as records:
        await until(lambda: upstream.requests and records.count("interactions"))
        if streamed:  # what has been told is not begun anew
            await until(lambda: records.count("interaction_events", f"last_seq = {len(SAID) - 1}"))
    await line.cut()
    gate.open()
    heard = await call
    assert b"completed" not in heard.body
    assert heard.error
    assert heard.error["code"] == "service_unavailable"
    await line.restore()
    await until_it_serves(client)
    [(found, status)] = await ended(postgresql)
    assert status == "failed"
    assert (await client.replay(found)).error


async def test_p7_database_that_comes_and_goes(
    line: Proxy, client: Client, upstream: ScriptedUpstream, postgresql: str
) -> None:
    """Whatever was answered with 200 is there; whatever was not has an end."""
    upstream.script(PLAIN)
    enough = asyncio.Event()

    async def call(number: int) -> list[Heard]:
        heard = []
        while not enough.is_set():
            heard.append(await client.create(stream=number % 2 == 1))
            await asyncio.sleep(0.01)
        return heard

    calls = [asyncio.ensure_future(call(number)) for number in range(6)]
    for _ in range(4):
        await asyncio.sleep(0.2)
        await line.cut()
        await asyncio.sleep(0.1)
        await line.restore()
    await until_it_serves(client)
    await asyncio.sleep(0.5)
    enough.set()
    answers = [heard for found in await asyncio.gather(*calls) for heard in found]
    assert {heard.status for heard in answers} <= {200, 503}
    rows = dict(await ended(postgresql))
    good = [heard for heard in answers if heard.status == 200 and not heard.error]
    assert good
    for heard in good:
        assert rows[heard.id] == "completed"


def at_most(gateway: Gateway, size: int | None) -> None:
    """How large a file the process may write: what a full disk looks like from inside."""
    assert gateway.process is not None
    limit = resource.RLIM_INFINITY if size is None else size
    resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_p9_disk_full(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> None:
    more = {"GATEWAY_RUNS__LEASE": str(LEASE), "GATEWAY_RUNS__HEARTBEAT": str(BEAT)}
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **more)
    upstream.script(PLAIN)
    database = Path(gateway.database_url.removeprefix("sqlite:///"))
    async with Client(gateway) as client:
        kept = (await client.create()).id
        log = database.with_name(database.name + "-wal")
        at_most(gateway, log.stat().st_size)
        refused = await client.create(input="x" * 100_000)
        assert unavailable(refused)
        streamed = await client.create(input="x" * 100_000, stream=True)
        assert streamed.status == 503 or streamed.error
        unstored = await client.create(store=False)
        assert unstored.status == 200
        assert (await client.get(kept)).status == 200
        at_most(gateway, None)
        async with asyncio.timeout(PATIENCE):
            while (await client.create(input="x" * 100_000)).status != 200:
                await asyncio.sleep(0.05)
        assert {status for _, status in await ended(gateway.database_url)} <= {"completed", "failed"}
        with Records(gateway.database_url) as records:
            assert records.rows("PRAGMA integrity_check") == [("ok",)]
    gateway.must_be_in_order()
