"""Steps as contents: a message is its contents, every other step is one content of the same fields.

SDKs before 1.68 know some fields under another name, SDK 1.55 one more. Both names are told:

    annotation            url                  source
    google_search_result  search_suggestions   rendered_content
    usage                 total_thought_tokens total_reasoning_tokens
"""

from collections.abc import Callable
from typing import Any

from app.core.model import Json

MESSAGES = frozenset({"user_input", "model_output"})
"""The steps that hold contents; all others are contents themselves."""

_NAMES = {"annotations": ("url", "source"), "result": ("search_suggestions", "rendered_content")}


def outputs(steps: list[Json]) -> list[Json]:
    """What the model has said and done in these steps, content by content."""
    return [content for step in steps if step.get("type") != "user_input" for content in contents(step)]


def contents(step: Json) -> list[Json]:
    """The contents that a step is."""
    return [shown(item) for item in parts(step)]


def parts(step: Json) -> list[Json]:
    """As `contents`, in the names of the steps schema."""
    if step.get("type") not in MESSAGES:
        return [step]
    items = step.get("content")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def given(steps: list[Json]) -> list[Json]:
    """An input as a list of contents where they are all the user's, else as turns."""
    turns: list[Json] = []
    before: Json | None = None
    for step in steps:
        if before is not None and _share_a_turn(before, step):
            turns[-1]["content"] += contents(step)
        else:
            turns.append(_turn(step))
        before = step
    only = turns[0]["content"] if len(turns) == 1 and turns[0].keys() == {"role", "content"} else []
    return only if only and _role(steps[0]) == "user" and all(map(_stands_alone, only)) else turns


def _turn(step: Json) -> Json:
    more = {name: value for name, value in step.items() if name not in ("type", "content")}
    return {"role": _role(step), "content": contents(step), **(more if step["type"] in MESSAGES else {})}


def _role(step: Json) -> str:
    return "user" if step["type"] in ("user_input", "function_result") else "model"


def _share_a_turn(before: Json, step: Json) -> bool:
    """Whether the two can be told apart again when they stand in one turn."""
    both = [one for one in (before, step) if one["type"] in MESSAGES]
    plain = all(one.keys() == {"type", "content"} and one["content"] for one in both)
    return _role(before) == _role(step) and plain and len(both) < 2


def _stands_alone(content: Json) -> bool:
    kind = content.get("type")
    return kind in ("text", "image", "audio", "video", "document", "function_result")


def shown(item: Json) -> Json:
    """A content, or a step that is one, with both names where older SDKs have their own."""
    if item.get("signature") == "" and item.get("type") != "thought":  # streamed steps begin with it
        item = {name: value for name, value in item.items() if name != "signature"}
    return _each(item, _add)


def read(item: Json) -> Json:
    """The content in the names of the steps schema: undoes `shown`."""
    return _each(item, _take)


def usage(counted: Any) -> Any:
    """The token counts with the thoughts under both of their names."""
    if not isinstance(counted, dict) or "total_thought_tokens" not in counted:
        return counted
    return {**counted, "total_reasoning_tokens": counted["total_thought_tokens"]}


def _each(item: Json, change: Callable[[Json, str, str], Json]) -> Json:
    """The item with each of its annotations or search results changed."""
    changed: Json = {}
    for name, (newer, older) in _NAMES.items():
        listed = item.get(name)
        if isinstance(listed, list) and (name == "annotations" or item.get("type") == "google_search_result"):
            changed[name] = [change(one, newer, older) if isinstance(one, dict) else one for one in listed]
    return {**item, **changed} if changed else item


def _add(one: Json, newer: str, older: str) -> Json:
    return one if older in one or newer not in one else {**one, older: one[newer]}


def _take(one: Json, newer: str, older: str) -> Json:
    if older not in one:
        return one
    rest = {name: value for name, value in one.items() if name != older}
    if newer in one:
        return rest if one[newer] == one[older] else one
    if newer == "url":
        return one if "type" in one else {"type": "url_citation", **rest, newer: one[older]}
    return {**rest, newer: one[older]}
