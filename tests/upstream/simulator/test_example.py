import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.model import Json
from app.errors import InvalidRequest
from app.upstream.simulator.example import example
from tests.upstream.simulator.asking import ask, text_of
from tests.upstream.simulator.conforming import conforms

ASKED = "Fly 3 people from Paris to New York on day 14?"


@st.composite
def numbers(draw: st.DrawFn) -> Json:
    least = draw(st.integers(-1_000, 1_000))
    schema: Json = {"type": draw(st.sampled_from(["integer", "number", "INTEGER"]))}
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = least
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = least + draw(st.integers(10, 20))
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.integers(1, 5))
    return schema


@st.composite
def strings(draw: st.DrawFn) -> Json:
    least = draw(st.integers(0, 30))
    most = least + draw(st.integers(0, 30))
    return {"type": "string", "minLength": least, **({"maxLength": most} if draw(st.booleans()) else {})}


LEAVES = st.one_of(
    numbers(),
    strings(),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": ["null", "string"]}, {}, {"const": 7}]),
    st.lists(st.integers(-9, 9) | st.text() | st.none(), min_size=1).map(lambda values: {"enum": values}),
)


@st.composite
def branches(draw: st.DrawFn, inner: st.SearchStrategy[Json]) -> Json:
    kind = draw(st.sampled_from(["object", "array", "anyOf", "allOf", "nullable"]))
    if kind == "object":
        properties = draw(st.dictionaries(st.text(max_size=5), inner, max_size=4))
        required = [name for name in properties if draw(st.booleans())]
        return {"type": "object", "properties": properties, "required": required}
    if kind == "array":
        least = draw(st.integers(0, 3))
        return {"type": "array", "items": draw(inner), "minItems": least, "maxItems": least + 1}
    if kind == "anyOf":
        return {"anyOf": [{"type": "null"}, draw(inner)], "title": "Maybe"}
    if kind == "allOf":
        return {"allOf": [draw(inner)], "description": "One"}
    return {**draw(inner), "nullable": True}


SCHEMAS = st.recursive(LEAVES, branches, max_leaves=8)


@given(SCHEMAS, st.text())
def test_an_example_conforms_to_its_schema(schema, text):
    made = example(schema, text)
    assert conforms(made, schema)
    assert made == example(schema, text)


@given(SCHEMAS)
def test_an_answer_in_json_conforms_to_its_schema(schema):
    answer = ask(ASKED, response_format={"type": "text", "mime_type": "application/json", "schema": schema})
    assert conforms(json.loads(text_of(answer)), schema)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "properties", "items", "required", "anyOf", "allOf", "$ref", "enum", "minItems"]
                )
                | st.sampled_from(
                    ["minimum", "maximum", "minLength", "maxLength", "multipleOf", "prefixItems", "const"]
                ),
                inner | st.sampled_from(["object", "array", "string", "integer", "#", "#/items", 3, 0.5, []]),
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_is_given_as_a_schema_ends_in_a_value_or_a_refusal(schema):
    with contextlib.suppress(InvalidRequest):
        example(schema, ASKED)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (
            {"properties": {"from": {"type": "string"}, "to": {"type": "string"}}},
            {"from": "Paris", "to": "New York"},
        ),
        (
            {"properties": {"people": {"type": "integer"}, "day": {"type": "number"}}},
            {"people": 3, "day": 14},
        ),
        ({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["a"]}, {"a": "Paris"}),
        ({"properties": {"a": {"type": "null"}, "b": {"type": "boolean"}}, "required": ["b"]}, {"b": True}),
        ({"enum": ["celsius", "fahrenheit"]}, "celsius"),
        ({"type": "string", "format": "date"}, "2026-01-02"),
        ({"items": {"type": "string"}, "minItems": "2"}, ["Paris", "New York"]),
        (
            {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "type": "array"},
            [3, "Paris"],
        ),
        ({"anyOf": [{"type": "null"}, {"type": "integer"}]}, 3),
        (
            {"allOf": [{"required": ["a"], "properties": {"a": {"const": 1}}}, {"properties": {"b": {}}}]},
            {"a": 1},
        ),
        (
            {"$ref": "#/$defs/City", "$defs": {"City": {"properties": {"name": {"type": "string"}}}}},
            {"name": "Paris"},
        ),
        (
            {"allOf": [{"type": "object", "required": ["a"]}, {"required": ["b"]}]},
            {"a": "Paris", "b": "New York"},
        ),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {}),
        (True, "Paris"),
    ],
)
def test_values_are_plausible(schema, value):
    assert example(schema, ASKED) == value


def test_a_schema_that_may_go_on_for_ever_ends():
    node: Json = {
        "type": "object",
        "required": ["children", "next"],
        "properties": {
            "children": {"type": "array", "items": {"$ref": "#"}},
            "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        },
    }
    assert conforms(example(node, ASKED), node)


@pytest.mark.parametrize(
    "schema",
    [
        False,
        "string",
        {"type": "text"},
        {"$ref": "#/$defs/Gone"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"type": "object", "required": ["me"], "properties": {"me": {"$ref": "#"}}},
        {"type": "array", "minItems": 10**9},
        {"type": "string", "minLength": 10**9},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "integer", "minimum": 10**400},
        {"type": "integer", "minimum": []},
        {"properties": []},
        {"properties": {}, "required": "a"},
    ],
)
def test_a_schema_without_a_value_is_refused(schema: Any):
    with pytest.raises(InvalidRequest, match="The JSON schema"):
        example(schema, ASKED)
