"""An upstream that costs as little as possible: `python -m bench.upstream PORT`.

The name of the model says what is wanted: `unary`, or `stream.EVENTS.MICROSECONDS`, that many deltas with
that pause between them. Each delta's text begins with the time at which it was sent.
"""

import asyncio
import re
import sys
import time
from typing import cast

import uvloop

_MODEL = re.compile(rb'"model":\s?"([\w.]+)"')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_AT_ONCE = 32
_FILLER = "the quick brown fox jumps "

_SHOWN = b'{"id":"v1_upstream","object":"interaction","status":"%s","model":"m"}'
_USAGE = (
    b'{"id":"v1_upstream","object":"interaction","status":"completed","model":"m",'
    b'"usage":{"total_tokens":3,"total_input_tokens":1,"total_output_tokens":2}'
)
_STEPS = b'"steps":[{"type":"model_output","content":[{"type":"text","text":"%s"}]}]' % (b"x" * 3900)
_ANSWER = _USAGE + b"," + _STEPS + b"}"


def _frame(name: bytes, fields: bytes) -> bytes:
    return b'event: %s\ndata: {%s,"event_type":"%s"}\n\n' % (name, fields, name)


_BEGIN = (
    _frame(b"interaction.created", b'"interaction":' + _SHOWN % b"in_progress")
    + _frame(b"interaction.status_update", b'"interaction_id":"v1_upstream","status":"in_progress"')
    + _frame(b"step.start", b'"index":0,"step":{"type":"model_output"}')
)
_END = (
    _frame(b"step.stop", b'"index":0')
    + _frame(b"interaction.completed", b'"interaction":' + _USAGE + b"}")
    + b"event: done\ndata: [DONE]\n\n"
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: "
_STREAM = _HEAD + b"text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_UNARY = _HEAD + b"application/json\r\ncontent-length: %d\r\n\r\n" % len(_ANSWER) + _ANSWER


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _delta() -> bytes:
    text = f"{time.monotonic_ns()} {_FILLER}".encode()
    return _chunk(_frame(b"step.delta", b'"index":0,"delta":{"type":"text","text":"%s"}' % text))


class Connection(asyncio.Protocol):
    """One connection, one answer at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._read = b""
        self._left = 0
        self._pause = 0.0
        self._due = 0.0
        self._full = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not a subclass

    def pause_writing(self) -> None:
        """The other side does not keep up."""
        self._full = True

    def resume_writing(self) -> None:
        """It does again."""
        self._full = False
        if self._left and not self._pause:
            self._burst()

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        self._read += data
        head, blank, body = self._read.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not blank or (length and len(body) < int(length[1])):
            return
        self._read = b""
        model = _MODEL.search(body)
        self._answer(model[1].decode() if model else "unary")

    def _answer(self, wanted: str) -> None:
        if not wanted.startswith("stream"):
            self._transport.write(_UNARY)
            return
        _, events, pause = wanted.split(".")
        self._left, self._pause = int(events), int(pause) / 1e6
        self._transport.write(_STREAM + _chunk(_BEGIN))
        self._due = self._loop.time() + self._pause
        if self._pause:
            self._loop.call_at(self._due, self._step)
        else:
            self._burst()

    def _step(self) -> None:
        if self._transport.is_closing():
            return
        if not self._left:
            self._end()
            return
        self._left -= 1
        self._transport.write(_delta())
        self._due += self._pause
        self._loop.call_at(self._due, self._step)

    def _burst(self) -> None:
        """As many as the other side takes."""
        if self._full or self._transport.is_closing():
            return
        some = min(self._left, _AT_ONCE)
        self._transport.write(b"".join(_delta() for _ in range(some)))
        self._left -= some
        self._loop.call_soon(self._burst if self._left else self._end)

    def _end(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(_chunk(_END) + b"0\r\n\r\n")


async def serve(port: int) -> None:
    """Answer until killed."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
