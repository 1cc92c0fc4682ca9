"""Rows P1, P3 and P6 of the fault list: processes killed or told to stop, and runs that are deleted."""

import asyncio
import contextlib
import signal
from typing import Any

import httpx
import pytest

from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.client import DONE, Client, Heard, events
from tests.support.freezing import freeze
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.runs import until
from tests.support.upstream import HANG, Action, Pause, ScriptedUpstream, answer, head, sse, text_events

SAID = text_events("a", "b", "c")
STREAM = head("200 OK", "text/event-stream")
LEASE, BEAT = 3.0, 0.5
QUICK = {"GATEWAY_RUNS__LEASE": str(LEASE), "GATEWAY_RUNS__HEARTBEAT": str(BEAT)}
ABANDONED = {"code": "aborted", "message": "The gateway that ran this interaction stopped in the middle."}

LOST = {"code": "cancelled", "message": "The interaction was deleted, or taken over by another process."}


async def until_failed(client: Client, found: str) -> dict[str, Any]:
    """The interaction, once it has been given up."""
    async with asyncio.timeout(PATIENCE):
        while (kept := (await client.get(found)).json())["status"] == "in_progress":
            await asyncio.sleep(0.05)
    assert kept["status"] == "failed"
    return dict(kept)


@contextlib.asynccontextmanager
async def interrupted(client: Client, count: int):
    """A stream of which so many events are read, and which then breaks off."""
    with contextlib.suppress(httpx.TransportError):
        async with client.open() as stream:
            await stream.until(count)
            yield stream
            await stream.rest()


async def test_p1_killed_run_is_ended_after_the_restart(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **QUICK)
    upstream.script(STREAM + sse(*SAID[:5]), HANG)
    async with Client(gateway) as client:
        unary = asyncio.ensure_future(client.create())
        unstored = asyncio.ensure_future(client.create(store=False))
        async with interrupted(client, 5) as stream:
            while len(upstream.requests) < 3:
                await asyncio.sleep(0.01)
            with Records(gateway.database_url) as records:
                await until(lambda: records.count("interactions") == 3)
            gateway.kill()
        await asyncio.gather(unary, unstored, return_exceptions=True)
    found, told = events(stream.raw)[0]["interaction"]["id"], stream.raw
    await asyncio.to_thread(gateway.start)
    async with Client(gateway) as client:
        early = await client.replay(found)  # waits for the end
        kept = await until_failed(client, found)
        late = await client.replay(found)
        assert early.body == late.body
        assert late.body.startswith(told)
        assert not late.done
        assert [event["event_type"] for event in late.events[5:]] == ["error"]
        assert late.error == ABANDONED
        assert kept["errors"] == [ABANDONED]
        assert kept["steps"][1:] == [{"type": "model_output", "content": [{"text": "ab", "type": "text"}]}]
        resumed = await client.replay(found, after=late.events[4]["event_id"])
        assert resumed.error == ABANDONED
        assert len(resumed.events) == 1
        refused = await client.create(previous_interaction_id=found)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "failed_precondition")
        await must_be_closed(gateway, client, found)
    gateway.must_be_in_order()


async def must_be_closed(gateway: Gateway, client: Client, found: str) -> None:
    """The runs of the dead process: the one that was heard, an unstored one, and one that was silent."""
    with Records(gateway.database_url) as records:
        rows = records.rows("SELECT id, store, status, input, output, error, lease_until FROM interactions")
    assert len(rows) == 3
    assert {row[2] for row in rows} == {"failed"}
    assert {row[6] for row in rows} == {None}
    [hidden] = [row for row in rows if not row[1]]
    assert hidden[3:5] == (None, None)
    [silent] = [row[0] for row in rows if row[1] and row[0] != found]
    replayed = await client.replay(silent)
    assert replayed.error == ABANDONED
    assert (await client.get(silent)).json()["status"] == "failed"


async def test_p1_killed_run_is_ended_by_another_process(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    one, two = await asyncio.gather(
        *(asyncio.to_thread(start_gateway, upstream.url, **QUICK) for _ in range(2))
    )
    upstream.script(STREAM + sse(*SAID[:5]), HANG)
    async with Client(one) as here, Client(two, one.key) as there:
        async with interrupted(here, 5) as stream:
            found = events(stream.raw)[0]["interaction"]["id"]
            follower = asyncio.ensure_future(there.replay(found))
            await asyncio.sleep(2 * BEAT)
            assert (await there.get(found)).json()["status"] == "in_progress"
            one.kill()
        followed = await follower
        assert followed.body.startswith(stream.raw)
        assert followed.error == ABANDONED
        assert (await there.replay(found)).body == followed.body
    two.must_be_in_order()


async def test_p1_silent_run_keeps_its_lease(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    """Nothing is heard for longer than a lease, and nobody takes the run away."""
    one, two = await asyncio.gather(
        *(asyncio.to_thread(start_gateway, upstream.url, **QUICK) for _ in range(2))
    )
    upstream.script(STREAM + sse(*SAID[:5]), Pause(LEASE + 1), sse(*SAID[5:]))
    async with Client(one) as client:
        heard = await client.create(stream=True)
        assert heard.done
        assert (await client.get(heard.id)).json()["status"] == "completed"
    assert "abandoned" not in one.log() + two.log()


async def test_p4_process_that_slept_through_its_lease(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    """Another one has ended its run; what it still has to say is refused, and changes nothing."""
    one, two = await asyncio.gather(
        *(asyncio.to_thread(start_gateway, upstream.url, **QUICK) for _ in range(2))
    )
    again: list[Action] = [Pause(0.2), sse(SAID[4])]
    upstream.script(STREAM + sse(*SAID[:5]), *(again * 600))
    async with Client(one) as here, Client(two, one.key) as there, here.open() as stream:
        found = (await stream.until(5))[0]["interaction"]["id"]
        await freeze(one)
        kept = await until_failed(there, found)
        whole = await there.replay(found)
        one.signal(signal.SIGCONT)
        told = events(await stream.rest())
        assert whole.error == ABANDONED
        assert told == whole.events
        for client in (here, there):
            assert (await client.replay(found)).body == whole.body
            assert (await client.get(found)).json() == kept
        await upstream.requests[0].abandoned()
    one.must_be_in_order()


async def test_p6_delete_of_a_running_interaction(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream
) -> None:
    secret = "a very private matter"
    again: list[Action] = [Pause(0.2), b": still here\n\n"]
    faulty.script(STREAM + sse(*SAID[:5]), *(again * 600))
    async with client.open(input=secret) as stream:
        told = await stream.until(5)
        found = told[0]["interaction"]["id"]
        async with client.follow(found) as follower:
            assert await follower.until(5) == told
            assert (await client.delete(found)).status == 200
            await faulty.requests[0].abandoned()
            ends = [events(await each.rest())[5:] for each in (stream, follower)]
    for last in ends:
        assert [event["event_type"] for event in last] == ["error"]
        assert last[0]["error"] == LOST
    assert (await client.get(found)).status == 404
    with Records(impatient.database_url) as records:
        assert secret.encode() not in records.text()
        assert records.count("interactions", f"id = '{found}'") == 0


async def test_p6_delete_of_a_running_unary_interaction(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream
) -> None:
    faulty.script(HANG)
    call = asyncio.ensure_future(client.create())
    with Records(impatient.database_url) as records:
        while not (rows := records.rows("SELECT id FROM interactions WHERE status = 'in_progress'")):
            await asyncio.sleep(0.01)
    assert (await client.delete(rows[0][0])).status == 200
    heard = await call
    assert (heard.status, heard.json()["error"]["code"]) == (499, "cancelled")


async def test_p6_delete_in_another_process(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    """The process that runs it hears of it with its next heartbeat, however silent the upstream."""
    one, two = await asyncio.gather(
        *(asyncio.to_thread(start_gateway, upstream.url, **QUICK) for _ in range(2))
    )
    upstream.script(STREAM + sse(*SAID[:5]), HANG)
    async with Client(one) as here, Client(two, one.key) as there, here.open() as stream:
        found = (await stream.until(5))[0]["interaction"]["id"]
        assert (await there.delete(found)).status == 200
        await upstream.requests[0].abandoned()
        last = events(await stream.rest())[-1]
        assert last["error"] == LOST
        assert (await here.get(found)).status == 404
    one.must_be_in_order()


@pytest.fixture
async def draining(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    return await asyncio.to_thread(start_gateway, upstream.url, GATEWAY_RUNS__DRAIN="1")


@pytest.fixture
async def patient(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    """A gateway that would wait for its runs for longer than any test waits for it."""
    return await asyncio.to_thread(start_gateway, upstream.url, GATEWAY_RUNS__DRAIN="600")


async def stopped(gateway: Gateway, *heard: "asyncio.Future[Any]") -> None:
    """SIGTERM, and what everybody hears."""
    code, *_ = await asyncio.gather(asyncio.to_thread(gateway.stop), *heard)
    assert code in (0, -15)
    assert "Traceback" not in gateway.log()
    assert "nobody foresaw" not in gateway.log()


async def test_p3_sigterm_ends_open_streams_in_order(draining: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.script(STREAM + sse(*SAID[:5]), HANG)
    async with Client(draining) as client, client.open() as stream:
        found = (await stream.until(5))[0]["interaction"]["id"]
        unary = asyncio.ensure_future(client.create())
        unstored = asyncio.ensure_future(client.create(stream=True, store=False))
        while len(upstream.requests) < 3:
            await asyncio.sleep(0.01)
        await stopped(draining, asyncio.ensure_future(stream.rest()))
        last = events(stream.raw)[-1]
        assert last["event_type"] == "error"
        assert last["error"]["code"] == "service_unavailable"
        assert not stream.raw.endswith(DONE)
        for heard in await asyncio.gather(unary, unstored, return_exceptions=True):
            if isinstance(heard, Heard):
                assert heard.error
                assert heard.error["code"] == "service_unavailable"
            else:
                assert isinstance(heard, httpx.TransportError)
    for request in upstream.requests:
        await request.abandoned()
    with Records(draining.database_url) as records:
        ends = records.rows("SELECT status FROM interactions ORDER BY store, status")
    assert ends == [("cancelled",), ("failed",), ("failed",)]
    await asyncio.to_thread(draining.start)
    async with Client(draining) as client:
        kept = await client.replay(found)
        assert events(stream.raw)[:5] == kept.events[:5]
        assert kept.error
        assert kept.error["code"] == "service_unavailable"


async def test_p3_sigterm_lets_runs_finish(patient: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.script(STREAM + sse(*SAID[:5]), Pause(1), sse(*SAID[5:]))
    async with Client(patient) as client:
        async with client.open() as gone:
            left = (await gone.until(5))[0]["interaction"]["id"]
        async with client.open() as stream:
            await stream.until(5)
            await stopped(patient, asyncio.ensure_future(stream.rest()))
            assert stream.raw.endswith(DONE)
    await asyncio.to_thread(patient.start)
    async with Client(patient) as client:
        assert (await client.get(left)).json()["status"] == "completed"


async def test_p3_idle_process_stops_at_once(patient: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.script(answer({"status": "completed", "steps": []}))
    async with Client(patient) as client:
        assert (await client.create()).status == 200
        await stopped(patient)
