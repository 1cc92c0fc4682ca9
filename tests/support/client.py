"""A client of the gateway that keeps every byte it hears, and what it heard as events."""

import asyncio
import contextlib
import functools
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import httpx

DONE = b"event: done\ndata: [DONE]\n\n"
_PATH = "/v1beta/interactions"


@dataclass
class Heard:
    """What came back: a JSON answer, or a stream to its end."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def is_stream(self) -> bool:
        """Whether it was a stream."""
        return self.headers["content-type"] == "text/event-stream"

    @property
    def done(self) -> bool:
        """Whether the stream ended in the orderly way."""
        return self.body.endswith(DONE)

    @functools.cached_property
    def events(self) -> list[dict[str, Any]]:
        """The events of the stream, without the mark at its end."""
        return events(self.body)

    @property
    def id(self) -> str:
        """The interaction's id."""
        return str(self.events[0]["interaction"]["id"] if self.is_stream else self.json()["id"])

    @property
    def error(self) -> dict[str, Any] | None:
        """The error in the answer, or in the stream's last event."""
        said = (self.events or [{}])[-1] if self.is_stream else self.json()
        return said.get("error")

    def json(self) -> Any:
        """The answer."""
        return json.loads(self.body)


def events(raw: bytes) -> list[dict[str, Any]]:
    """The events in these frames; each must be one `event:` line and one `data:` line that agree."""
    found = []
    for frame in raw.removesuffix(DONE).split(b"\n\n")[:-1]:
        if frame.startswith(b":"):
            continue
        name, _, data = frame.partition(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["event_type"].encode()
        found.append(event)
    return found


def without_comments(raw: bytes) -> bytes:
    """The frames without keep-alive comments, which nobody promises to repeat."""
    return raw.replace(b": keep-alive\n\n", b"")


class Served(Protocol):
    """Where a gateway is, and the key to it."""

    url: str

    @property
    def key(self) -> str:
        """The key."""
        ...


class Client:
    """Asks one gateway; nothing takes longer than `deadline` seconds.

    Its question is its own, unless one is given: the same one, soon after another test's client has
    left, would be given that one's answer.
    """

    def __init__(
        self, gateway: "Served", key: str | None = None, deadline: float = 60, question: str | None = None
    ) -> None:
        self._deadline = deadline
        self.question = question or f"Hi, {secrets.token_hex(4)}"
        self.http = httpx.AsyncClient(
            base_url=gateway.url,
            headers={"x-goog-api-key": key or gateway.key},
            timeout=deadline,
            trust_env=False,
            verify=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def create(self, **body: Any) -> Heard:
        """POST an interaction; a stream is read to its end."""
        return await self._hear("POST", _PATH, json=self.asked(**body))

    def asked(self, **body: Any) -> dict[str, Any]:
        """The body of a POST; what is not said is as usual."""
        return {"model": "test-model", "input": self.question, **body}

    async def get(self, interaction_id: str, **query: str) -> Heard:
        """GET an interaction."""
        return await self._hear("GET", f"{_PATH}/{interaction_id}", params=query)

    async def replay(self, interaction_id: str, after: str | None = None) -> Heard:
        """GET an interaction's events, all or those after one."""
        more = {} if after is None else {"last_event_id": after}
        return await self.get(interaction_id, stream="true", **more)

    async def delete(self, interaction_id: str) -> Heard:
        """DELETE an interaction."""
        return await self._hear("DELETE", f"{_PATH}/{interaction_id}")

    @contextlib.asynccontextmanager
    async def open(self, **body: Any) -> AsyncIterator["Reader"]:
        """POST a streaming interaction and read as much of it as the test likes."""
        asked = self.asked(**{"stream": True, **body})
        async with asyncio.timeout(self._deadline), self.http.stream("POST", _PATH, json=asked) as response:
            yield Reader(response)

    @contextlib.asynccontextmanager
    async def follow(self, interaction_id: str) -> AsyncIterator["Reader"]:
        """GET an interaction's events and read as much of them as the test likes."""
        path, query = f"{_PATH}/{interaction_id}", {"stream": "true"}
        async with asyncio.timeout(self._deadline), self.http.stream("GET", path, params=query) as response:
            yield Reader(response)

    async def _hear(self, method: str, path: str, **more: Any) -> Heard:
        async with asyncio.timeout(self._deadline), self.http.stream(method, path, **more) as response:
            chunks = [chunk async for chunk in response.aiter_raw()]
        return Heard(response.status_code, response.headers, b"".join(chunks))


class Reader:
    """A stream that is being read."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.raw = b""
        self._chunks = response.aiter_raw()

    async def until(self, count: int) -> list[dict[str, Any]]:
        """The first events, once there are so many."""
        while len(found := events(self.raw)) < count:
            self.raw += await anext(self._chunks)
        return found[:count]

    async def rest(self) -> bytes:
        """Everything, to the end."""
        async for chunk in self._chunks:
            self.raw += chunk
        return self.raw
