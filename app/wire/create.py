"""The body of a create request: the fields the gateway acts on, and all the others kept."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, StringConstraints, ValidationError

from app import ids
from app.core.model import Json, Request
from app.errors import InvalidRequest
from app.wire import input as wire_input

# Without control characters: PostgreSQL takes no U+0000 in a text.
_Plain = Annotated[str, StringConstraints(strict=True, pattern=r"^\P{Cc}*$")]
_Name = Annotated[_Plain, StringConstraints(min_length=1, max_length=256)]
# The API's own limit, and short enough for an index.
_Label = Annotated[_Plain, StringConstraints(max_length=63)]


class _Tool(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: StrictStr


class _Create(BaseModel):
    """Types only where a wrong one would be misread here; what is left open is the upstream's."""

    model_config = ConfigDict(extra="allow")

    model: _Name | None = None
    agent: _Name | None = None
    previous_interaction_id: StrictStr | None = None
    store: StrictBool | None = None
    stream: StrictBool | None = None
    background: StrictBool | None = None
    system_instruction: StrictStr | None = None
    tools: list[_Tool] | None = None
    generation_config: dict[str, Any] | None = None
    agent_config: dict[str, Any] | None = None
    response_format: dict[str, Any] | list[dict[str, Any]] | None = None
    response_mime_type: StrictStr | None = None
    response_modalities: list[StrictStr] | None = None
    service_tier: StrictStr | None = None
    labels: Annotated[dict[_Label, _Label], Field(max_length=64)] | None = None
    continuation_token: StrictStr | None = None


_CONSUMED = frozenset({"model", "agent", "input", "previous_interaction_id", "store", "stream", "background"})


def request(body: Json) -> Request:
    """The request in this body. Raises InvalidRequest, naming the field."""
    try:
        fields = _Create.model_validate(body)
    except ValidationError as error:
        raise InvalidRequest(_explain(error)) from None
    _check_target(fields, body)
    _check_modes(fields)
    return Request(
        input=_input(body),
        model=fields.model,
        agent=fields.agent,
        previous_interaction_id=_previous(fields.previous_interaction_id),
        store=fields.store is not False,
        stream=fields.stream is True,
        background=fields.background is True,
        # A null is a field that was not given: several SDKs send every unset field so.
        options={name: value for name, value in body.items() if name not in _CONSUMED and value is not None},
    )


def _input(body: Json) -> list[Json]:
    given = body.get("input")
    if given is None:
        if body.get("continuation_token") is not None:
            return []
        raise InvalidRequest("'input' is required.")
    return wire_input.steps(given)


def _check_target(fields: _Create, body: Json) -> None:
    if fields.model is not None and fields.agent is not None:
        raise InvalidRequest("Give either 'model' or 'agent', not both.")
    if fields.model is None and fields.agent is None:
        raise InvalidRequest("One of 'model' or 'agent' is required.")
    if fields.model is not None and body.get("agent_config") is not None:
        raise InvalidRequest("'agent_config' goes with 'agent'; with 'model', use 'generation_config'.")
    if fields.agent is not None and body.get("generation_config") is not None:
        raise InvalidRequest("'generation_config' goes with 'model'; with 'agent', use 'agent_config'.")


def _check_modes(fields: _Create) -> None:
    if fields.background and fields.store is False:
        raise InvalidRequest("'background' needs 'store': a background run is read by its id.")


def _previous(interaction_id: str | None) -> str | None:
    if interaction_id is None:
        return None
    if not interaction_id:
        raise InvalidRequest("'previous_interaction_id' must not be empty.")
    if not ids.is_interaction_id(interaction_id):
        shown = interaction_id if len(interaction_id) <= 80 else interaction_id[:80] + "..."
        raise InvalidRequest(f"'previous_interaction_id' is malformed: {shown}")
    return interaction_id


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"'{_path(first['loc'])}': {first['msg']}."


def _path(location: tuple[int | str, ...]) -> str:
    """tools.0.type -> tools[0].type; names of union members, which pydantic adds, are left out."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith(("dict[", "list[", "[key]")):
            path += f".{part[:80]}" if path else part
    return path
