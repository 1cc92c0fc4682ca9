"""A scriptable upstream: raw bytes on a real socket, cut, delayed and reset wherever a test says.

    async with ScriptedUpstream() as upstream:
        upstream.script(head("200 OK", "text/event-stream"), sse(...), Pause(1), RESET)

Each connection takes the next script; the last one is repeated. What was asked is in `requests`.
"""

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Self

from tests.support import PATIENCE


@dataclass(frozen=True)
class Pause:
    """Wait this many seconds before the next action."""

    seconds: float


@dataclass(frozen=True)
class Gate:
    """Wait until the test opens it: what has to happen before has then happened."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self) -> None:
        """Let everybody go on who waits here, or comes here."""
        self.opened.set()


@dataclass(frozen=True)
class _End:
    name: str


RESET = _End("reset")
"""Send a TCP reset."""
HANG = _End("hang")
"""Keep the connection open and say nothing more, until the other side leaves."""

Action = bytes | Pause | Gate | _End


@dataclass
class Asked:
    """One request as it arrived."""

    line: str
    headers: dict[str, str]
    body: bytes
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the client closed the connection."""
    sent: int = 0
    """How many bytes of the answer the client has been willing to take."""

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    async def abandoned(self) -> None:
        """Wait until the client has closed the connection."""
        async with asyncio.timeout(PATIENCE):
            await self.left.wait()


class ScriptedUpstream:
    """Answers every request by a script and then closes the connection. Port 0 is any free one."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Asked] = []
        self._port = port
        self._scripts: list[tuple[Action, ...]] = []
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.url = ""

    def script(self, *actions: Action) -> None:
        """What the next connection gets."""
        self._scripts.append(actions)

    def rescript(self, *actions: Action) -> None:
        """What the next connection gets, whatever was said before."""
        self._scripts.clear()
        self.script(*actions)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, limit=2**26)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            with contextlib.suppress(ConnectionError):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await _read_request(reader)
        self.requests.append(asked)
        watch = asyncio.ensure_future(_watch(reader, asked))
        try:
            actions = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            for action in actions:
                await _act(action, writer, asked)
        finally:
            watch.cancel()


async def _act(action: Action, writer: asyncio.StreamWriter, asked: Asked) -> None:
    if isinstance(action, bytes):
        writer.write(action)
        await writer.drain()
        asked.sent += len(action)
    elif isinstance(action, Pause):
        await asyncio.sleep(action.seconds)
    elif isinstance(action, Gate):
        await action.opened.wait()
    elif action is RESET:
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        await asked.left.wait()


async def _watch(reader: asyncio.StreamReader, asked: Asked) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass
    asked.left.set()


async def _read_request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        if name:
            headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(head[0], headers, body)


def head(status: str = "200 OK", content_type: str = "application/json", **more: str) -> bytes:
    """The head of an answer that ends when the connection does."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """Data as one chunk of an answer with `transfer_encoding="chunked"`."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def answer(body: Any, status: str = "200 OK", **more: str) -> bytes:
    """A whole JSON answer."""
    return head(status, **more) + json.dumps(body).encode()


def sse(*events: dict[str, Any], done: bool = False) -> bytes:
    """Events as SSE frames, in the way of the Interactions API."""
    frames = [f"event: {event['event_type']}\ndata: {json.dumps(event)}\n\n" for event in events]
    return "".join(frames).encode() + (b"event: done\ndata: [DONE]\n\n" if done else b"")


def text_events(*texts: str) -> list[dict[str, Any]]:
    """The events of a plain text answer with these deltas."""
    return [
        {"interaction": {"id": "v1_upstream", "status": "in_progress"}, "event_type": "interaction.created"},
        {"interaction_id": "v1_upstream", "status": "in_progress", "event_type": "interaction.status_update"},
        {"index": 0, "step": {"type": "model_output"}, "event_type": "step.start"},
        *(
            {"index": 0, "delta": {"text": text, "type": "text"}, "event_type": "step.delta"}
            for text in texts
        ),
        {"index": 0, "event_type": "step.stop"},
        {
            "interaction": {
                "id": "v1_upstream",
                "status": "completed",
                "usage": {"total_tokens": 3, "total_input_tokens": 1, "total_output_tokens": 2},
                "service_tier": "standard",
            },
            "event_type": "interaction.completed",
        },
    ]
