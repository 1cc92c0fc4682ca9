"""Request bodies: strict JSON objects, not too deep."""

from app.core import jsontext
from app.core.jsontext import NotJson
from app.core.model import Json
from app.errors import InvalidRequest


def parse(body: bytes, max_depth: int) -> Json:
    """The JSON object in this body.

    Raises InvalidRequest for anything else: bad UTF-8, lone surrogates, NaN, numbers past a
    double, other types, and nesting deeper than `max_depth`.
    """
    try:
        found = jsontext.parse(body, max_depth)
    except NotJson as problem:
        raise InvalidRequest(f"The request body is {problem}.") from None
    if not isinstance(found, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    return found
