"""A create request of the outputs schema, put into the words of the steps schema."""

from typing import Any

from app.core.model import Json, Request
from app.errors import InvalidRequest
from app.wire import create
from app.wire.outputs import content

_FORMATS = frozenset({"text", "image", "audio", "video"})
_JSON = "application/json"


def request(body: Json) -> Request:
    """The request in this body. Raises InvalidRequest, naming the field."""
    body = _with_formats(body)
    if "input" in body:
        body["input"] = _input(body["input"])
    return create.request(body)


def _with_formats(body: Json) -> Json:
    """What the answer shall be, all of it in `response_format`.

    A JSON schema by itself and a format of the steps schema can be told apart: no schema has the
    type "text", "image", "audio" or "video".
    """
    body = dict(body)
    given, kind = body.get("response_format"), body.get("response_mime_type")
    if isinstance(given, bool) or (isinstance(given, dict) and given.get("type") not in _FORMATS):
        given = {"type": "text", "mime_type": kind or _JSON, "schema": given}
        body.pop("response_mime_type", None)
    elif given is None and isinstance(kind, str):
        given = {"type": "text", "mime_type": kind}
        del body["response_mime_type"]
    config = body.get("generation_config")
    if isinstance(config, dict) and isinstance(config.get("image_config"), dict):
        given = _with_image(given, config["image_config"])
        body["generation_config"] = {name: value for name, value in config.items() if name != "image_config"}
    if given is not None:
        body["response_format"] = given
    return body


def _with_image(given: Any, image: Json) -> Any:
    """The format or formats with this configuration of images among them; what was there wins."""
    entry = {"type": "image", **image}
    if given is None:
        return entry
    entries = given if isinstance(given, list) else [given]
    merged = [{**entry, **one} if _is_image(one) else one for one in entries]
    if not any(map(_is_image, entries)):
        merged.append(entry)
    return merged


def _is_image(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("type") == "image"


def _input(given: Any) -> Any:
    if isinstance(given, list):
        return [_item(item, f"input[{position}]") for position, item in enumerate(given)]
    return _item(given, "input")


def _item(item: Any, where: str) -> Any:
    if not isinstance(item, dict) or "role" not in item or "type" in item:
        return _content(item, where)
    inside = item.get("content")
    if isinstance(inside, list):
        where = f"{where}.content"
        return {**item, "content": [_content(one, f"{where}[{place}]") for place, one in enumerate(inside)]}
    return {**item, "content": _content(inside, f"{where}.content")} if isinstance(inside, dict) else item


def _content(item: Any, where: str) -> Any:
    if not isinstance(item, dict):
        return item  # judged with all other input
    if item.get("type") in ("user_input", "model_output"):
        raise InvalidRequest(
            f"'{where}': a {item['type']} is a step, which only the steps schema of the API has "
            "(Api-Revision 2026-05-20, SDKs from 2.0.0). Send contents, or turns with 'role' and 'content'."
        )
    return content.read(item)
