"""Stream: an answer as the events that Gemini sends, delta by delta."""

from collections.abc import Iterator
from itertools import pairwise

import orjson

from app.core import events, unfold
from app.core.events import Event
from app.core.model import Json
from app.upstream.simulator.model import Answer
from app.upstream.simulator.resource import Resource
from app.upstream.simulator.usage import CHARACTERS_PER_TOKEN

_PIECE = 48


def streamed(answer: Answer, resource: Resource) -> Iterator[Event]:
    """Every event of a streamed answer, from `interaction.created` to `interaction.completed`."""
    yield events.created(resource.opened())
    yield events.status_update(resource.id)
    for index, step in enumerate(answer.steps):
        yield from _step(index, step, answer.directives.tokens)
    yield events.completed(resource.ended(answer.status, answer.usage))


def whole(answer: Answer, resource: Resource) -> Iterator[Event]:
    """The events of an answer that came all at once: the same steps in as few deltas as can be."""
    yield events.created(resource.opened())
    yield from unfold.unfold(answer.steps)
    yield events.completed(resource.ended(answer.status, answer.usage))


def count_deltas(answer: Answer) -> int:
    """How many deltas the streamed answer has."""
    return sum(1 for step in answer.steps for _ in _deltas(step, answer.directives.tokens))


def pieces(text: str, tokens: int | None) -> list[str]:
    """The text in as many pieces as tokens are asked for; else in pieces of some tens of characters."""
    if tokens is None:
        size = _PIECE
    elif len(text) <= tokens * CHARACTERS_PER_TOKEN:
        size = CHARACTERS_PER_TOKEN
    else:
        ends = [len(text) * place // tokens for place in range(tokens + 1)]
        return [text[start:end] for start, end in pairwise(ends)]
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


def _step(index: int, step: Json, tokens: int | None) -> Iterator[Event]:
    yield events.step_start(index, _shell(step))
    for delta in _deltas(step, tokens):
        yield events.step_delta(index, delta)
    yield events.step_stop(index)


def _shell(step: Json) -> Json:
    """What is known of a step when it begins; calls and their results have an empty signature."""
    kind = step["type"]
    if kind in ("thought", "model_output"):
        return {"type": kind}
    named = "call_id" if "call_id" in step else "id"
    shell: Json = {named: step[named], "signature": "", "type": kind}
    if kind == "function_call":
        shell |= {"name": step["name"], "arguments": {}}
    return shell


def _deltas(step: Json, tokens: int | None) -> Iterator[Json]:
    kind = step["type"]
    if kind == "thought":
        for item in step.get("summary", []):
            yield {"type": "thought_summary", "content": item}
        yield {"signature": step["signature"], "type": "thought_signature"}
    elif kind == "model_output":
        for item in step["content"]:
            yield from _content(item, tokens)
    elif kind == "function_call":
        yield {"arguments": orjson.dumps(step["arguments"]).decode(), "type": "arguments_delta"}
    else:
        told = ("id", "call_id", "type")
        yield {"type": kind, **{name: value for name, value in step.items() if name not in told}}


def _content(item: Json, tokens: int | None) -> Iterator[Json]:
    if item["type"] != "text":
        yield item
        return
    for piece in pieces(item["text"], tokens):
        yield {"text": piece, "type": "text"}
    if "annotations" in item:
        yield {"annotations": item["annotations"], "type": "text_annotation_delta"}
