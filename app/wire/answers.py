"""What an upstream's answers say of the things that belong to projects, and lists of them."""

import base64
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from app.core.model import Json
from app.errors import InvalidRequest
from app.wire import references, resources
from app.wire.resources import Kind

_DEFAULT, _MOST = 20, 100


@dataclass(frozen=True, slots=True)
class Made:
    """Something that was made. `kind` is the collection that it is listed in."""

    name: str
    kind: str
    uri: str | None = None
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of a list begins, and how much it may hold."""

    size: int
    after: tuple[int, str] | None


def read(body: bytes) -> Json | None:
    """The JSON object in an answer; None when it is something else."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def made(kind: Kind, answer: Json) -> Made | None:
    """What was made of this kind; None when the answer names nothing of it."""
    member = answer.get(kind.wrapper) if kind.wrapper else answer
    if not isinstance(member, dict):
        return None
    name = _name(kind, member)
    if not resources.owner(name) or kind.name not in name.split("/"):
        return None
    uri = member.get("uri")
    return Made(
        name,
        "operations" if "operations" in name.split("/") else kind.name,
        uri if isinstance(uri, str) and kind.wrapper else None,
        _moment(member.get(kind.expires)),
    )


def chosen(kind: Kind, fields: Json) -> str | None:
    """The name that a request wants for what it makes; None when the upstream is to choose.

    Raises InvalidRequest for one that nothing could be found under.
    """
    member = fields.get(kind.wrapper) if kind.wrapper else fields
    name = _name(kind, member) if isinstance(member, dict) else ""
    if name in ("", f"{kind.name}/"):
        return None
    if not resources.owner(name):
        raise InvalidRequest(f"This cannot be a name in {kind.name}: {name[:100]!r}")
    return name


def yielded(answer: Json) -> list[Made]:
    """The files that a batch or an operation has made, at the places where the upstream names them.

    Nowhere else: what a caller has sent may be repeated in the rest of the answer.
    """
    found = {references.file(value, frozenset({references.GEMINI})) for value in _results(answer)}
    return [Made(name, "files") for name in sorted(name for name in found if name)]


def mine(kind: Kind, member: Any, own: Iterable[str]) -> bool:
    """Whether this member may be seen by who owns these names: it is public, or among them."""
    if not isinstance(member, dict):
        return False
    return member.get("type") == kind.public or _name(kind, member) in own


def members(kind: Kind, answer: Json) -> list[Any]:
    """The members in a list of this kind."""
    found = answer.get(kind.members or kind.name)
    return found if isinstance(found, list) else []


def names(kind: Kind, members_: Iterable[Any]) -> list[str]:
    """The names of these members."""
    return [_name(kind, member) for member in members_ if isinstance(member, dict)]


def stub(kind: Kind, name: str) -> bytes:
    """A member of which no more can be shown than its name."""
    return orjson.dumps({"id": name.partition("/")[2]} if kind.by_id else {"name": name})


def place(kind: Kind, parameters: Sequence[tuple[str, str]]) -> Place:
    """The page that these query parameters ask for. Raises InvalidRequest, naming the parameter."""
    size, after = _DEFAULT, None
    for name, value in parameters:
        if name in ("pageSize", "page_size"):
            if not re.fullmatch(r"[0-9]{1,9}", value):
                raise InvalidRequest(f"'{name}' must be a number.")
            size = min(int(value), _MOST) or _DEFAULT
        elif name in ("pageToken", "page_token"):
            after = _position(kind, name, value) if value else None
        elif name not in ("alt", "prettyPrint", "parent"):
            raise InvalidRequest(f"'{name}' is not supported on lists of your own {kind.name}.")
    return Place(size, after)


def page(kind: Kind, items: Iterable[bytes], last: tuple[int, str] | None) -> bytes:
    """A page of a list; `last` is the position of its last member when there is more."""
    shown: Json = {kind.members or kind.name: [orjson.Fragment(item) for item in items]}
    if last is not None:
        token = orjson.dumps([*last, zlib.crc32(kind.name.encode())])
        field = "next_page_token" if kind.by_id else "nextPageToken"
        shown[field] = base64.urlsafe_b64encode(token).decode().rstrip("=")
    return orjson.dumps(shown)


def _position(kind: Kind, name: str, token: str) -> tuple[int, str]:
    try:
        fields = orjson.loads(base64.urlsafe_b64decode(token + "=="))
    except ValueError:
        fields = None
    match fields:
        case [int(created_at), str(after), check] if (
            type(created_at) is int
            and 0 <= created_at < 2**63
            and resources.owner(after)
            and check == zlib.crc32(kind.name.encode())
        ):
            return created_at, after
    raise InvalidRequest(f"'{name}' is not a token of this list.")


def _name(kind: Kind, member: Json) -> str:
    value = member.get("id" if kind.by_id else "name")
    if not isinstance(value, str):
        return ""
    return f"{kind.name}/{value.removeprefix(kind.name + '/')}" if kind.by_id else value


def _results(answer: Json) -> Iterator[Any]:
    response = _object(answer.get("response"))
    yield response.get("responsesFile")
    yield _object(_object(answer.get("metadata")).get("output")).get("responsesFile")
    for videos in (
        _object(response.get("generateVideoResponse")).get("generatedSamples"),
        response.get("generatedVideos"),
    ):
        for sample in videos if isinstance(videos, list) else ():
            yield _object(_object(sample).get("video")).get("uri")


def _object(value: Any) -> Json:
    return value if isinstance(value, dict) else {}


def _moment(value: Any) -> int | None:
    """Epoch milliseconds of an RFC 3339 time."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
