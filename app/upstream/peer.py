"""The other side of a forwarded request: asked once, answering as it goes.

    HttpPeer   a server behind a base URL
    AsgiPeer   an application in this process: the embedded simulator

Neither buffers: a body is taken piece by piece, and an answer's pieces are passed on as they come.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

import aiohttp
from starlette.types import ASGIApp, Message
from yarl import URL

from app.upstream.headers import Headers

Body = bytes | AsyncIterator[bytes] | None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it goes out. `path` and `query` are encoded; the path begins below the base URL."""

    method: str
    path: str
    query: str = ""
    headers: Headers = field(default_factory=list)
    body: Body = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer whose body is still to come. Names of headers are in lower case.

    `instead` is the fingerprint of the key that was asked with in the end, where the first one failed.
    """

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]
    instead: str | None = None

    def header(self, name: bytes) -> str | None:
        """The first header of this name."""
        return next((value.decode("latin-1") for each, value in self.headers if each == name), None)


class Peer(Protocol):
    """Whatever can be asked. `base` is the URL that paths are below."""

    base: str

    def ask(self, asked: Asked) -> AbstractAsyncContextManager[Answer]:
        """Send the request; leaving the context ends the exchange, complete or not.

        Raises aiohttp.ClientError, OSError and TimeoutError, also while the answer is read.
        """
        ...


class HttpPeer:
    """A server, over the process's connection pool. Redirects are not followed."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self.base = base_url.rstrip("/")
        self._session = session

    @asynccontextmanager
    async def ask(self, asked: Asked) -> AsyncIterator[Answer]:
        """One request over HTTP."""
        # aiohttp writes UTF-8.
        headers = [(name.decode(), value.decode(errors="replace")) for name, value in asked.headers]
        if asked.key is not None:
            headers.append(("x-goog-api-key", asked.key))
        url = self.base + asked.path + (f"?{asked.query}" if asked.query else "")
        async with self._session.request(
            asked.method,
            URL(url, encoded=True),
            data=asked.body,
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=("Content-Type",),
        ) as response:
            received = [(name.lower(), value) for name, value in response.raw_headers]
            yield Answer(response.status, received, response.content.iter_any())


class AsgiPeer:
    """An application in this process, spoken to in its own protocol, without a socket."""

    base = "http://embedded"

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    @asynccontextmanager
    async def ask(self, asked: Asked) -> AsyncIterator[Answer]:
        """One request, in a task of its own."""
        spoken = _Conversation(asked.body)
        task = asyncio.create_task(spoken.hold(self._app, self._scope(asked)))
        try:
            start = await spoken.started
            yield Answer(start["status"], [(n.lower(), v) for n, v in start["headers"]], spoken.chunks())
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _scope(self, asked: Asked) -> Message:
        key = [] if asked.key is None else [(b"x-goog-api-key", asked.key.encode())]
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": asked.method,
            "scheme": "http",
            "path": unquote(asked.path),
            "raw_path": asked.path.encode(),
            "query_string": asked.query.encode(),
            "root_path": "",
            "headers": [(b"host", b"embedded"), *asked.headers, *key],
            "client": None,
            "server": ("embedded", 80),
        }


class _Conversation:
    """What goes to and from an application; at most one piece of the answer waits to be taken."""

    def __init__(self, body: Body) -> None:
        self.started: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._complete = False
        self._body = _pieces(body)

    async def hold(self, app: ASGIApp, scope: Message) -> None:
        """Let the application answer; what it does not end is broken.

        Who cancels this does not take any pieces any more.
        """
        with contextlib.suppress(Exception):
            await app(scope, self._receive, self._send)
        if not self.started.done():
            self.started.set_exception(ConnectionResetError("no answer"))
        await self._pieces.put(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of the answer."""
        while (piece := await self._pieces.get()) is not None:
            yield piece
        if not self._complete:
            raise ConnectionResetError("half an answer")

    async def _receive(self) -> Message:
        piece = await anext(self._body, None)
        if piece is None:
            self._body = _never()
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started.set_result(message)
        elif message["type"] == "http.response.body":
            if message.get("body"):
                await self._pieces.put(message["body"])
            self._complete = not message.get("more_body", False)


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        yield body
    elif body is not None:
        async for piece in body:
            yield piece


async def _never() -> AsyncIterator[bytes]:
    """The client never leaves of itself: who is not interested any more cancels."""
    await asyncio.Event().wait()
    yield b""
