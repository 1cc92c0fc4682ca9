"""The conversation: the steps that the simulator is sent, checked and in one form.

`input` may be a text, a content, contents or steps; inside, everything is a step, `user_input`
holds a list of contents, and function results stand on their own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from app.core.model import Json
from app.errors import InvalidRequest
from app.upstream.simulator import directives

MEDIA = ("image", "audio", "video", "document")
_CONTENT = frozenset({"text", *MEDIA})


@dataclass(frozen=True, slots=True)
class Conversation:
    """All steps, oldest first, and what the newest of them ask.

    `asked` is the text that waits for an answer, "" when there is none; `results` are the function
    results that do.
    """

    steps: list[Json]
    asked: str
    results: list[Json]

    @property
    def turns(self) -> int:
        """How many times the user has spoken."""
        return sum(step["type"] == "user_input" for step in self.steps)

    def texts(self) -> Iterator[str]:
        """What the user has said, oldest first, without directives."""
        for step in self.steps:
            if step["type"] == "user_input":
                yield directives.without(_text(step))

    def media(self) -> Iterator[Json]:
        """The images, sounds, films and documents that the user has shown."""
        for step in self.steps:
            if step["type"] == "user_input":
                yield from (item for item in step["content"] if item["type"] in MEDIA)


def steps_of(given: object) -> list[Json]:
    """The steps of an `input` in any form that the API takes. Raises InvalidRequest."""
    if isinstance(given, str):
        return [_user_input([{"text": given, "type": "text"}])]
    items = [given] if isinstance(given, dict) else given
    if not isinstance(items, list) or not items:
        raise InvalidRequest("'input' must be a text, a content, or a list of contents or steps.")
    for place, item in enumerate(items):
        _typed(item, f"input[{place}]")
    steps: list[Json] = []
    for is_content, run in groupby(items, key=lambda item: item["type"] in _CONTENT):
        group = list(run)
        steps += [_user_input(group)] if is_content else group
    return steps


def converse(steps: object) -> Conversation:
    """The conversation in these steps. Raises InvalidRequest, naming the step that is wrong."""
    if not isinstance(steps, list) or not steps:
        raise InvalidRequest("'input' must be a list of steps.")
    given: list[Json] = []
    for place, step in enumerate(steps):
        given += _checked(step, f"input[{place}]")
    _check_results(given)
    newest = _newest(given)
    spoken = [_text(step) for step in newest if step["type"] == "user_input"]
    results = [step for step in newest if step["type"] == "function_result"]
    return Conversation(given, spoken[-1] if spoken else "", results)


def _checked(step: object, place: str) -> list[Json]:
    """The step in its one form: user inputs without the function results inside."""
    known = _typed(step, place)
    if known["type"] != "user_input":
        return [known]
    content = known.get("content")
    if isinstance(content, str):
        content = [{"text": content, "type": "text"}]
    if not isinstance(content, list):
        raise InvalidRequest(f"'content' at '{place}' must be a text or a list of contents.")
    for number, item in enumerate(content):
        _check_content(item, f"{place}.content[{number}]")
    steps: list[Json] = []
    for is_result, run in groupby(content, key=lambda item: item["type"] == "function_result"):
        group = list(run)
        steps += group if is_result else [{**known, "content": group}]
    return steps or [{**known, "content": []}]


def _check_content(item: object, place: str) -> None:
    content = _typed(item, place)
    kind = content["type"]
    if kind == "text" and not isinstance(content.get("text"), str):
        raise InvalidRequest(f"'text' at '{place}' must be a text.")
    if kind in MEDIA and not any(isinstance(content.get(name), str) for name in ("data", "uri")):
        raise InvalidRequest(f"The {kind} at '{place}' needs 'data' or 'uri'.")


def _check_results(steps: list[Json]) -> None:
    called: set[Any] = set()
    for step in steps:
        if step["type"] == "function_call" and isinstance(step.get("id"), str):
            called.add(step["id"])
        elif step["type"] == "function_result":
            call_id = step.get("call_id")
            if not isinstance(call_id, str) or "result" not in step:
                raise InvalidRequest("Invalid input received.")
            if call_id not in called:
                raise InvalidRequest(
                    "Please ensure that function response turn comes immediately after a function call "
                    f"turn. Got function response with name '{step.get('name') or call_id}'.",
                )


def _newest(steps: list[Json]) -> list[Json]:
    """What has come in since the model last spoke."""
    start = len(steps)
    while start and steps[start - 1]["type"] in ("user_input", "function_result"):
        start -= 1
    return steps[start:]


def _typed(item: object, place: str) -> Json:
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        raise InvalidRequest(f"'{place}' must be an object with a 'type'.")
    return item


def _user_input(content: list[Any]) -> Json:
    return {"type": "user_input", "content": content}


def _text(step: Json) -> str:
    return "\n".join(item["text"] for item in step["content"] if item["type"] == "text")
