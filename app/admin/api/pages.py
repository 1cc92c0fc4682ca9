"""Lists, a page at a time: a token is a position, so that what comes meanwhile shifts nothing."""

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import orjson
from fastapi import Query

from app.errors import InvalidRequest

T = TypeVar("T")

MOST = 200
PageSize = Annotated[int, Query(ge=1, le=MOST)]
PageToken = Annotated[str | None, Query(max_length=2000)]


def position(token: str | None, *kinds: type) -> list[int | str] | None:
    """Where a page begins that is not the first: values of these kinds. Raises InvalidRequest."""
    if token is None:
        return None
    try:
        found = orjson.loads(base64.urlsafe_b64decode(token + "=="))
    except ValueError:
        found = None
    if not isinstance(found, list) or [type(each) for each in found] != list(kinds):
        raise InvalidRequest("'page_token' is not one of this list.")
    if any(not each.isprintable() if isinstance(each, str) else abs(each) >= 2**63 for each in found):
        raise InvalidRequest("'page_token' is not one of this list.")
    return found


def token(*values: int | str) -> str:
    """The token for what comes behind this position."""
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def cut(found: Sequence[T], size: int, behind: Callable[[T], str]) -> tuple[list[T], str | None]:
    """A page of what was asked for with one more than its size, and the token for the next one."""
    page = list(found[:size])
    return page, behind(page[-1]) if len(found) > size else None


def behind(found: Sequence[T], after: str, name: Callable[[T], str]) -> list[T]:
    """Of a whole list, in the order of these names, what comes behind one of them."""
    return [each for each in sorted(found, key=name) if name(each) > after]
