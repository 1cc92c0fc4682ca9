"""The body of a create request, as the model takes it."""

import orjson

from app.core.model import Json, Request
from app.errors import InvalidRequest
from app.upstream.simulator.conversation import steps_of
from app.upstream.simulator.options import field

_OWN = ("model", "agent", "input", "previous_interaction_id", "store", "stream", "background")


def read(text: bytes) -> Request:
    """The request in this JSON text. Raises InvalidRequest, naming the field that is wrong."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise InvalidRequest("The body must be an object.")
    request = Request(
        input=steps_of(body.get("input")),
        model=field(body, "model", str),
        agent=field(body, "agent", str),
        previous_interaction_id=field(body, "previous_interaction_id", str),
        store=_flag(body, "store", otherwise=True),
        stream=_flag(body, "stream"),
        background=_flag(body, "background"),
        options={name: value for name, value in body.items() if name not in _OWN},
    )
    if request.background and not request.store:
        raise InvalidRequest("'background' needs 'store'.")
    return request


def _flag(body: Json, name: str, *, otherwise: bool = False) -> bool:
    value = body.get(name)
    if value is None:
        return otherwise
    if not isinstance(value, bool):
        raise InvalidRequest(f"'{name}' must be true or false.")
    return value
