"""Example: a value that a JSON schema describes.

Follows type (also a list, or upper case), properties, required, items, prefixItems, minItems,
maxItems, enum, const, anyOf, oneOf, allOf, nullable, $ref within the schema, minLength, maxLength,
minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf and the usual formats; not pattern,
uniqueItems and conditions.
"""

import math
from collections.abc import Iterator
from itertools import chain, islice, repeat
from typing import Any

from app.core.model import Json
from app.errors import InvalidRequest
from app.upstream.simulator import words
from app.upstream.simulator.nesting import dump

_MAX_VALUES = 10_000
_MAX_NUMBER = 1e15
_READ_CHARACTERS = 10_000
_MAX_DEPTH = 60
_GENEROUS_DEPTH = 4
_FORMATS = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "time": "03:04:05Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


def example(schema: object, text: str) -> Any:
    """A value that conforms to the schema, with names and numbers of the text where they fit.

    Raises InvalidRequest when the schema is broken, or needs a value that is too large.
    """
    made = _Example(schema, text[:_READ_CHARACTERS]).value(schema, 0)
    dump(made, "schema")
    return made


class _Example:
    """One value in the making: a budget, and the words that are left to use."""

    def __init__(self, root: object, text: str) -> None:
        self._root = root
        self._left = _MAX_VALUES
        names = words.proper_names(text) or [words.longest(text) or "text"]
        self._names: Iterator[str] = chain(names, repeat(names[-1]))
        self._numbers: Iterator[int | float] = chain(words.numbers(text), repeat(1))

    def value(self, schema: object, depth: int) -> Any:
        plain = self._plain(schema, depth)
        if "const" in plain:
            return plain["const"]
        if isinstance(plain.get("enum"), list) and plain["enum"]:
            return plain["enum"][0]
        return self._of_kind(_kind(plain), plain, depth)

    def _of_kind(self, kind: str, schema: Json, depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer" | "number":
                return _number(schema, next(self._numbers), whole=kind == "integer")
            case "string":
                return _string(schema, self._names)
            case "boolean":
                return True
            case _:
                return None

    def _plain(self, schema: object, depth: int) -> Json:
        """The schema with references followed and alternatives chosen."""
        while True:
            self._left -= 1
            if self._left < 0 or depth > _MAX_DEPTH:
                raise InvalidRequest("The JSON schema needs a value that is too large.")
            if schema is True:
                return {}
            if not isinstance(schema, dict):
                raise InvalidRequest("The JSON schema is one that no value conforms to.")
            rest = dict(schema)
            if isinstance(reference := rest.pop("$ref", None), str):
                schema = _merge(rest, self._resolve(reference))
            elif isinstance(every := rest.pop("allOf", None), list):
                schema = self._all(rest, every, depth)
            elif isinstance(options := rest.pop("anyOf", rest.pop("oneOf", None)), list) and options:
                schema = _merge(rest, _choice(options, depth))
            else:
                return schema

    def _all(self, rest: Json, every: list[Any], depth: int) -> object:
        joined: object = rest
        for part in every:
            joined = _merge(self._plain(joined, depth + 1), self._plain(part, depth + 1))
        return joined

    def _resolve(self, reference: str) -> object:
        found: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        if not reference.startswith("#") or found is None:
            raise InvalidRequest(f"The JSON schema refers to '{reference[:60]}', which is not there.")
        return found

    def _object(self, schema: Json, depth: int) -> Json:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            raise InvalidRequest("The JSON schema has 'properties' or 'required' of a wrong type.")
        names = required or (properties if depth <= _GENEROUS_DEPTH else [])
        other = schema.get("additionalProperties") or True
        return {str(name): self.value(properties.get(str(name), other), depth + 1) for name in names}

    def _array(self, schema: Json, depth: int) -> list[Any]:
        first = schema.get("prefixItems")
        first = first if isinstance(first, list) else []
        rest = schema.get("items", True)
        generous = 1 if depth <= _GENEROUS_DEPTH else 0
        size = max(_bound(schema, "minItems", 0), len(first), generous)
        size = min(size, _bound(schema, "maxItems", math.inf), _MAX_VALUES + 1)
        if rest is False:
            size = min(size, len(first))
        parts = islice(chain(first, repeat(rest)), max(0, int(size)))
        return [self.value(part, depth + 1) for part in parts]


def _choice(options: list[Any], depth: int) -> object:
    """The first alternative that is not null; null where going deeper might never end."""
    nulls = [option for option in options if isinstance(option, dict) and option.get("type") == "null"]
    others = [option for option in options if option not in nulls]
    return nulls[0] if nulls and (depth > _GENEROUS_DEPTH or not others) else others[0]


def _merge(rest: Json, more: object) -> object:
    """Both schemas in one; a False stays one."""
    if not isinstance(more, dict):
        return rest if more is True else more
    merged = {**more, **rest}
    for name in ("properties", "required"):
        first, second = rest.get(name), more.get(name)
        if isinstance(first, dict) and isinstance(second, dict):
            merged[name] = {**first, **second, **first}
        elif isinstance(first, list) and isinstance(second, list):
            merged[name] = first + second
    return merged


def _kind(schema: Json) -> str:
    """The type to make: the first that is not null where there are several."""
    said = schema.get("type")
    if isinstance(said, list):
        said = next((kind for kind in said if kind != "null"), "null")
    if said is None:
        said = "object" if "properties" in schema else "array" if "items" in schema else "string"
    kind = str(said).lower()
    if kind not in ("object", "array", "string", "number", "integer", "boolean", "null"):
        raise InvalidRequest(f"The JSON schema has the type '{kind[:60]}', which is not one.")
    return kind


def _string(schema: Json, names: Iterator[str]) -> str:
    known = _FORMATS.get(str(schema.get("format")))
    if known is not None:
        return known
    text = next(names)
    least, most = _bound(schema, "minLength", 0), _bound(schema, "maxLength", math.inf)
    if least > _MAX_VALUES:
        raise InvalidRequest("The JSON schema needs a value that is too large.")
    if len(text) < least:
        text = (text * int(least))[: int(least)]
    return text if len(text) <= most else text[: max(0, int(most))]


def _number(schema: Json, wish: float, *, whole: bool) -> int | float:
    """The wish, else the first number near the bounds that conforms."""
    step = _bound(schema, "multipleOf", 1)
    low = max(_bound(schema, name, -math.inf) for name in ("minimum", "exclusiveMinimum"))
    high = min(_bound(schema, name, math.inf) for name in ("maximum", "exclusiveMaximum"))
    edges = [edge for edge in (low, high) if math.isfinite(edge)]
    near = [round(edge / step) + shift for edge in edges for shift in (0, 1, -1)] if step > 0 else []
    candidates = [wish, 1, 0, *edges, *(place * step for place in near), (low + high) / 2]
    for candidate in candidates:
        if math.isfinite(candidate):
            number = int(candidate) if whole else candidate
            if _conforms(number, schema):
                return number
    raise InvalidRequest("The JSON schema has bounds that no number conforms to.")


def _conforms(number: float, schema: Json) -> bool:
    step = _bound(schema, "multipleOf", 0)
    return (
        _bound(schema, "minimum", -math.inf) <= number <= _bound(schema, "maximum", math.inf)
        and _bound(schema, "exclusiveMinimum", -math.inf)
        < number
        < _bound(schema, "exclusiveMaximum", math.inf)
        and (step <= 0 or math.isclose(number / step, round(number / step), abs_tol=1e-9))
    )


def _bound(schema: Json, name: str, otherwise: float) -> float:
    """The limit under this name; as a string too, which is how Google writes 64-bit numbers."""
    value = schema.get(name)
    if isinstance(value, str) and value.isdecimal():
        return int(value[:18])
    if value is None or isinstance(value, bool):
        return otherwise
    if not isinstance(value, int | float) or abs(value) > _MAX_NUMBER:
        raise InvalidRequest(f"The JSON schema has a '{name}' of a wrong type or size.")
    return value
