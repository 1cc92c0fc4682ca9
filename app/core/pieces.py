"""Pieces: the smallest parts of an event that add to a step; the common measure of all streams."""

from typing import Any, Literal, NamedTuple

import orjson

from app.core import events
from app.core.events import Event
from app.core.model import Json


class Piece(NamedTuple):
    """What an event adds to a step; `name` is a field's, `value` a text or anything."""

    kind: Literal["content", "summary", "annotations", "arguments", "field"]
    value: Any
    name: str = ""


def pieces(event: Event, step_type: str) -> list[Piece]:
    """What a `step.start` or a `step.delta` of such a step adds."""
    if event.type == events.STEP_START:
        return _of_step(event.fields["step"])
    delta = event.fields["delta"]
    kind = delta.get("type")
    if kind == "text":
        return _of_text(delta)
    if kind == "text_annotation_delta":
        return _of_text({**delta, "text": ""})
    if kind == "thought_summary":
        return [_of_summary(delta.get("content"))]
    if kind == "thought_signature":
        return [Piece("field", delta.get("signature"), "signature")]
    if kind == "arguments_delta":
        return [Piece("arguments", str(delta.get("arguments", delta.get("partial_arguments", ""))))]
    if step_type == "model_output":
        return [Piece("content", delta)]
    return _of_fields(delta)


def deltas(rest: list[Piece], step_type: str) -> list[Json]:
    """The deltas that add these pieces to such a step."""
    made: list[Json] = []
    for piece in rest:
        if piece.kind == "content":
            value = piece.value
            made.append({"text": value, "type": "text"} if isinstance(value, str) else value)
        elif piece.kind == "summary":
            value = piece.value
            content = {"text": value, "type": "text"} if isinstance(value, str) else value
            made.append({"content": content, "type": "thought_summary"})
        elif piece.kind == "annotations":
            last = made[-1] if made else {}
            before = last["annotations"] if last.get("type") == "text_annotation_delta" else []
            made[len(made) - bool(before) :] = [
                {"annotations": [*before, piece.value], "type": "text_annotation_delta"}
            ]
        elif piece.kind == "arguments":
            made.append({"arguments": piece.value, "type": "arguments_delta"})
        elif step_type == "thought" and piece.name == "signature":
            made.append({"signature": piece.value, "type": "thought_signature"})
        elif step_type != "model_output":
            made.append({"type": step_type, piece.name: piece.value})
    return made


def _of_step(step: Json) -> list[Piece]:
    made: list[Piece] = []
    rest = dict(step)
    for item in _list(rest.pop("content", None)):
        is_text = isinstance(item, dict) and item.get("type") == "text"
        made += _of_text(item) if is_text else [Piece("content", item)]
    made += [_of_summary(item) for item in _list(rest.pop("summary", None))]
    return made + _of_fields(rest)


def _of_text(item: Json) -> list[Piece]:
    text = item.get("text")
    more = [Piece("annotations", value) for value in _list(item.get("annotations"))]
    return [Piece("content", text if isinstance(text, str) else ""), *more]


def _of_summary(item: Any) -> Piece:
    if isinstance(item, dict) and item.keys() == {"type", "text"} and isinstance(item["text"], str):
        return Piece("summary", item["text"])
    return Piece("summary", item)


def _of_fields(fields: Json) -> list[Piece]:
    made: list[Piece] = []
    for name, value in fields.items():
        if name == "arguments" and isinstance(value, dict):
            made += [Piece("arguments", orjson.dumps(value).decode())] if value else []
        elif name != "type":
            made.append(Piece("field", value, name))
    return made


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
