"""Metering: what a forwarded answer says of its usage, seen while it passes by.

Whether it is one JSON object, an array of them or a stream of events: the last `usageMetadata` counts,
and it stands near the end. So the end is kept, and nothing of it is parsed before it is over. A name
within a model's text cannot be mistaken for it, as its quotes are escaped there.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from app.core import usage
from app.core.usage import Usage

METERED = frozenset(
    {"generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents", "predict"}
)
"""The methods whose answers are the end of a call that costs something."""

EMBEDS = frozenset({"embedContent", "batchEmbedContents", "asyncBatchEmbedContent"})
"""The methods that answer with numbers, and so with no tokens."""

_KEPT = 256 * 2**10
_TRIED = 3


class Meter:
    """Keeps the end of what passes; `heard` is how many bytes did, `ended` whether those were all."""

    def __init__(self) -> None:
        self._tail = bytearray()
        self.heard = 0
        self.ended = False

    async def over(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same chunks."""
        async for chunk in chunks:
            self._tail += chunk
            self.heard += len(chunk)
            if len(self._tail) > 2 * _KEPT:
                del self._tail[:-_KEPT]
            yield chunk
        self.ended = True

    def usage(self) -> Usage | None:
        """What the answer says that it used, as far as it came; None when it does not say."""
        text = self._tail.decode("utf-8", "replace")
        said, searches = _last(text, "usageMetadata"), _last(text, "webSearchQueries")
        if said is None:
            return None
        return usage.of_generate_content(said, len(searches) if isinstance(searches, list) else 0)


def _last(text: str, name: str) -> Any:
    """The last value of this name in JSON text that may begin and end anywhere; None without one."""
    end = len(text)
    for _ in range(_TRIED):
        end = text.rfind(f'"{name}"', 0, end)
        if end < 0:
            return None
        value = text[end + len(name) + 2 :].lstrip()
        if value.startswith(":"):
            with contextlib.suppress(ValueError, RecursionError):  # it may be cut off there
                return json.JSONDecoder().raw_decode(value[1:].lstrip())[0]
    return None
