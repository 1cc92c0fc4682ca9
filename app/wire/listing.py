"""Listing interactions, an extension of the API: its query and its answer.

    GET /v1beta/interactions?page_size=20&page_token=...&filter=status="completed" AND labels.team="a"

A filter is conditions joined by AND, in the manner of AIP-160. Fields: model, agent, status,
previous_interaction_id, labels.NAME (all with =) and created (with =, <, <=, >, >=).
"""

import base64
import re
import zlib
from datetime import UTC, datetime
from typing import Any

import orjson

from app import ids
from app.core.listing import Query
from app.core.model import Interaction
from app.errors import InvalidRequest

_DEFAULT, _MOST = 20, 100
_FIELDS = {
    "model": "model",
    "agent": "agent",
    "status": "status",
    "previous_interaction_id": "parent_id",
}
_CONDITION = re.compile(
    r"\s*(?P<field>[a-z_]+(?:\.[A-Za-z0-9_-]{1,63})?)\s*(?P<sign>>=|<=|=|<|>)\s*"
    r'(?:"(?P<quoted>[^"\x00-\x1f]*)"|(?P<bare>[^\s"=<>\x00-\x1f]+))\s*(?:(?P<more>AND)\s|$)'
)


def query(parameters: dict[str, str]) -> Query:
    """The query of a request with these parameters. Raises InvalidRequest, naming the parameter."""
    given = parameters.get("filter", "")
    conditions = _conditions(given)
    if token := parameters.get("page_token"):
        conditions["after"] = _position(token, given)
    return Query(limit=_page_size(parameters.get("page_size")), **conditions)


def next_page_token(last: Interaction, parameters: dict[str, str]) -> str:
    """The token for what comes after this interaction, under the same filter."""
    fields = [last.created_at, last.id, zlib.crc32(parameters.get("filter", "").encode())]
    return base64.urlsafe_b64encode(orjson.dumps(fields)).decode().rstrip("=")


def answer(items: list[bytes], token: str | None) -> bytes:
    """A page; `next_page_token` is absent on the last."""
    page: dict[str, Any] = {"interactions": [orjson.Fragment(item) for item in items]}
    if token is not None:
        page["next_page_token"] = token
    return orjson.dumps(page)


def _page_size(given: str | None) -> int:
    if given is None:
        return _DEFAULT
    if not re.fullmatch(r"[0-9]{1,6}", given):
        raise InvalidRequest("'page_size' must be a number.")
    return min(int(given), _MOST) or _DEFAULT


def _conditions(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {"labels": ()}
    at = 0
    more = bool(text.strip())
    while more:
        match = _CONDITION.match(text, at)
        if match is None:
            raise InvalidRequest(f"'filter' cannot be read from character {at + 1} on.")
        at, more = match.end(), match["more"] is not None
        value = match["quoted"] if match["quoted"] is not None else match["bare"]
        _add(found, match["field"], match["sign"], value)
    return found


def _add(found: dict[str, Any], field: str, sign: str, value: str) -> None:
    if field == "created":
        for name, bound in _created(sign, value).items():
            narrower = max if name == "since" else min
            found[name] = narrower(bound, found.get(name, bound))
    elif sign != "=" or not (field in _FIELDS or field.startswith("labels.")):
        raise InvalidRequest(f"'filter' cannot compare '{field}' with '{sign}'.")
    elif field not in _FIELDS:
        found["labels"] += ((field.removeprefix("labels."), value),)
    elif _FIELDS[field] in found:
        raise InvalidRequest(f"'filter' names '{field}' twice.")
    else:
        found[_FIELDS[field]] = value


def _created(sign: str, value: str) -> dict[str, int]:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidRequest(f"'filter': '{value[:40]}' is not a time like 2026-11-21T10:00:00Z.") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    start = int(moment.timestamp()) * 1000
    # Times are shown in whole seconds, and compared so.
    bounds = {
        "=": {"since": start, "until": start + 1000},
        ">=": {"since": start},
        ">": {"since": start + 1000},
        "<": {"until": start},
        "<=": {"until": start + 1000},
    }
    return bounds[sign]


def _position(token: str, given_filter: str) -> tuple[int, str]:
    try:
        fields = orjson.loads(base64.urlsafe_b64decode(token + "=="))
    except ValueError:
        fields = None
    match fields:
        case [int(created_at), str(interaction_id), check] if (
            type(created_at) is int and 0 <= created_at < 2**63 and ids.is_interaction_id(interaction_id)
        ):
            if check != zlib.crc32(given_filter.encode()):
                raise InvalidRequest("'page_token' belongs to another filter.")
            return created_at, interaction_id
    raise InvalidRequest("'page_token' is not a token of this list.")
