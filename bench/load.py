"""The load: unary calls and streams over plain sockets, and when what arrived."""

import asyncio
import json
import re
import time
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import quantiles
from typing import cast

from bench.places import Place

_STAMP = re.compile(rb'"text":\s?"(\d{6,}) ')


@dataclass
class Measured:
    """What a load has measured; times in milliseconds."""

    requests: int = 0
    events: int = 0
    failures: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    whole: "array[float]" = field(default_factory=lambda: array("d"))
    first: "array[float]" = field(default_factory=lambda: array("d"))
    each: "array[float]" = field(default_factory=lambda: array("d"))


def percentile(times: "array[float]", percent: int) -> float:
    """One of the percentiles."""
    return quantiles(times, n=100, method="inclusive")[percent - 1] if len(times) > 1 else sum(times)


class _Caller(asyncio.Protocol):
    """A connection that sends one request after the other and reads their answers."""

    def __init__(self, measured: Measured) -> None:
        self._measured = measured
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport
        self._rest = b""
        self._sent = 0
        self._length = -1
        self._streams = False
        self._heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not a subclass

    def connection_lost(self, _error: Exception | None) -> None:
        """Too early, if an answer is still awaited."""
        self._finish(failed=True)

    async def ask(self, request: bytes, *, streams: bool) -> None:
        """Send a request and wait for the end of its answer."""
        self._done = asyncio.get_running_loop().create_future()
        self._rest, self._length, self._heard, self._streams = b"", -1, False, streams
        self._sent = time.monotonic_ns()
        self._transport.write(request)
        await self._done

    def close(self) -> None:
        """Leave."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """More of the answer."""
        now = time.monotonic_ns()
        self._rest += data
        if self._streams:
            self._events(now)
        else:
            self._answer(now)

    def _answer(self, now: int) -> None:
        if self._length < 0:
            head, blank, _ = self._rest.partition(b"\r\n\r\n")
            if not blank:
                return
            found = re.search(rb"content-length: (\d+)", head.lower())
            self._length = len(head) + 4 + (int(found[1]) if found else 0)
        if len(self._rest) >= self._length:
            self._measured.whole.append((now - self._sent) / 1e6)
            self._finish(failed=b" 200 " not in self._rest[:15])

    def _events(self, now: int) -> None:
        whole, _, rest = self._rest.rpartition(b"\n\n")
        if not whole:
            if self._rest.startswith(b"HTTP/1.1") and b" 200 " not in self._rest[:15]:
                self._finish(failed=True)
            return
        self._rest = rest
        if not self._heard:
            self._heard = True
            self._measured.first.append((now - self._sent) / 1e6)
        self._measured.events += whole.count(b"event: ")
        self._measured.each.extend([(now - int(stamp)) / 1e6 for stamp in _STAMP.findall(whole)])
        if b"data: [DONE]" in whole:
            self._finish(failed=False)
        elif b"event: error" in whole:
            self._finish(failed=True)

    def _finish(self, *, failed: bool) -> None:
        if not self._done.done():
            self._measured.requests += 1
            self._measured.failures += failed
            self._done.set_result(None)


async def unary(place: Place, at_once: int, seconds: float) -> Measured:
    """As many unary calls as are answered, over so many connections."""
    measured = Measured()
    until = time.monotonic() + seconds

    async def one(caller: _Caller) -> None:
        request = _request(place, "unary")
        while time.monotonic() < until:
            await caller.ask(request, streams=False)

    return await _measure(place, measured, at_once, one, limit=seconds + 10)


async def streams(
    place: Place, at_once: int, events: int, pause_us: int, *, rounds: int = 1, spread: float = 0.0
) -> Measured:
    """So many streams at once, each of so many events, with a pause between them.

    Their beginnings are spread over so many seconds: many begin in a second, but not in a moment.
    """
    measured = Measured()
    request = _request(place, f"stream.{events}.{pause_us}")

    async def one(caller: _Caller) -> None:
        for _ in range(rounds):
            await caller.ask(request, streams=True)

    limit = events * pause_us / 1e6 * rounds + spread + 30
    return await _measure(place, measured, at_once, one, limit=limit, spread=spread)


async def _measure(
    place: Place,
    measured: Measured,
    at_once: int,
    one: Callable[[_Caller], Awaitable[None]],
    *,
    limit: float,
    spread: float = 0.0,
) -> Measured:
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(at_once):
        _, caller = await loop.create_connection(lambda: _Caller(measured), "127.0.0.1", place.port)
        callers.append(caller)

    async def later(number: int, caller: _Caller) -> None:
        await asyncio.sleep(number * spread / at_once)
        await one(caller)

    spent, began = place.processor(), time.monotonic()
    async with asyncio.timeout(limit):
        await asyncio.gather(*(later(number, caller) for number, caller in enumerate(callers)))
    measured.seconds = time.monotonic() - began
    measured.processor = place.processor() - spent
    for caller in callers:
        caller.close()
    return measured


def _request(place: Place, model: str) -> bytes:
    asked = {"model": model, "input": "Tell me about foxes. " * 40, "stream": model.startswith("stream")}
    body = json.dumps(asked | ({} if place.store else {"store": False})).encode()
    head = (
        f"POST /v1beta/interactions HTTP/1.1\r\nhost: 127.0.0.1\r\nx-goog-api-key: {place.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
