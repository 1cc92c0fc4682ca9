"""Whether a JSON value conforms to a JSON schema: a second opinion on `example`."""

from typing import Any

from app.core.model import Json
from tests.support.schema import TYPES


def conforms(value: Any, schema: Any, root: Any = None) -> bool:
    """Whether the value is one that the schema describes."""
    root = schema if root is None else root
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema:
        found = root
        for part in schema["$ref"].split("/")[1:]:
            found = found[part]
        return conforms(value, found, root)
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is not None and not any(conforms(value, option, root) for option in options):
        return False
    if not all(conforms(value, part, root) for part in schema.get("allOf", [])):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    return _is_of_type(value, schema) and _is_within(value, schema) and _parts_conform(value, schema, root)


def _is_of_type(value: Any, schema: Json) -> bool:
    said = schema.get("type")
    if said is None or (value is None and schema.get("nullable")):
        return True
    names = said if isinstance(said, list) else [said]
    return any(
        isinstance(value, TYPES[name.lower()]) and (name.lower() == "boolean" or not isinstance(value, bool))
        for name in names
    )


def _is_within(value: Any, schema: Json) -> bool:
    if isinstance(value, str):
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**9)
    if isinstance(value, list):
        return schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10**9)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (
            schema.get("minimum", -1e300) <= value <= schema.get("maximum", 1e300)
            and schema.get("exclusiveMinimum", -1e300) < value < schema.get("exclusiveMaximum", 1e300)
            and value % schema.get("multipleOf", value or 1) == 0
        )
    return True


def _parts_conform(value: Any, schema: Json, root: Any) -> bool:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return set(schema.get("required", [])) <= set(value) and all(
            conforms(part, properties.get(name, schema.get("additionalProperties", True)), root)
            for name, part in value.items()
        )
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        return all(
            conforms(part, first[place] if place < len(first) else schema.get("items", True), root)
            for place, part in enumerate(value)
        )
    return True
