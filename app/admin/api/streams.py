"""Lines of JSON that are sent while they are read."""

import logging
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

from app import log
from app.admin.api.gate import REFUSALS

_REFUSED = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
AS_JSON: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": _REFUSED} for status, why in REFUSALS
}
"""What the document says of refusals: they are no lines."""


class JsonLines(StreamingResponse):
    """One JSON object on each line."""

    media_type = "application/jsonl"


async def streamed(lines: AsyncIterator[bytes]) -> JsonLines:
    """The answer, once there is something to be told: what is wrong with the question comes out before."""
    first = await anext(lines, b"")
    return JsonLines(_joined(first, lines))


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for each in rest:
            yield each
    except Exception:  # too late for another answer: this one has no end, which its reader sees
        log.logger().log(logging.ERROR, "an answer in lines broke off", exc_info=True)
        raise
