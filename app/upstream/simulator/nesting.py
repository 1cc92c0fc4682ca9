"""Nesting: orjson reads JSON that is nested more deeply than what it writes."""

import orjson

from app.errors import InvalidRequest


def dump(value: object, name: str) -> bytes:
    """The JSON text of a value, the same for the same value whatever the order of its keys.

    Raises InvalidRequest, naming the value, when it is too deep to be written inside an answer.
    """
    room = [[[[[[[[value]]]]]]]]  # stands for the levels that an answer puts around it
    try:
        return orjson.dumps(room, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise InvalidRequest(f"'{name}' cannot be written as JSON: {error}.") from None
