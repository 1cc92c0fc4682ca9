"""`input` in every form the API knows, as the one form that is kept: a list of steps.

    "text"                                     one user_input step
    {"type": "text", ...}                      one user_input step
    [content, content]                         one user_input step
    [step, step]                               the steps
    [{"role": "user" | "model", "content"}]    a step for each turn; thoughts and calls their own

A `function_result` inside a user_input becomes a step of its own, and a `content` that is a bare
string becomes a text. What is not known is kept as it came.
"""

from typing import Any

from app.core.model import Json
from app.errors import InvalidRequest

_CONTENT = frozenset({"text", "image", "audio", "video", "document"})
_OWN_STEP = ("_call", "_result")


def steps(given: Any) -> list[Json]:
    """The steps of this `input`. Raises InvalidRequest, naming the item that does not fit."""
    if isinstance(given, str):
        if not given:
            raise InvalidRequest("'input' must not be empty.")
        return [_user_input([_text(given)])]
    if isinstance(given, dict):
        return _list([given], lambda _: "input")
    if isinstance(given, list):
        if not given:
            raise InvalidRequest("'input' must not be empty.")
        return _list(given, lambda position: f"input[{position}]")
    raise InvalidRequest("'input' must be a string, an object or a list of objects.")


def _list(items: list[Any], name: Any) -> list[Json]:
    found: list[Json] = []
    loose: list[Json] = []  # contents that stand beside each other are one user_input

    def gather() -> None:
        if loose:
            found.append(_user_input(list(loose)))
            loose.clear()

    for position, item in enumerate(items):
        where = name(position)
        if not isinstance(item, dict):
            raise InvalidRequest(f"'{where}' must be an object.")
        if "role" in item and "type" not in item:
            gather()
            found.extend(_turn(item, where))
        elif _is_content(item):
            loose.append(_checked(item, where))
        else:
            gather()
            found.extend(_step(item, where))
    gather()
    return found


def _is_content(item: Json) -> bool:
    return item.get("type") in _CONTENT or ("type" not in item and isinstance(item.get("text"), str))


def _step(item: Json, where: str) -> list[Json]:
    kind = item.get("type")
    if not isinstance(kind, str) or not kind:
        raise InvalidRequest(f"'{where}.type' is required: the type of a content or of a step.")
    if kind in ("user_input", "model_output") and "content" in item:
        return _with_content(kind, item, where)
    if kind == "function_result":
        return [_function_result(item, where)]
    if kind == "function_call":
        _require_text(item, "name", where)
    return [item]


def _turn(item: Json, where: str) -> list[Json]:
    role = item["role"]
    if role not in ("user", "model"):
        raise InvalidRequest(f"'{where}.role' must be 'user' or 'model'.")
    if "content" not in item:
        raise InvalidRequest(f"'{where}.content' is required.")
    kind = "user_input" if role == "user" else "model_output"
    said = {name: value for name, value in item.items() if name != "role"}
    return _with_content(kind, {"type": kind, **said}, where)


def _with_content(kind: str, item: Json, where: str) -> list[Json]:
    """The step with its content as a list; parts that are steps by nature stand on their own."""
    shell = {name: value for name, value in item.items() if name != "content"}
    contents = _contents(item["content"], where)
    if not any(_is_own_step(content) for content in contents):
        return [{**item, "content": contents}]
    found: list[Json] = []
    for position, content in enumerate(contents):
        if _is_own_step(content):
            found.extend(_step(content, f"{where}.content[{position}]"))
        elif found and found[-1]["type"] == kind:
            found[-1]["content"].append(content)
        else:
            found.append({**item, "content": [content]})
    if len(shell) > 1 and all(step["type"] != kind for step in found):
        found.append({**shell, "content": []})  # for what else it says
    return found


def _is_own_step(content: Json) -> bool:
    kind = content.get("type")
    return kind == "thought" or (isinstance(kind, str) and kind.endswith(_OWN_STEP))


def _contents(given: Any, where: str) -> list[Json]:
    if isinstance(given, str):
        return [_text(given)]
    items = [given] if isinstance(given, dict) else given
    if not isinstance(items, list):
        raise InvalidRequest(f"'{where}.content' must be a string, an object or a list of objects.")
    return [_checked(item, f"{where}.content[{position}]") for position, item in enumerate(items)]


def _checked(item: Any, where: str) -> Json:
    if not isinstance(item, dict):
        raise InvalidRequest(f"'{where}' must be an object.")
    kind = item.get("type", "text" if "text" in item else None)
    if not isinstance(kind, str) or not kind:
        raise InvalidRequest(f"'{where}.type' is required.")
    if kind == "text":
        _require_text(item, "text", where)
    elif kind in _CONTENT:
        for name in ("data", "uri", "mime_type"):
            if item.get(name) is not None:
                _require_text(item, name, where)
        if item.get("data") is None and item.get("uri") is None:
            raise InvalidRequest(f"'{where}' needs 'data' (base64) or 'uri'.")
    return item if "type" in item else {**item, "type": kind}


def _function_result(item: Json, where: str) -> Json:
    _require_text(item, "call_id", where)
    if "result" not in item:
        raise InvalidRequest(f"'{where}.result' is required.")
    return item


def _require_text(item: Json, name: str, where: str) -> None:
    if not isinstance(item.get(name), str):
        raise InvalidRequest(f"'{where}.{name}' must be a string.")


def _user_input(content: list[Json]) -> Json:
    return {"type": "user_input", "content": content}


def _text(text: str) -> Json:
    return {"type": "text", "text": text}
