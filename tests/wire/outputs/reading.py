"""A client of the outputs schema in a few lines, and streams to feed it with."""

import copy
import json
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any

from app import ids, sse
from app.core import events
from app.core.events import Event
from app.core.model import Json
from app.wire import steps
from app.wire.outputs.stream import Stream

ID = "v1_AbC-dEf_1234"
NAMES = {
    "interaction.start",
    "interaction.status_update",
    "content.start",
    "content.delta",
    "content.stop",
    "interaction.complete",
    "error",
}
OPENED = [
    events.created({"id": ID, "status": "in_progress", "object": "interaction", "model": "m"}),
    events.status_update(ID),
]
CLOSED = events.completed({"id": ID, "status": "completed", "object": "interaction", "model": "m"})


def stored(log: Iterable[Event], *, keep: bool = True) -> list[bytes]:
    """The frames of these events as a run keeps them, or as it sends them when it keeps nothing."""
    return [
        steps.frame(steps.for_clients(event), ids.event_id(ID, seq) if keep else None)
        for seq, event in enumerate(log, 1)
    ]


def told(chunks: Iterable[bytes], after: str | None = None, *, early: bool = False) -> bytes:
    """What a client of the outputs schema is sent that has everything up to the event `after`."""
    place = ids.START if after is None else ids.place(ID, after)
    assert place is not None
    return _now(_through(Stream(place, early=early), chunks))


def told_as_steps(chunks: list[bytes], after: str) -> bytes:
    """What a client of the steps schema is sent that has everything up to the event `after`."""
    place = ids.place(ID, after)
    assert place is not None
    shown = steps.Stream(place.seq)
    return _now(_through(shown, chunks[shown.after :]))


def heard(raw: bytes) -> list[Json]:
    """The events in these frames."""
    frames = sse.Decoder(2**30).feed(raw)
    found = [json.loads(frame.data) for frame in frames if frame.data != b"[DONE]"]
    names = [frame.event for frame in frames if frame.data != b"[DONE]"]
    assert [event["event_type"] for event in found] == names
    return found


def accumulated(stream: Iterable[Json]) -> list[Json]:
    """The outputs that a client puts together from a stream."""
    outputs: list[Json] = []
    running: set[int] = set()
    for event in stream:
        index = event.get("index", -1)
        if event["event_type"] == "content.start":
            assert index == len(outputs)
            outputs.append(copy.deepcopy(event["content"]))
            running.add(index)
        elif event["event_type"] == "content.delta":
            assert index in running
            _join(outputs[index], event["delta"])
        elif event["event_type"] == "content.stop":
            running.remove(index)
    assert not running
    return outputs


def _join(output: Json, delta: Json) -> None:
    kind = delta["type"]
    if kind == "thought_summary":
        output.setdefault("summary", []).append(delta["content"])
    elif kind == "thought_signature":
        output["signature"] = delta["signature"]
    elif kind in ("text", "text_annotation"):
        if isinstance(text := delta.get("text", ""), str):
            output["text"] = output.get("text", "") + text
        if isinstance(said := delta.get("annotations"), list):
            output["annotations"] = output.get("annotations", []) + said
        output.update({name: value for name, value in delta.items() if name not in output})
    else:
        output.update(delta)


async def _through(stream: Any, chunks: Iterable[bytes]) -> bytes:
    return b"".join([chunk async for chunk in stream.frames(_each(chunks))])


async def _each(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _now(work: Coroutine[Any, Any, bytes]) -> bytes:
    """The result of something that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        return bytes(done.value)
    raise AssertionError("it waited")
