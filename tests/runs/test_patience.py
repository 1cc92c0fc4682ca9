"""How long a client is kept waiting without a word, and how long a request may take in all."""

import asyncio
import time

import pytest

from tests.conftest import GatewayFactory
from tests.support.client import Client, without_comments
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.runs import until
from tests.support.upstream import HANG, Pause, ScriptedUpstream, answer, head, sse, text_events

SAID = text_events("a", "b", "c")
STREAM = head("200 OK", "text/event-stream")
REQUEST = 3

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


OFTEN = {"GATEWAY_RUNS__OPEN_WAIT": "0.1", "GATEWAY_RUNS__KEEP_ALIVE": "0.1"}


@pytest.fixture
async def gateway(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    return await asyncio.to_thread(start_gateway, upstream.url, **OFTEN)


@pytest.fixture
async def hasty(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    """A gateway that gives a request little time."""
    short = {**OFTEN, "GATEWAY_LIMITS__REQUEST_SECONDS": str(REQUEST)}
    return await asyncio.to_thread(start_gateway, upstream.url, **short)


async def test_headers_and_comments_come_before_the_upstream_says_anything(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    upstream.script(Pause(1.5), STREAM + sse(*SAID[:4]), Pause(1.5), sse(*SAID[4:]))
    async with Client(gateway) as client:
        heard = await client.create(stream=True)
        assert heard.done
        before, _, after = heard.body.partition(b"event: interaction.created")
        assert before.count(b": keep-alive\n\n") > 1
        assert after.count(b": keep-alive\n\n") > 1
        assert (await client.replay(heard.id)).body == without_comments(heard.body)


async def test_failure_after_the_headers_is_an_event(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    said = {"error": {"code": "rate_limit_exceeded", "message": "Slow down."}}
    upstream.script(Pause(1.5), answer(said, "429 No"))
    async with Client(gateway) as client:
        heard = await client.create(stream=True)
    assert heard.status == 200
    assert heard.error == said["error"]
    assert not heard.done


async def test_request_that_takes_too_long(hasty: Gateway, upstream: ScriptedUpstream) -> None:
    """The request ends; what is stored goes on, what nobody can read any more does not."""
    upstream.script(STREAM + sse(*SAID[:4]), HANG)
    began = time.monotonic()
    async with Client(hasty) as client:
        unary, streamed, unstored = await asyncio.gather(
            client.create(), client.create(stream=True), client.create(stream=True, store=False)
        )
    assert time.monotonic() - began >= REQUEST
    assert (unary.status, unary.json()["error"]["code"]) == (504, "deadline_exceeded")
    for heard in (streamed, unstored):
        assert heard.error
        assert heard.error["code"] == "service_unavailable"
        assert "event_id" not in heard.events[-1]
    hasty.must_be_in_order()
    await until(lambda: any(asked.left.is_set() for asked in upstream.requests))
    with Records(hasty.database_url) as records:
        await until(lambda: records.count("interactions", "status = 'cancelled'"))
        found = records.rows("SELECT store, status FROM interactions ORDER BY store, status")
    assert [(bool(store), status) for store, status in found] == [
        (False, "cancelled"),
        (True, "in_progress"),
        (True, "in_progress"),
    ]
