"""Unfold: the events that stream these steps; the inverse of `Fold`.

    fold(unfold(steps)) == steps        for every list of steps

Used to replay an interaction whose events were never streamed (a unary call) and to hear a
unary answer as events, so that there is one execution path.
"""

from collections.abc import Iterator

import orjson

from app.core import events
from app.core.events import BrokenStream, Event
from app.core.fold import Fold
from app.core.model import Json

_SHELL = ("id", "call_id", "signature", "type")
"""What a live stream says of a tool's step when it starts."""


def unfold(steps: list[Json]) -> Iterator[Event]:
    """The step events of these steps, in the deltas that a live stream would use.

    A step that deltas cannot say exactly (of an unknown type, or with two texts side by side)
    comes whole in its `step.start`.
    """
    for index, step in enumerate(steps):
        streamed = [*_stream(index, step), events.step_stop(index)]
        yield from streamed if _folds_to(step, streamed) else whole(index, step)


def whole(index: int, step: Json) -> list[Event]:
    """The two events of a step that arrives all at once."""
    return [events.step_start(index, step), events.step_stop(index)]


def _folds_to(step: Json, streamed: list[Event]) -> bool:
    fold = Fold()
    try:
        for event in streamed:
            fold.add(event)
    except BrokenStream:
        return False
    return fold.steps() == [step]


def _stream(index: int, step: Json) -> Iterator[Event]:
    """`step.start` with the shell of the step, then a delta for each part of its content."""
    shell, deltas = _split(step)
    yield events.step_start(index, shell)
    for delta in deltas:
        yield events.step_delta(index, delta)


def _split(step: Json) -> tuple[Json, list[Json]]:
    kind = step.get("type")
    if kind == "model_output":
        shell = {name: value for name, value in step.items() if name != "content"}
        return shell, [delta for item in _items(step, "content") for delta in _content(item)]
    if kind == "thought":
        shell = {name: value for name, value in step.items() if name not in ("summary", "signature")}
        deltas: list[Json] = [
            {"type": "thought_summary", "content": item} for item in _items(step, "summary")
        ]
        if "signature" in step:
            deltas.append({"signature": step["signature"], "type": "thought_signature"})
        return shell, deltas
    if kind == "function_call" and isinstance(step.get("arguments"), dict):
        arguments = orjson.dumps(step["arguments"]).decode()
        return {**step, "arguments": {}}, [{"arguments": arguments, "type": "arguments_delta"}]
    if isinstance(kind, str) and kind.endswith(("_call", "_result")):
        shell = {name: value for name, value in step.items() if name in _SHELL}
        rest = {name: value for name, value in step.items() if name not in _SHELL}
        return shell, [{"type": kind, **rest}] if rest else []
    return step, []


def _content(item: Json) -> list[Json]:
    if item.get("type") != "text" or "annotations" not in item:
        return [item]
    text = {name: value for name, value in item.items() if name != "annotations"}
    return [text, {"annotations": item["annotations"], "type": "text_annotation_delta"}]


def _items(step: Json, name: str) -> list[Json]:
    items = step.get(name)
    if isinstance(items, list) and all(isinstance(item, dict) for item in items):
        return items
    return []
