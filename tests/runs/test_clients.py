"""Rows C1, C2 and C4 of the fault list: clients that leave, come back, and read slowly."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.client import DONE, Client, events
from tests.support.failing import STREAM
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.upstream import HANG, Action, Pause, ScriptedUpstream, answer, sse, text_events

SAID = text_events("a", "b", "c")
STEP = {"type": "model_output", "content": [{"text": "abc", "type": "text"}]}
PLAIN = answer({"status": "completed", "steps": [STEP]})


def slowly() -> list[Action]:
    """The events one by one."""
    return [action for event in SAID for action in (sse(event), Pause(0.03))]


async def asked_for(faulty: ScriptedUpstream, count: int = 1) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(faulty.requests) < count:
            await asyncio.sleep(0.005)


async def leave(
    gateway: Gateway, client: Client, faulty: ScriptedUpstream, *, streamed: bool, stored: bool
) -> None:
    """Ask, and go as soon as the upstream has been asked and there is a row, before there is an answer."""
    with Records(gateway.database_url) as records:
        before = records.count("interactions")
        call = asyncio.ensure_future(client.create(stream=streamed, store=stored))
        async with asyncio.timeout(PATIENCE):
            while records.count("interactions") == before or not faulty.requests:
                await asyncio.sleep(0.005)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def ended(gateway: Gateway, seconds: float = PATIENCE) -> tuple[str, str]:
    """The newest interaction, once it has ended."""
    newest = "SELECT id, status FROM interactions ORDER BY created_at DESC, id DESC LIMIT 1"
    with Records(gateway.database_url) as records:
        async with asyncio.timeout(seconds):
            while not (rows := records.rows(newest)) or rows[0][1] == "in_progress":
                await asyncio.sleep(0.02)
    return rows[0][0], rows[0][1]


both = pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])


@both
async def test_c1_stored_run_goes_on_to_its_end(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream, streamed: bool
) -> None:
    faulty.script(Pause(0.3), *([STREAM, *slowly()] if streamed else [PLAIN]))
    await leave(impatient, client, faulty, streamed=streamed, stored=True)
    found, status = await ended(impatient)
    assert status == "completed"
    assert (await client.get(found)).json()["steps"][1:] == [STEP]
    replayed = await client.replay(found)
    assert replayed.done
    assert replayed.events[-1]["interaction"]["status"] == "completed"


@both
async def test_c1_unstored_run_is_cancelled_upstream(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream, streamed: bool
) -> None:
    faulty.script(HANG)
    await leave(impatient, client, faulty, streamed=streamed, stored=False)
    await faulty.requests[0].abandoned()
    assert (await ended(impatient))[1] == "cancelled"


async def test_c1_unstored_stream_is_cancelled_in_the_middle(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream
) -> None:
    again: list[Action] = [Pause(0.1), sse(SAID[4])]
    faulty.script(STREAM + sse(*SAID[:4]), *(again * 600))
    async with client.open(store=False) as stream:
        await stream.until(5)
    await faulty.requests[0].abandoned()
    assert (await ended(impatient))[1] == "cancelled"


@both
async def test_c1_answer_that_crosses_with_the_leaving_client(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream, streamed: bool
) -> None:
    """Whatever comes first, there is one end, and the process is in order."""
    faulty.script(*([STREAM, sse(*SAID)] if streamed else [PLAIN]))
    for number in range(20):
        call = asyncio.ensure_future(client.create(input=f"{number}", stream=streamed, store=number % 2 == 0))
        await asked_for(faulty, number + 1)
        await asyncio.sleep(number / 4000)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    async with asyncio.timeout(PATIENCE):
        with Records(impatient.database_url) as records:
            while records.count("interactions", "status = 'in_progress'"):
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("heard", range(1, len(SAID)))
async def test_c2_reconnects_after_n_events(client: Client, faulty: ScriptedUpstream, heard: int) -> None:
    """What is left is told exactly once, live, and it is the same for everybody."""
    faulty.script(STREAM, *slowly())
    async with client.open() as stream:
        first = await stream.until(heard)
    found = first[0]["interaction"]["id"]
    again, whole, last = await asyncio.gather(
        client.replay(found, after=first[-1]["event_id"]),
        client.replay(found),
        client.replay(found, after=first[0]["event_id"]),
    )
    frames = whole.body.split(b"\n\n")
    assert b"\n\n".join([*stream.raw.split(b"\n\n")[:heard], again.body]) == whole.body
    assert last.body == b"\n\n".join(frames[1:])
    assert [event["event_type"] for event in whole.events] == [event["event_type"] for event in SAID]
    assert whole.done
    assert (await client.replay(found)).body == whole.body


async def test_c2_follows_in_another_process(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    one, two = await asyncio.gather(*(asyncio.to_thread(start_gateway, upstream.url) for _ in range(2)))
    upstream.script(STREAM, *slowly())
    async with Client(one) as here, Client(two, one.key) as there, here.open() as stream:
        first = await stream.until(3)
        found = first[0]["interaction"]["id"]
        followed, rest = await asyncio.gather(
            there.replay(found), there.replay(found, after=first[-1]["event_id"])
        )
        heard = await stream.rest()
    assert followed.body == heard
    assert rest.body == b"\n\n".join(heard.split(b"\n\n")[3:])


async def test_c2_many_followers(client: Client, faulty: ScriptedUpstream) -> None:
    faulty.script(STREAM, *slowly())
    async with client.open() as stream:
        first = await stream.until(2)
        found = first[0]["interaction"]["id"]
        followers = await asyncio.gather(*(client.replay(found) for _ in range(30)))
        heard = await stream.rest()
    assert {follower.body for follower in followers} == {heard}


# --- slow readers ---

BIG = {"index": 0, "delta": {"text": "x" * 100_000, "type": "text"}, "event_type": "step.delta"}
MANY = 300
MEGABYTE = 2**20


class SlowReader:
    """A client with a small window that reads only when it is told to."""

    def __init__(self, gateway: Gateway, body: bytes) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", gateway.port))
        head = (
            f"POST /v1beta/interactions HTTP/1.1\r\nhost: x\r\nx-goog-api-key: {gateway.key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + body)
        self._socket.setblocking(False)

    async def rest(self) -> bytes:
        """Everything that there is to read, without the chunks it came in."""
        reader, writer = await asyncio.open_connection(sock=self._socket, limit=2**24)
        await reader.readuntil(b"\r\n\r\n")
        found = []
        while size := int(await reader.readline(), 16):
            found.append((await reader.readexactly(size + 2))[:-2])
        writer.close()
        return b"".join(found)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
async def patient(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> AsyncIterator[Gateway]:
    """A gateway that waits long but buffers little."""
    settings = {"GATEWAY_RUNS__TAIL_BYTES": "100000", "GATEWAY_TIMEOUTS__IDLE": "30"}
    running = await asyncio.to_thread(start_gateway, upstream.url, **settings)
    yield running
    await asyncio.to_thread(running.must_be_in_order)


async def still(upstream: ScriptedUpstream) -> int:
    """How much the upstream could send before it had to wait."""
    before, now = -1, upstream.requests[0].sent
    while now != before:
        await asyncio.sleep(0.4)
        before, now = now, upstream.requests[0].sent
    return now


async def test_c4_slow_reader_of_an_unstored_stream_makes_the_upstream_wait(
    patient: Gateway, upstream: ScriptedUpstream
) -> None:
    frame = sse(BIG)
    upstream.script(STREAM + sse(*SAID[:3]), *([frame] * MANY), sse(*SAID[-2:]))
    memory = patient.memory
    reader = SlowReader(patient, b'{"model":"m","input":"Hi","stream":true,"store":false}')
    await asked_for(upstream)
    assert await still(upstream) < 20 * MEGABYTE
    assert patient.memory - memory < 20 * MEGABYTE
    whole = await reader.rest()
    assert len(whole) > MANY * 100_000
    assert len(events(whole)) == MANY + 5
    assert whole.endswith(DONE)


async def test_c4_slow_reader_of_a_stored_stream_does_not_slow_the_run(
    patient: Gateway, upstream: ScriptedUpstream
) -> None:
    frame = sse(BIG)
    upstream.script(STREAM + sse(*SAID[:3]), *([frame] * MANY), sse(*SAID[-2:]))
    reader = SlowReader(patient, b'{"model":"m","input":"Hi","stream":true}')
    await asked_for(upstream)
    found, status = await ended(patient)
    assert status == "completed"
    async with Client(patient) as client:
        whole = await reader.rest()
        assert whole == (await client.replay(found)).body
    assert len(events(whole)) == MANY + 5


async def test_c4_slow_reader_that_leaves(patient: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.script(STREAM + sse(*SAID[:3]), *([sse(BIG)] * MANY), HANG)
    reader = SlowReader(patient, b'{"model":"m","input":"Hi","stream":true,"store":false}')
    await asked_for(upstream)
    await still(upstream)
    reader.close()
    await upstream.requests[0].abandoned()
    assert (await ended(patient))[1] == "cancelled"
