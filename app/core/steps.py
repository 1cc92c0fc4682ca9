"""Steps as JSON text: arrays that are joined without being decoded."""

from collections.abc import Iterable

import orjson

from app.core.model import Json

NONE = b"[]"


def dump(steps: list[Json]) -> bytes:
    """The JSON array of these steps."""
    return orjson.dumps(steps)


def join(arrays: Iterable[bytes]) -> bytes:
    """One JSON array with the items of all these JSON arrays, in order, byte for byte."""
    items = [array[1:-1] for array in arrays]
    return b"[" + b",".join(item for item in items if item) + b"]"
