"""The two generations of the SDK, so that a scenario need not know which one it runs with.

SDKs 1.x speak the outputs schema: `outputs`, turns, `content.*` events, whole function calls in the
stream. From 2.0 on it is steps.
"""

import json
from typing import Any

from google.genai import version as sdk

from tests.sdk.scenarios import reading

VERSION = tuple(int(part) for part in sdk.__version__.split(".")[:3])
OUTPUTS = VERSION < (2,)
HAS_INCLUDE_INPUT = VERSION > (1, 55, 0)

_DELTA = "content.delta" if OUTPUTS else "step.delta"
_END = "interaction.complete" if OUTPUTS else "interaction.completed"


class Missing(Exception):
    """This SDK has no such thing."""


def items_of(interaction: Any) -> list[Any]:
    """What the model has made, in the order in which it was made."""
    made = interaction.outputs if OUTPUTS else interaction.steps
    return list(made)


def text_of(interaction: Any) -> str:
    """All that the model has said."""
    if not OUTPUTS:
        return reading.text(interaction)
    return "".join(item.text for item in items_of(interaction) if item.type == "text")


def calls_of(interaction: Any) -> list[Any]:
    """The functions that the model calls."""
    return [item for item in items_of(interaction) if item.type == "function_call"]


def input_of(interaction: Any) -> str:
    """The text of what was asked, as `include_input` tells it."""
    (given,) = interaction.input
    return str(_field(given if OUTPUTS else given.content[0], "text"))


def history(*said: Any) -> list[dict[str, Any]]:
    """A conversation to send: texts and contents are the user's, interactions the model's."""
    return [part for each in said for part in (_turn(each) if OUTPUTS else _steps(each))]


def json_wanted(schema: dict[str, Any]) -> dict[str, Any]:
    """The arguments that ask for JSON which follows a schema."""
    if OUTPUTS:
        return {"response_format": schema, "response_mime_type": "application/json"}
    return {"response_format": {"type": "text", "mime_type": "application/json", "schema": schema}}


def text_of_events(events: list[Any]) -> str:
    """The text that a stream has told."""
    return "".join(event.delta.text for event in _deltas(events) if event.delta.type == "text")


def calls_of_events(events: list[Any]) -> list[tuple[str, str, Any]]:
    """Id, name and arguments of the functions that are called in a stream."""
    if OUTPUTS:
        whole = [event.delta for event in _deltas(events) if event.delta.type == "function_call"]
        return [(call.id, call.name, call.arguments) for call in whole]
    starts = [event for event in events if event.event_type == "step.start"]
    calls = {start.index: start.step for start in starts if start.step.type == "function_call"}
    return [(call.id, call.name, json.loads(_told(events, index))) for index, call in calls.items()]


def finished(events: list[Any]) -> Any:
    """The interaction as the last event of a stream tells it."""
    assert events[-1].event_type == _END
    return events[-1].interaction


def _told(events: list[Any], index: int) -> str:
    deltas = [event.delta for event in _deltas(events) if event.index == index]
    return "".join(_arguments(delta) for delta in deltas)


def _arguments(delta: Any) -> str:
    """2.0 to 2.2 know the pieces under another name than those after them."""
    older = "partial_arguments" in type(delta).model_fields
    return str(delta.partial_arguments if older else delta.arguments)


def _deltas(events: list[Any]) -> list[Any]:
    return [event for event in events if event.event_type == _DELTA]


def _turn(said: Any) -> list[dict[str, Any]]:
    if isinstance(said, str):
        return [{"role": "user", "content": said}]
    if isinstance(said, dict):
        return [{"role": "user", "content": [said]}]
    return [{"role": "model", "content": reading.plain(items_of(said))}]


def _steps(said: Any) -> list[dict[str, Any]]:
    if isinstance(said, str):
        return [reading.user(said)]
    if isinstance(said, dict):
        return [said]
    return reading.plain(items_of(said))


def _field(item: Any, name: str) -> Any:
    """Of an object, or of what an SDK that does not know the field has left as it came."""
    return item[name] if isinstance(item, dict) else getattr(item, name)
