"""Lines of JSON that are sent while they are read."""

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse


class JsonLines(StreamingResponse):
    """One JSON object on each line."""

    media_type = "application/jsonl"


async def streamed(lines: AsyncIterator[bytes]) -> JsonLines:
    """The answer, once there is something to be told: what is wrong with the question comes out before."""
    first = await anext(lines, b"")
    return JsonLines(_joined(first, lines))


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for each in rest:
        yield each
