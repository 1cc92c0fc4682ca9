"""Fold: the steps of an interaction, from the events that streamed them.

A total function: every sequence of events either folds or raises BrokenStream, which names the
event. What it does not know (event, step, content and delta types) it keeps or passes over.
The rules are those of the Interactions API reference, "Streaming events", and of live recordings:

    text                    joins the text before it, else begins a content item
    image, audio, ...       is a content item of its own (so is an unknown type in a model_output)
    thought_summary         appends `content` to the step's summary
    thought_signature       sets the step's signature
    arguments_delta         joins JSON text, parsed when the step stops
    text_annotation_delta   adds to the annotations of the text before it
    *_call, *_result        sets fields of the step
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from app.core import events, jsontext, status
from app.core.events import BrokenStream, Event
from app.core.jsontext import NotJson
from app.core.model import Json

_RESOURCE_FIELDS = frozenset(
    {
        "id",
        "object",
        "status",
        "created",
        "updated",
        "model",
        "agent",
        "role",
        "steps",
        "outputs",
    }
)


@dataclass(slots=True)
class _Draft:
    """A step that is being streamed; strings gather in lists so that long ones stay linear."""

    step: Json
    text: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    stopped: bool = False

    def items(self, name: str) -> list[Any]:
        """The list under this name in the step, made when it is not there."""
        items = self.step.get(name)
        if not isinstance(items, list):
            items = self.step[name] = []
        return items

    def last_text(self) -> Json:
        """The text item that text deltas join; a new one unless the last content is a text."""
        content = self.items("content")
        last = content[-1] if content else None
        if isinstance(last, dict) and last.get("type") == "text" and isinstance(last.get("text"), str):
            return last
        self.join_text()
        content.append({"text": "", "type": "text"})
        return content[-1]  # type: ignore[no-any-return]

    def join_text(self) -> None:
        if self.text:
            item = self.step["content"][-1]
            item["text"] += "".join(self.text)
            self.text.clear()

    def join_arguments(self) -> None:
        if not self.arguments:
            return
        text = "".join(self.arguments)
        self.arguments.clear()
        try:
            parsed = jsontext.parse(text) if text.strip() else {}
        except NotJson:
            raise BrokenStream(f"the arguments of {self.step.get('name')!r} are not JSON") from None
        if not isinstance(parsed, dict):
            raise BrokenStream(f"the arguments of {self.step.get('name')!r} are not an object")
        self.step["arguments"] = parsed

    def stop(self) -> None:
        self.join_text()
        self.join_arguments()
        self.stopped = True

    def abandon(self) -> None:
        """Stop without an end: what was said stays, half an argument is no argument."""
        self.arguments.clear()
        self.stop()


class Fold:
    """Gathers what a run's events say: `steps()`, `status`, `details` and `error`."""

    def __init__(self) -> None:
        self._drafts: dict[int, _Draft] = {}
        self._count = 0
        self.status = status.IN_PROGRESS
        self.details: Json = {}
        self.error: Json | None = None

    @property
    def ended(self) -> bool:
        """Whether a terminal event has been added; whatever follows it is not part of the run."""
        return status.is_terminal(self.status)

    @property
    def has_content(self) -> bool:
        """Whether any step has begun: from then on the call cannot silently be made again."""
        return bool(self._drafts)

    def add(self, event: Event) -> None:
        """Take one event in. Raises BrokenStream, naming the event by its number from 1."""
        self._count += 1
        apply = _EVENTS.get(event.type)
        if apply is None or self.ended:
            return
        try:
            apply(self, event.fields)
        except BrokenStream as broken:
            raise BrokenStream(f"event {self._count} ({event.type}): {broken}") from None

    def steps(self) -> list[Json]:
        """The steps so far, by index; those that never stopped end where they are."""
        for draft in self._drafts.values():
            if not draft.stopped:
                draft.abandon()
        return [self._drafts[index].step for index in sorted(self._drafts)]

    def _start(self, fields: Json) -> None:
        index, step = fields.get("index"), fields.get("step")
        if type(index) is not int or index < 0:
            raise BrokenStream("no index")
        if not isinstance(step, dict) or not isinstance(step.get("type"), str):
            raise BrokenStream("no step with a type")
        if index in self._drafts:
            raise BrokenStream(f"step {index} has already started")
        self._drafts[index] = _Draft(_own(step))

    def _delta(self, fields: Json) -> None:
        draft, delta = self._draft(fields), fields.get("delta")
        if not isinstance(delta, dict) or not isinstance(delta.get("type"), str):
            raise BrokenStream("no delta with a type")
        _DELTAS.get(delta["type"], _other)(draft, delta)

    def _stop(self, fields: Json) -> None:
        self._draft(fields).stop()

    def _draft(self, fields: Json) -> _Draft:
        index = fields.get("index")
        draft = self._drafts.get(index) if type(index) is int else None
        if draft is None:
            raise BrokenStream(f"step {index} has not started")
        if draft.stopped:
            raise BrokenStream(f"step {index} has already stopped")
        return draft

    def _status_update(self, fields: Json) -> None:
        self._keep(fields, beside={"event_type", "event_id", "interaction_id"})

    def _completed(self, fields: Json) -> None:
        interaction = fields.get("interaction")
        if not isinstance(interaction, dict):
            raise BrokenStream("no interaction")
        steps = interaction.get("steps")
        if not self._drafts and isinstance(steps, list):
            for index, step in enumerate(steps):
                self._start({"index": index, "step": step})
        for draft in self._drafts.values():
            if not draft.stopped:
                draft.stop()
        self._keep(interaction, beside=set())
        said = interaction.get("status")
        ended = isinstance(said, str) and status.is_terminal(said)
        self.status = str(said) if ended else status.COMPLETED

    def _failed(self, fields: Json) -> None:
        said = fields.get("error")
        body = said if isinstance(said, dict) else {}
        code, message = body.get("code"), body.get("message")
        self.error = {
            **body,
            "code": str(code) if code else "api_error",
            "message": str(message) if message else "The upstream ended the stream with an error.",
        }
        self.status = status.FAILED

    def _keep(self, said: Json, beside: set[str]) -> None:
        for name, value in said.items():
            if name not in _RESOURCE_FIELDS and name not in beside:
                self.details[name] = value


def _own(step: Json) -> Json:
    """A copy deep enough that folding into it leaves the event as it was."""
    step = dict(step)
    for name in ("content", "summary"):
        if isinstance(step.get(name), list):
            step[name] = [dict(item) if isinstance(item, dict) else item for item in step[name]]
    return step


def _text(draft: _Draft, delta: Json) -> None:
    text = delta.get("text")
    if not isinstance(text, str):
        raise BrokenStream("a text delta without text")
    item = draft.last_text()
    draft.text.append(text)
    for name, value in delta.items():
        if name == "annotations":
            _annotate(item, value)
        elif name not in ("type", "text"):
            item[name] = value


def _content(draft: _Draft, delta: Json) -> None:
    draft.join_text()
    draft.items("content").append(dict(delta))


def _annotation(draft: _Draft, delta: Json) -> None:
    _annotate(draft.last_text(), delta.get("annotations"))


def _annotate(item: Json, added: object) -> None:
    if not isinstance(added, list):
        raise BrokenStream("annotations that are not a list")
    before = item.get("annotations")
    item["annotations"] = [*before, *added] if isinstance(before, list) else added


def _summary(draft: _Draft, delta: Json) -> None:
    content = delta.get("content")
    if not isinstance(content, dict):
        raise BrokenStream("a thought_summary delta without content")
    draft.items("summary").append(content)


def _signature(draft: _Draft, delta: Json) -> None:
    draft.step["signature"] = delta.get("signature")


def _arguments(draft: _Draft, delta: Json) -> None:
    text = delta.get("arguments", delta.get("partial_arguments"))
    if not isinstance(text, str):
        raise BrokenStream("an arguments_delta without arguments")
    draft.arguments.append(text)


def _other(draft: _Draft, delta: Json) -> None:
    if draft.step["type"] == "model_output":
        _content(draft, delta)
    else:
        draft.join_text()  # it belongs to the content that is here now
        draft.step.update(_own({name: value for name, value in delta.items() if name != "type"}))


_EVENTS: dict[str, Callable[[Fold, Json], None]] = {
    events.STEP_START: Fold._start,
    events.STEP_DELTA: Fold._delta,
    events.STEP_STOP: Fold._stop,
    events.STATUS_UPDATE: Fold._status_update,
    events.COMPLETED: Fold._completed,
    events.ERROR: Fold._failed,
}

_DELTAS: dict[str, Callable[[_Draft, Json], None]] = {
    "text": _text,
    "text_annotation_delta": _annotation,
    "thought_summary": _summary,
    "thought_signature": _signature,
    "arguments_delta": _arguments,
}
