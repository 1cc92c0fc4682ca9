"""JSON Schema, as much of it as an OpenAPI document of ours uses: what a value has that it should not."""

from collections.abc import Iterator, Mapping
from typing import Any

TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_KNOWN = {
    *("$ref", "anyOf", "type", "properties", "required", "items", "additionalProperties", "enum"),
    *("title", "description", "default", "examples"),
}


def faults(document: Any, schema: Any, value: Any, path: str = "$") -> Iterator[str]:
    """What does not fit, by its path; a field that the schema does not name does not fit either."""
    if "$ref" in schema:
        found: Any = document
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        yield from faults(document, found, value, path)
        return
    assert schema.keys() <= _KNOWN, f"{path}: {schema.keys() - _KNOWN}"
    if "anyOf" in schema:
        if all(any(faults(document, each, value)) for each in schema["anyOf"]):
            yield f"{path}: {value!r} is none of {schema['anyOf']}"
        return
    yield from _of_kind(schema, value, path)
    if isinstance(value, dict):
        yield from _of_fields(document, schema, value, path)
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from faults(document, schema.get("items", {}), each, f"{path}[{number}]")


def _of_kind(schema: Any, value: Any, path: str) -> Iterator[str]:
    kind = schema.get("type")
    if kind is not None and (
        not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")
    ):
        yield f"{path}: {value!r} is no {kind}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"


def _of_fields(document: Any, schema: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    properties, more = schema.get("properties", {}), schema.get("additionalProperties", not schema)
    yield from (f"{path}: no {name}" for name in schema.get("required", ()) if name not in value)
    for name, each in value.items():
        if name in properties:
            yield from faults(document, properties[name], each, f"{path}.{name}")
        elif more is False:
            yield f"{path}: {name} is not named"
        elif isinstance(more, dict):
            yield from faults(document, more, each, f"{path}.{name}")
