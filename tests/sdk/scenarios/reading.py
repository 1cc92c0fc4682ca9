"""Short ways to ask, and to read what an SDK's objects say; the same for every version of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MODEL = "gemini-3-flash-preview"
ABSENT = "v1_AAAAAAAAAAAAAAAAAAAAAAAAAAAA"

_CLASSES = {400: "BadRequestError", 401: "AuthenticationError", 404: "NotFoundError"}


def ask(client: Any, given: Any, **more: Any) -> Any:
    """Create an interaction with a model."""
    return client.interactions.create(**{"model": MODEL, "input": given, **more})


def follow_up(client: Any, parent: Any, given: Any, **more: Any) -> Any:
    """Create an interaction that continues another one."""
    return ask(client, given, previous_interaction_id=parent.id, **more)


def user(*texts: str) -> dict[str, Any]:
    """A step of the user's."""
    return {"type": "user_input", "content": [{"type": "text", "text": text} for text in texts]}


def result(call: Any, value: Any, **more: Any) -> dict[str, Any]:
    """The result of a function call."""
    return {"type": "function_result", "call_id": call.id, "name": call.name, "result": value, **more}


def text(interaction: Any) -> str:
    """All that the model has said."""
    return "".join(item.text for item in contents(interaction) if item.type == "text")


def contents(interaction: Any) -> list[Any]:
    """The contents of the model's answer."""
    return [item for step in of_kind(interaction, "model_output") for item in step.content]


def of_kind(interaction: Any, kind: str) -> list[Any]:
    """The steps of this type."""
    return [step for step in interaction.steps if step.type == kind]


def kinds(interaction: Any) -> list[str]:
    """The types of all steps."""
    return [step.type for step in interaction.steps]


def plain(steps: list[Any]) -> list[dict[str, Any]]:
    """Steps as dictionaries, ready to be sent back."""
    return [step.model_dump(exclude_none=True) for step in steps]


def deltas(events: list[Any], kind: str) -> list[Any]:
    """The deltas of this type in a stream."""
    return [event.delta for event in events if event.event_type == "step.delta" and event.delta.type == kind]


def streamed_text(events: list[Any]) -> str:
    """The text that a stream has told."""
    return "".join(delta.text for delta in deltas(events, "text"))


def stream_id(events: list[Any]) -> str:
    """The id of the interaction that a stream is about."""
    return str(events[0].interaction.id)


def event_ids(events: list[Any]) -> list[str]:
    """The ids of the events."""
    return [event.event_id for event in events]


@contextmanager
def refused(status: int, code: str, *words: str) -> Iterator[None]:
    """What is done inside is refused with this status and code, and a message with these words."""
    refusal: Any = None
    try:
        yield
    except Exception as error:
        if getattr(error, "status_code", None) != status:
            raise
        refusal = error
    assert refusal is not None, "this was not refused"
    assert type(refusal).__name__ == _CLASSES[status]
    said = refusal.body["error"]
    assert said["code"] == code
    assert [word for word in words if word not in said["message"]] == []
