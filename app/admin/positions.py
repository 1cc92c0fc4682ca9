"""Positions in lists as opaque texts, the page tokens of the admin API."""

import base64

import orjson

from app.errors import InvalidRequest


def text(*values: int | str) -> str:
    """The token for what comes behind this position."""
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def read(token: str, *kinds: type) -> tuple[int | str, ...]:
    """The position in a token: values of these kinds. Raises InvalidRequest."""
    try:
        found = orjson.loads(base64.urlsafe_b64decode(token + "=="))
    except ValueError:
        found = None
    if not isinstance(found, list) or [type(each) for each in found] != list(kinds):
        raise InvalidRequest("'page_token' is not one of this list.")
    if any("\0" in each if isinstance(each, str) else abs(each) >= 2**63 for each in found):
        raise InvalidRequest("'page_token' is not one of this list.")
    return tuple(found)
