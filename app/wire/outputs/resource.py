"""The interaction as clients of the outputs schema see it."""

from typing import Any, TypeGuard

import orjson

from app.core.model import Interaction, Json
from app.wire import steps
from app.wire.outputs import content

_FIRST = (
    *("id", "status", "outputs", "usage", "role", "created", "updated", "service_tier"),
    *("object", "model", "agent"),
)


def interaction(found: Interaction, *, include_input: bool = False) -> bytes:
    """The resource as JSON text: what the steps schema shows of the model's part, in other words."""
    return orjson.dumps(
        ended(orjson.loads(steps.interaction(found, timeline=False, include_input=include_input)))
    )


def ended(resource: Json) -> Json:
    """A resource, whole or partial, with the role of who answered."""
    said = {**begun(resource), "role": "agent" if resource.get("agent") else "model"}
    return {name: said[name] for name in (*_FIRST, *said) if name in said}


def begun(resource: Json) -> Json:
    """A resource, whole or partial, as far as it is known before anybody has answered."""
    told: Json = {}
    for name, value in resource.items():
        told.update(_VIEWS[name](value) if name in _VIEWS else {name: value})
    return told


def _formats(formats: Any) -> Json:
    """`response_format` as a schema and its MIME type, unless only the steps schema can say it.

    Images are configured in `generation_config` there, which no interaction shows.
    """
    entries = formats if isinstance(formats, list) else [formats]
    texts = [one for one in entries if isinstance(one, dict) and one.get("type") == "text"]
    images = [one for one in entries if isinstance(one, dict) and one.get("type") == "image"]
    plain = len(texts) < 2 and all(one.keys() <= {"type", "mime_type", "schema"} for one in texts)
    if not plain or len(texts) + len(images) < len(entries):
        return {"response_format": formats}
    names = {"schema": "response_format", "mime_type": "response_mime_type"}
    return {told: text[name] for text in texts for name, told in names.items() if name in text}


def _are_steps(found: Any) -> TypeGuard[list[Json]]:
    return isinstance(found, list) and all(isinstance(one, dict) and "type" in one for one in found)


_VIEWS = {
    "steps": lambda found: {"outputs": content.outputs(found)} if _are_steps(found) else {},
    "input": lambda found: {"input": content.given(found) if _are_steps(found) else found},
    "usage": lambda found: {"usage": content.usage(found)},
    "response_format": _formats,
}
