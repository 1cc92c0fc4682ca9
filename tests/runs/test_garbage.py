"""What requests leave behind: nothing that waits for the garbage collector, which is told to look rarely."""

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.upstream import (
    HANG,
    RESET,
    Action,
    ScriptedUpstream,
    answer,
    head,
    sse,
    text_events,
)

HOOK = """
import collections, gc, json, os, signal

def look(*_):
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    tell({})

def found(*_):
    gc.collect()
    kinds = (f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    tell(collections.Counter(kind for kind in kinds if kind.startswith("app.")))

def tell(what):
    with open("garbage.new", "w") as file:
        json.dump(what, file)
    os.rename("garbage.new", "garbage.json")

signal.signal(signal.SIGUSR1, look)
signal.signal(signal.SIGUSR2, found)
"""
SAID = text_events("a", "b", "c")
STREAM = head("200 OK", "text/event-stream")
WHOLE = answer({"status": "completed", "steps": [{"type": "model_output", "content": []}]})
TIMES = 5


async def left(client: Client, upstream: ScriptedUpstream) -> None:
    """A client that leaves in the middle of a stream that is not stored, which ends with it."""
    asked = len(upstream.requests)
    async with client.open(store=False) as reader:
        await reader.until(3)
    async with asyncio.timeout(PATIENCE):
        await upstream.requests[asked].abandoned()


async def behind(client: Client, _upstream: ScriptedUpstream) -> None:
    """A background run, to its end."""
    begun = await client.create(background=True)
    async with asyncio.timeout(PATIENCE):
        while (await client.get(begun.id)).json()["status"] == "in_progress":
            await asyncio.sleep(0.02)


async def replayed(client: Client, _upstream: ScriptedUpstream) -> None:
    """A stream, and once more from the store; then it is deleted, and is not there."""
    begun = await client.create(stream=True)
    assert (await client.replay(begun.id)).done
    assert (await client.delete(begun.id)).status == 200
    assert (await client.get(begun.id)).status == 404


async def passed_on(client: Client, _upstream: ScriptedUpstream) -> None:
    """Something else of the API, which the upstream refuses."""
    assert (await client.http.get("/v1beta/models")).status_code == 400


def create(status: int, **body: object) -> Callable[[Client, ScriptedUpstream], Awaitable[None]]:
    """An interaction that is answered so."""

    async def asked(client: Client, _upstream: ScriptedUpstream) -> None:
        assert (await client.create(**body)).status == status

    return asked


CASES: dict[str, tuple[tuple[Action, ...], Callable[[Client, ScriptedUpstream], Awaitable[None]]]] = {
    "an answer": ((WHOLE,), create(200)),
    "one that is not stored": ((WHOLE,), create(200, store=False)),
    "a stream": ((STREAM, sse(*SAID, done=True)), create(200, stream=True)),
    "a refusal": ((answer({"error": {"message": "no"}}, "400 Bad Request"),), create(400)),
    "an outage": ((answer({"error": {"message": "no"}}, "503 Service Unavailable"),), create(503)),
    "a reset": ((RESET,), create(502)),
    "a stream that breaks off": ((STREAM, sse(*SAID[:4]), RESET), create(200, stream=True)),
    "a background run": ((WHOLE,), behind),
    "a client that leaves": ((STREAM, sse(*SAID[:4]), HANG), left),
    "a replay": ((STREAM, sse(*SAID, done=True)), replayed),
    "what is passed on": ((answer({"error": {"message": "no"}}, "400 Bad Request"),), passed_on),
    "a body that is wrong": ((WHOLE,), create(400, model=7)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_a_request_leaves_no_cycles(
    case: str, start_gateway: GatewayFactory, upstream: ScriptedUpstream, tmp_path: Path
):
    (tmp_path / "sitecustomize.py").write_text(HOOK)
    # With that variable it starts from nothing, and so reads the hook.
    gateway = await asyncio.to_thread(start_gateway, upstream.url, PYTHONPATH=str(tmp_path), LD_PRELOAD="")
    script, ask = CASES[case]
    upstream.script(*script)
    async with Client(gateway) as client:
        await ask(client, upstream)  # what is done once
        await signalled(gateway, signal.SIGUSR1)
        for _ in range(TIMES):
            client.question += "!"
            await ask(client, upstream)
        assert await signalled(gateway, signal.SIGUSR2) == {}


async def signalled(gateway: Gateway, number: int) -> dict[str, int]:
    """What the gateway tells of this signal."""
    told = gateway.folder / "garbage.json"
    told.unlink(missing_ok=True)
    gateway.signal(number)
    async with asyncio.timeout(PATIENCE):
        while not told.exists():
            await asyncio.sleep(0.02)
    found: dict[str, int] = json.loads(told.read_text())
    return found
