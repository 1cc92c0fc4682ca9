"""Wishes: what a request to the rest of the API asks for that a policy may be about.

    model   `model`, in the path or anywhere in the body
    agent   `agent`, `base_agent`
    tool    what stands in `tools`: their types, or the fields that are named after them
    unseen  a batch of requests that stands in a file

Fields are read in snake_case and in camelCase. Values that are free (arguments, results, schemas)
are not looked into.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from app.core import policy
from app.core.model import Json
from app.wire.references import AGENT_FIELDS, FREE_FIELDS
from app.wire.resources import Call

_FILE = frozenset({"fileName", "file_name"})
_GENERATES = ("generateContent", "streamGenerateContent")
_BATCHES = ("batchGenerateContent", "updateGenerateContentBatch")
_CONFIG = ("generationConfig", "generation_config")


class Wish(NamedTuple):
    """Something that is asked for: its kind, and its name."""

    kind: str
    name: str


def model(call: Call) -> str:
    """The model that is called, or ""."""
    if call.route.method != "POST":
        return ""
    return call.model or (call.own if call.own.startswith("tunedModels/") else "")


def of_body(call: Call, body: Json) -> Iterator[Wish]:
    """What is asked for in this body."""
    batch = _action(call) in _BATCHES
    for node in _objects(body):
        for field, value in node.items():
            if field == "tools":
                yield from _tools(value)
            elif not isinstance(value, str):
                continue
            elif field == "model":
                yield Wish("model", value)
            elif field in AGENT_FIELDS:
                yield Wish("agent", value)
            elif batch and field in _FILE:
                yield Wish("unseen", field)


def capped(call: Call, body: Json, most: int) -> Json:
    """The body, changed: nothing in it may generate more tokens than this. Raises policy.Unfit."""
    action = _action(call)
    for node in _objects(body):
        found = [field for field in _CONFIG if field in node]
        if not found and _generates(node, action, whole=node is body):
            found = ["generation_config" if "input" in node else "generationConfig"]
        for field in found:
            node[field] = policy.cap(most, node.get(field), field)
    return body


def _generates(node: Json, action: str, *, whole: bool) -> bool:
    """Whether this is a request that makes a model say something."""
    if "input" in node and "model" in node:  # an interaction that is to happen later
        return not whole
    return "contents" in node and (action in _BATCHES or (whole and action in _GENERATES))


def _tools(value: Any) -> Iterator[Wish]:
    for tool in value if isinstance(value, list) else [value]:
        if isinstance(tool, dict):
            if isinstance(tool.get("type"), str):
                yield Wish("tool", tool["type"])
            yield from (Wish("tool", field) for field in tool if field != "type")


def _objects(body: Json) -> Iterator[Json]:
    """Every object in a body, but none that stands in a free value."""
    stack: list[Any] = [body]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(value for field, value in node.items() if field not in FREE_FIELDS)
        elif isinstance(node, list):
            stack.extend(node)


def _action(call: Call) -> str:
    """What is done: what stands behind the colon."""
    return call.route.path.rpartition(":")[2]
