"""Shelves: everything but interactions that the server keeps, for each API key its own.

A key sees what was made with it. What it does not see is not there: 404, of files 403, as Gemini says.
"""

import base64
from collections import OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from starlette.requests import Request

from app.core.model import Json
from app.errors import ApiError, InvalidRequest, NotFound

_MOST = 1_000


class Shelves:
    """At most `capacity` things; the oldest make room."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._things: OrderedDict[tuple[str, str], Json] = OrderedDict()
        self._contents: dict[tuple[str, str], IO[bytes]] = {}

    def put(self, key: str, name: str, thing: Json) -> Json:
        """Keep something under its name. Raises ApiError (409) when there is one."""
        if (key, name) in self._things:
            raise ApiError(f"{name} already exists.", status=409, code="already_exists")
        self._things[key, name] = thing
        if len(self._things) > self._capacity:
            self._contents.pop(self._things.popitem(last=False)[0], None)
        return thing

    def fill(self, key: str, name: str, content: IO[bytes]) -> None:
        """Give what is kept under this name a content."""
        self.get(key, name)
        self._contents[key, name] = content

    def content(self, key: str, name: str) -> IO[bytes]:
        """The content of what is kept under this name. Raises ApiError."""
        self.get(key, name)
        if (key, name) not in self._contents:
            raise _missing(name)
        return self._contents[key, name]

    def get(self, key: str, name: str) -> Json:
        """What is kept under this name. Raises ApiError."""
        if (key, name) not in self._things:
            raise _missing(name)
        return self._things[key, name]

    def remove(self, key: str, name: str) -> None:
        """Keep it no longer, nor what is inside. Raises ApiError."""
        self.get(key, name)
        inside = [each for each in self._things if each[0] == key and f"{each[1]}/".startswith(f"{name}/")]
        for each in inside:
            del self._things[each]
            self._contents.pop(each, None)

    def page(self, key: str, collection: str, query: Mapping[str, str]) -> tuple[list[Json], str | None]:
        """Members of a collection, newest first, and the token of the next page."""
        depth = collection.count("/") + 1
        found = [
            thing
            for (owner, name), thing in reversed(self._things.items())
            if owner == key and name.startswith(f"{collection}/") and name.count("/") == depth
        ]
        size = _number(query, "pageSize", "page_size") or 50
        start = _place(query.get("pageToken") or query.get("page_token") or "")
        end = start + min(size, _MOST)
        return found[start:end], _token(end) if end < len(found) else None


def key_of(request: Request) -> str:
    """The API key of a request that has one."""
    _, _, token = request.headers.get("authorization", "").partition(" ")
    return request.headers.get("x-goog-api-key") or request.query_params.get("key") or token.strip()


def moment(later: timedelta = timedelta()) -> str:
    """Now, or later, as Gemini writes it."""
    return (datetime.now(UTC) + later).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def fields_of(request: Request) -> Json:
    """The JSON body of a request; an empty one is an empty object."""
    text = await request.body()
    if not text.strip():
        return {}
    try:
        fields: Any = await request.json()
    except ValueError as error:
        raise InvalidRequest(f"Invalid JSON payload received: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("The body must be an object.")
    return fields


def _missing(name: str) -> ApiError:
    if name.startswith("files/"):
        text = f"You do not have permission to access the File {name[6:]} or it may not exist."
        return ApiError(text, status=403, code="permission_denied")
    return NotFound(f"Requested entity was not found: {name}")


def _number(query: Mapping[str, str], *names: str) -> int:
    given = next((query[name] for name in names if name in query), "0")
    if not given.isdigit():
        raise InvalidRequest(f"'{names[0]}' must be a number.")
    return int(given)


def _token(place: int) -> str:
    return base64.urlsafe_b64encode(f"place {place}".encode()).decode()


def _place(token: str) -> int:
    if not token:
        return 0
    try:
        _, _, place = base64.urlsafe_b64decode(token).decode().partition(" ")
        return int(place)
    except ValueError:
        raise InvalidRequest("'pageToken' is not valid.") from None
