"""What is told of a step while it is streamed: one class for each way of telling.

Message   content by content, while they come       model_output
Thought   delta by delta                            thought
Whole     all of it in one delta when it stops      calls, results, everything else
Silence   nothing                                   user_input
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

from app.core import events
from app.core.events import Event
from app.core.fold import Fold
from app.core.model import Json
from app.wire.outputs import content

_MEDIA = frozenset({"image", "audio", "video", "document"})
_OF_THOUGHTS = frozenset({"thought_summary", "thought_signature"})
_OF_STEPS = _OF_THOUGHTS | {"arguments_delta"}
_NAMING = frozenset({"id", "call_id", "type"})


class Told(Protocol):
    """A step that is being streamed."""

    def start(self, step: Json) -> Iterable[Event]:
        """It begins; `step` is what is known of it by then."""
        ...

    def delta(self, delta: Json) -> Iterable[Event]:
        """There is more of it."""
        ...

    def stop(self) -> Iterable[Event]:
        """It is whole."""
        ...


class Message:
    """Its texts grow, its other contents come whole; each gets the next index when it begins."""

    def __init__(self, indexes: Iterator[int], *, early: bool) -> None:
        self._indexes = indexes
        self._early = early
        self._index = 0
        self._open = self._in_text = False

    def start(self, step: Json) -> Iterator[Event]:
        """Tell the contents that it begins with."""
        for item in content.parts(step):
            yield from self._item(item)

    def delta(self, delta: Json) -> Iterator[Event]:
        """More text joins the text before it; anything else is a content of its own."""
        kind = delta["type"]
        if kind in _OF_STEPS:
            return
        if kind not in ("text", "text_annotation_delta"):
            yield from self._item(delta)
            return
        if not self._in_text:
            yield from self._begin({"type": "text"}, in_text=True)
        yield from self._text(delta)

    def stop(self) -> Iterator[Event]:
        """End the content that has begun last."""
        if self._open:
            yield _stop(self._index)
        self._open = self._in_text = False

    def _item(self, item: Json) -> Iterator[Event]:
        kind = item.get("type")
        if kind == "text":
            yield from self._begin({"type": "text"}, in_text=isinstance(item.get("text"), str))
            yield from self._text(item)
        elif kind in _MEDIA:
            yield from self._begin({"type": kind})
            yield _delta(self._index, content.shown(item))
        else:
            yield from self._begin(content.shown(item))

    def _begin(self, shell: Json, *, in_text: bool = False) -> Iterator[Event]:
        yield from self.stop()
        self._index, self._open, self._in_text = next(self._indexes), True, in_text
        yield _start(self._index, shell)

    def _text(self, item: Json) -> Iterator[Event]:
        """A text, and its annotations in a delta of their own."""
        annotations = item.get("annotations")
        if not isinstance(annotations, list):
            yield _delta(self._index, item)
            return
        if item["type"] == "text":
            yield _delta(self._index, {name: value for name, value in item.items() if name != "annotations"})
        place = {"text": "", "type": "text"} if self._early else {"type": "text_annotation"}
        yield _delta(self._index, content.shown({"annotations": annotations, **place}))


class Thought:
    """Its summaries and its signature come in deltas, also those that it begins with."""

    def __init__(self, index: int) -> None:
        self._index = index

    def start(self, step: Json) -> Iterator[Event]:
        """Tell what it begins with."""
        given = step.get("summary")
        summary = given if isinstance(given, list) else []
        apart = {"signature", "summary"} if summary else {"signature"}
        yield _start(self._index, {name: value for name, value in step.items() if name not in apart})
        for item in summary:
            yield _delta(self._index, {"content": item, "type": "thought_summary"})
        if "signature" in step:
            yield _delta(self._index, {"signature": step["signature"], "type": "thought_signature"})

    def delta(self, delta: Json) -> Iterator[Event]:
        """Tell what SDKs know of thoughts."""
        if delta["type"] in _OF_THOUGHTS:
            yield _delta(self._index, delta)

    def stop(self) -> Iterator[Event]:
        """End it."""
        yield _stop(self._index)


class Whole:
    """Gathered, and told when it is whole; in `content.start` where SDKs do not know its type."""

    def __init__(self, index: int, *, known: bool) -> None:
        self._index = index
        self._known = known
        self._fold = Fold()

    def start(self, step: Json) -> Iterator[Event]:
        """Say that there will be one, and its id."""
        self._fold.add(events.step_start(0, step))
        if self._known:
            yield _start(self._index, {name: value for name, value in step.items() if name in _NAMING})

    def delta(self, delta: Json) -> Iterable[Event]:
        """Keep it."""
        self._fold.add(events.step_delta(0, delta))
        return ()

    def stop(self) -> Iterator[Event]:
        """Tell all of it."""
        self._fold.add(events.step_stop(0))
        [step] = map(content.shown, self._fold.steps())
        yield _delta(self._index, step) if self._known else _start(self._index, step)
        yield _stop(self._index)


class Silence:
    """Nothing: the user knows what the user has said."""

    def start(self, _step: Json) -> Iterable[Event]:
        """Nothing."""
        return ()

    def delta(self, _delta: Json) -> Iterable[Event]:
        """Nothing."""
        return ()

    def stop(self) -> Iterable[Event]:
        """Nothing."""
        return ()


def _start(index: int, shell: Json) -> Event:
    return Event("content.start", {"index": index, "content": shell, "event_type": "content.start"})


def _delta(index: int, delta: Json) -> Event:
    return Event("content.delta", {"index": index, "delta": delta, "event_type": "content.delta"})


def _stop(index: int) -> Event:
    return Event("content.stop", {"index": index, "event_type": "content.stop"})
