"""What a client of the server sees when a directive orders a failure."""

import asyncio
import logging
import time

import aiohttp
import httpx
import pytest
import uvicorn

from tests.support import PATIENCE
from tests.upstream.simulator.frames import read

PATH = "/v1/interactions"
HEADERS = {"x-goog-api-key": "any"}
BRIEF = httpx.Timeout(30, read=2)


def asked(text: str, *, stream: bool = True, store: bool = False) -> dict[str, object]:
    return {"model": "m", "input": text, "stream": stream, "store": store}


async def received(url: str, body: dict[str, object]) -> tuple[bytes, Exception | None]:
    """What an aiohttp client got, and the error that ended it."""
    chunks = b""
    async with aiohttp.ClientSession(url, headers=HEADERS) as session:
        try:
            async with session.post(PATH, json=body) as answer:
                async for chunk in answer.content.iter_any():
                    chunks += chunk
        except aiohttp.ClientError as error:
            return chunks, error
    return chunks, None


async def idle(simulator: uvicorn.Server) -> None:
    """Wait until the server serves nobody."""
    async with asyncio.timeout(PATIENCE):
        while simulator.server_state.tasks:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("store", [False, True])
@pytest.mark.parametrize("number", [0, 1, 6, 10])
async def test_a_broken_connection_is_an_error_of_the_connection(simulator_url, caplog, number, store):
    body = asked(f"Hello [[sim fail_after={number}]]", store=store)
    chunks, error = await received(simulator_url, body)
    assert isinstance(error, aiohttp.ClientPayloadError)
    frames = read(chunks)
    assert len(frames.events) == number
    assert frames.done == (number == 10)
    async with httpx.AsyncClient(base_url=simulator_url, headers=HEADERS) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(PATH, json=body)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("order", ["fail_after=0", "fail_after=99"])
async def test_a_unary_answer_breaks_off(client, order):
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(PATH, json=asked(f"Hello [[sim {order}]]", stream=False))


@pytest.mark.parametrize("number", [0, 4])
async def test_a_stream_ends_cleanly_but_too_early(client, number):
    answer = await client.post(PATH, json=asked(f"Hello [[sim drop_after={number}]]"))
    frames = read(answer.content)
    assert answer.headers["content-type"] == "text/event-stream"
    assert (len(frames.events), frames.done) == (number, False)


async def test_a_unary_answer_is_empty(client):
    answer = await client.post(PATH, json=asked("Hello [[sim drop_after=3]]", stream=False))
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_stream_ends_with_an_error_event_and_nothing_else(client):
    frames = read((await client.post(PATH, json=asked("Hello [[sim error_after=5]]"))).content)
    assert (len(frames.events), frames.done) == (6, False)
    assert list(frames.last) == ["error", "event_type"]
    assert frames.last["error"]["code"] == "service_unavailable"


async def test_a_unary_answer_is_an_error(client):
    answer = await client.post(PATH, json=asked("Hello [[sim error_after=5]]", stream=False))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["code"] == "service_unavailable"


@pytest.mark.parametrize("stream", [False, True])
async def test_silence_has_no_headers(client, stream):
    with pytest.raises(httpx.ReadTimeout):
        async with client.stream("POST", PATH, json=asked("[[sim hang]]", stream=stream), timeout=BRIEF):
            pytest.fail("it answered")


@pytest.mark.parametrize("store", [False, True])
async def test_silence_after_some_events(client, store):
    body = asked("Hello [[sim hang_after=4]]", store=store)
    chunks = b""
    with pytest.raises(httpx.ReadTimeout):  # noqa: PT012 - how much came before the silence counts
        async with client.stream("POST", PATH, json=body, timeout=BRIEF) as answer:
            async for chunk in answer.aiter_bytes():
                chunks += chunk
    assert len(read(chunks).events) == 4


async def test_events_arrive_while_they_happen(client):
    body = asked("Hello [[sim tokens=4 thoughts=0 delay_ms=30]]")
    moments: list[float] = []
    async with client.stream("POST", PATH, json=body) as answer:
        moments = [time.monotonic() async for _ in answer.aiter_bytes()]
    assert moments[-1] - moments[0] > 0.08


async def test_clients_that_leave_leave_nothing_behind(simulator, simulator_url, caplog):
    async def leave(order: str) -> None:
        async with aiohttp.ClientSession(simulator_url, headers=HEADERS) as session:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(session.post(PATH, json=asked(f"[[sim {order}]]", stream=False)), 0.2)

    await asyncio.gather(*(leave(order) for order in ["hang", "delay_ms=60000"] * 50))
    await idle(simulator)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_client_that_leaves_in_its_request_is_no_fault(simulator, simulator_url, caplog):
    port = int(simulator_url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/interactions HTTP/1.1\r\nhost: a\r\nx-goog-api-key: k\r\ncontent-length: 99\r\n\r\n{"
    )
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.close()
    await idle(simulator)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_stored_interaction_outlives_its_connection(client):
    created = await client.post(
        PATH, json={"model": "m", "input": "Hello [[sim drop_after=3]]", "stream": True}
    )
    name = read(created.content)["id"]
    frames = read((await client.get(f"{PATH}/{name}?stream=true")).content)
    assert frames.done
    assert frames.last["interaction"]["status"] == "completed"


async def test_a_stored_interaction_can_fail(client):
    created = await client.post(
        PATH, json={"model": "m", "input": "Hello [[sim error_after=7]]", "stream": True}
    )
    name = read(created.content)["id"]
    shown = (await client.get(f"{PATH}/{name}")).json()
    assert shown["status"] == "failed"
    assert shown["errors"][0]["code"] == "service_unavailable"
    assert [step["type"] for step in shown["steps"]] == ["user_input", "thought", "model_output"]
    next_turn = {"model": "m", "input": "Go on", "previous_interaction_id": name}
    refused = await client.post(PATH, json=next_turn)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "failed_precondition")
