"""An application in this process as an upstream: no socket, and nothing is left of a broken exchange."""

import asyncio

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.upstream.peer import AsgiPeer, Asked
from tests.support import PATIENCE

START = {"type": "http.response.start", "status": 200, "headers": [(b"X-Name", b"v")]}


def piece(body: bytes, *, more: bool = True) -> dict[str, object]:
    """A piece of an answer."""
    return {"type": "http.response.body", "body": body, "more_body": more}


async def pieces(app: ASGIApp) -> list[bytes]:
    """The pieces of an application's answer."""
    async with AsgiPeer(app).ask(Asked("GET", "/")) as answer:
        return [chunk async for chunk in answer.chunks]


async def test_who_leaves_in_the_middle_leaves_nothing_behind() -> None:
    """The application waits to be rid of a piece that nobody takes: it is told that nobody will."""
    stopped = asyncio.Event()

    async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        try:
            while True:
                await send(piece(b"more"))
        finally:
            stopped.set()

    async with asyncio.timeout(PATIENCE):
        async with AsgiPeer(endless).ask(Asked("GET", "/")) as answer:
            assert (answer.status, answer.headers) == (200, [(b"x-name", b"v")])
            assert await anext(answer.chunks) == b"more"
            await asyncio.sleep(0)
        assert stopped.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_application_that_fails_is_an_upstream_that_leaves() -> None:
    async def at_once(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError

    async def later(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(piece(b"half"))
        raise RuntimeError

    async def silent(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(piece(b"half"))

    for app in (at_once, later, silent):
        with pytest.raises(ConnectionResetError):
            await pieces(app)


async def test_both_ways_flow_at_once() -> None:
    async def echo(_scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send(piece(message["body"], more=more))

    told = asyncio.Event()

    async def body():
        yield b"one"
        await told.wait()
        yield b"two"

    async with asyncio.timeout(PATIENCE), AsgiPeer(echo).ask(Asked("POST", "/", body=body())) as answer:
        assert await anext(answer.chunks) == b"one"
        told.set()
        assert b"".join([chunk async for chunk in answer.chunks]) == b"two"
