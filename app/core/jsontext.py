"""JSON text, read strictly: no NaN, no lone surrogates, and not deeper than can be written again."""

from typing import Any

import orjson

_WRITABLE = 240
"""orjson reads 1,024 levels and writes 254; what stands around a value needs a few of them."""


class NotJson(ValueError):
    """The text is not JSON that can be worked with; the message says why."""


def parse(text: bytes | str, levels: int = _WRITABLE) -> Any:
    """The value in this text. Raises NotJson, also when it is nested deeper than `levels`."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotJson(f"not valid JSON: {error}") from None
    # As deep as that needs as many brackets, and counting them is a thousand times cheaper.
    if _brackets(text) > levels and _deeper_than(value, levels):
        raise NotJson(f"nested more than {levels} levels deep")
    return value


def _brackets(text: bytes | str) -> int:
    if isinstance(text, str):
        return text.count("{") + text.count("[")
    return text.count(b"{") + text.count(b"[")


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        layer = [
            item
            for container in layer
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not layer:
            return False
    return True
