"""Short ways to ask the simulator's model."""

from typing import Any

from app.core.model import Json, Request
from app.upstream.simulator import model
from app.upstream.simulator.model import Answer
from app.upstream.simulator.resource import Resource

RESOURCE = Resource("", "2026-01-02T03:04:05Z", "standard", {"model": "m"})

WEATHER: Json = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def user(*content: str | Json) -> Json:
    """A user's step with these contents."""
    items = [{"type": "text", "text": item} if isinstance(item, str) else item for item in content]
    return {"type": "user_input", "content": items}


def ask(*given: str | Json, **options: Any) -> Answer:
    """The answer to these steps; a text is a user's step."""
    steps = [user(step) if isinstance(step, str) else step for step in given]
    return model.answer(Request(input=steps, model="m", options=options), steps)


def text_of(answer: Answer) -> str:
    """The text of the answer's last step."""
    content: list[Json] = answer.steps[-1]["content"]
    return "".join(item["text"] for item in content if item["type"] == "text")


def kinds(answer: Answer) -> list[str]:
    """The types of the answer's steps."""
    return [step["type"] for step in answer.steps]
