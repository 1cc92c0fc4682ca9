"""Row U9 of the fault list: much of it. What is asked here is memory, and that it comes back."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.conftest import GatewayFactory
from tests.support.client import Client
from tests.support.failing import STREAM
from tests.support.gateway import Gateway
from tests.support.upstream import ScriptedUpstream, answer, sse, text_events

SAID = text_events("x")
MEGABYTE = 2**20


@pytest.fixture
async def roomy(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> AsyncIterator[Gateway]:
    running = await asyncio.to_thread(start_gateway, upstream.url)
    yield running
    await asyncio.to_thread(running.must_be_in_order)


@pytest.fixture
async def asking(roomy: Gateway) -> AsyncIterator[Client]:
    async with Client(roomy, deadline=40) as made:
        yield made


async def test_u9_one_event_of_fifty_megabytes(
    roomy: Gateway, asking: Client, upstream: ScriptedUpstream
) -> None:
    size = 50 * MEGABYTE
    image = {"type": "image", "mime_type": "image/png", "data": "A" * size}
    drawn = {"index": 0, "delta": image, "event_type": "step.delta"}
    upstream.script(STREAM + sse(*SAID[:3], drawn, *SAID[-2:]))
    upstream.script(answer({"status": "completed", "steps": []}))
    before = roomy.memory
    heard = await asking.create(stream=True)
    assert heard.done
    assert len(heard.body) > size
    assert roomy.most_memory - before < 10 * size
    assert (await asking.get(heard.id)).json()["steps"][1]["content"] == [image]
    assert (await asking.create()).status == 200


async def test_u9_many_small_events(roomy: Gateway, asking: Client, upstream: ScriptedUpstream) -> None:
    many = 20_000
    delta = sse(SAID[3])
    upstream.script(STREAM + sse(*SAID[:3]), delta * many, sse(*SAID[-2:]))
    after = []
    for stored in (True, False, True, False):
        heard = await asking.create(stream=True, store=stored)
        assert heard.done
        assert len(heard.events) == many + 5
        after.append(roomy.memory)
    assert after[3] - after[1] < 20 * MEGABYTE
    assert roomy.most_memory - after[0] < 60 * MEGABYTE
    unary = await asking.create()
    assert unary.json()["steps"][0]["content"][0]["text"] == "x" * many
