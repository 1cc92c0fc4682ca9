"""The calls of the Interactions API, made with one credential of one upstream.

Each raises ApiError for whatever goes wrong: a refusal, no answer, half an answer, nonsense.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import aiohttp

from app import sse
from app.core import events, jsontext, status
from app.core.events import BrokenStream, Event
from app.core.jsontext import NotJson
from app.core.model import Json
from app.core.unfold import unfold, whole
from app.errors import ApiError
from app.settings import Runs
from app.upstream.failures import READ_AT_MOST, Failures

_PLAIN_SECONDS = 30
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,511}")


class Calls:
    """Create, get, cancel and delete."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        key: str,
        failures: Failures,
        limits: Runs,
        note: Callable[[str, ApiError | None], None],
    ) -> None:
        self._session = session
        self._url = url
        self._key = key
        self._limits = limits
        self._note = note
        self.failures = failures

    async def create(self, body: bytes) -> AsyncGenerator[Event | Json]:
        """What a new interaction answers: events as they arrive, or the one resource."""
        async with self._opened("POST", self._url, body=body) as response:
            if response.content_type == "text/event-stream":
                async for event in self._stream(response):
                    yield event
            else:
                yield await self._resource(response)

    async def follow(self, interaction_id: str, last_event_id: str | None) -> AsyncGenerator[Event]:
        """The events of an interaction from the start, or behind one of them."""
        query = {"stream": "true"} | ({"last_event_id": last_event_id} if last_event_id else {})
        async with self._opened("GET", self._one(interaction_id), query) as response:
            if response.content_type != "text/event-stream":
                raise BrokenStream("no stream, although one was asked for")
            async for event in self._stream(response):
                yield event

    async def get(self, interaction_id: str) -> Json:
        """The interaction as it is now."""
        async with self._opened("GET", self._one(interaction_id), seconds=_PLAIN_SECONDS) as response:
            return await self._resource(response)

    async def cancel(self, interaction_id: str) -> None:
        """End its work; one that has ended, or is gone, has none."""
        await self._do("POST", f"{self._one(interaction_id)}/cancel", (400, 404))

    async def delete(self, interaction_id: str) -> None:
        """Have it deleted; one that is gone is deleted."""
        await self._do("DELETE", self._one(interaction_id), (404,))

    async def _do(self, method: str, url: str, fine: tuple[int, ...]) -> None:
        try:
            async with self._opened(method, url, seconds=_PLAIN_SECONDS):
                pass
        except ApiError as error:
            if error.status not in fine:
                raise

    def _one(self, interaction_id: str) -> str:
        if not _ID.fullmatch(interaction_id):
            raise self.failures.broken("an interaction with an unusable id")
        return f"{self._url}/{interaction_id}"

    @asynccontextmanager
    async def _opened(
        self,
        method: str,
        url: str,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        seconds: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"x-goog-api-key": self._key}
        if body is not None:
            headers["content-type"] = "application/json"
        try:
            async with (
                asyncio.timeout(seconds),
                self._session.request(
                    method, url, params=query, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                await self._accept(response)
                self._note(self._key, None)
                yield response
        except (BrokenStream, sse.FrameTooLong) as error:
            raise self.failures.broken(error) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._noted(self.failures.unreachable(error)) from error

    def _noted(self, error: ApiError) -> ApiError:
        self._note(self._key, error)
        return error

    async def _accept(self, response: aiohttp.ClientResponse) -> None:
        if response.status != 200:
            body = await _read(response, READ_AT_MOST, cut=True)
            raise self._noted(self.failures.answered(response.status, body, response.headers))
        if response.headers.get("content-encoding", "identity") != "identity":
            raise BrokenStream("compressed, although only plain text was accepted")

    async def _stream(self, response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
        decoder, size, started = sse.Decoder(self._limits.event_bytes), 0, False
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._limits.answer_bytes:
                raise BrokenStream(f"an answer of more than {self._limits.answer_bytes} bytes")
            for frame in decoder.feed(chunk):
                if frame.data.startswith(b"[DONE]"):
                    return
                event = events.parse(frame.data, frame.event)
                started = started or event.type == events.STEP_START
                if event.type == events.COMPLETED and not started:
                    for part in _unpacked(event):
                        yield part
                else:
                    yield self._told(event)
                if event.type in events.TERMINAL:
                    return

    def _told(self, event: Event) -> Event:
        """The event; an `error` in the words that our client is told, and a reason for the key to rest."""
        if event.type != events.ERROR:
            return event
        failed = self._noted(self.failures.reported(event.fields.get("error")))
        return events.error(failed.code, failed.message)

    async def _resource(self, response: aiohttp.ClientResponse) -> Json:
        try:
            interaction = jsontext.parse(await _read(response, self._limits.event_bytes))
        except NotJson as problem:
            raise BrokenStream(str(problem)) from None
        if not isinstance(interaction, dict):
            raise BrokenStream("not a JSON object")
        return interaction


def ended(interaction: Json) -> bool:
    """Whether this resource is of an interaction that has ended."""
    said = interaction.get("status")
    return isinstance(said, str) and status.is_terminal(said)


def told_whole(interaction: Json) -> Iterator[Event]:
    """A unary answer as the events that would have told it. Raises BrokenStream."""
    if not ended(interaction):
        raise BrokenStream("an interaction that has not ended")
    steps = interaction.get("steps") or []
    if not isinstance(steps, list):
        raise BrokenStream("steps that are not a list")
    yield events.created({})
    for index, step in enumerate(steps):
        yield from whole(index, step)
    yield events.completed(without_steps(interaction))


def without_steps(interaction: Json) -> Json:
    """The resource, except what was done."""
    return {name: value for name, value in interaction.items() if name != "steps"}


def are_steps(value: object) -> bool:
    """Whether this is a list of steps, each with a type."""
    return isinstance(value, list) and all(
        isinstance(step, dict) and isinstance(step.get("type"), str) for step in value
    )


def _unpacked(event: Event) -> Iterator[Event]:
    """The end of a run that was not streamed before it: the steps inside come first."""
    interaction = event.fields.get("interaction")
    steps = interaction.get("steps") if isinstance(interaction, dict) else None
    if not interaction or not steps or not are_steps(steps):
        yield event
        return
    yield from unfold(steps)
    yield Event(event.type, {**event.fields, "interaction": without_steps(interaction)})


async def _read(response: aiohttp.ClientResponse, limit: int, *, cut: bool = False) -> bytes:
    """The body; past `limit` bytes it is cut there, or else BrokenStream."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > limit and cut:
            break
        if size > limit:
            raise BrokenStream(f"an answer of more than {limit} bytes")
    return b"".join(chunks)
