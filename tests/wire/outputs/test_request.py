"""Create requests of the outputs schema in the words of the steps schema, and what neither may send."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.wire import steps
from app.wire.outputs.request import request
from tests.core.strategies import JSON

HELLO = [{"type": "user_input", "content": [{"type": "text", "text": "Hello"}]}]
SCHEMA = {"type": "object", "properties": {"summary": {"type": "string"}}}
TEXT = {"type": "text", "mime_type": "application/json", "schema": SCHEMA}


def created(**body):
    return request({"model": "m", "input": "Hello", **body})


FORMATS = {
    "a schema": ({"response_format": SCHEMA}, TEXT),
    "a schema with its type": (
        {"response_format": SCHEMA, "response_mime_type": "application/json"},
        TEXT,
    ),
    "a schema of another type of text": (
        {"response_format": {"enum": ["a"]}, "response_mime_type": "text/x.enum"},
        {"type": "text", "mime_type": "text/x.enum", "schema": {"enum": ["a"]}},
    ),
    "a schema of a list": (
        {"response_format": {"type": "array"}, "response_mime_type": None},
        {**TEXT, "schema": {"type": "array"}},
    ),
    "a schema without a type": (
        {"response_format": {"anyOf": []}},
        {**TEXT, "schema": {"anyOf": []}},
    ),
    "a schema of anything": ({"response_format": True}, {**TEXT, "schema": True}),
    "a type alone": (
        {"response_mime_type": "text/plain"},
        {"type": "text", "mime_type": "text/plain"},
    ),
    "pictures": (
        {"generation_config": {"image_config": {"aspect_ratio": "1:1"}}},
        {"type": "image", "aspect_ratio": "1:1"},
    ),
    "a schema and pictures": (
        {"response_format": SCHEMA, "generation_config": {"image_config": {"image_size": "2K"}}},
        [TEXT, {"type": "image", "image_size": "2K"}],
    ),
    "what is already in the words of the steps schema": ({"response_format": TEXT}, TEXT),
    "a list of it": ({"response_format": [TEXT, {"type": "image"}]}, [TEXT, {"type": "image"}]),
    "pictures in both words": (
        {
            "response_format": [TEXT, {"type": "image", "image_size": "4K"}],
            "generation_config": {"image_config": {"image_size": "2K", "aspect_ratio": "1:1"}},
        },
        [TEXT, {"type": "image", "image_size": "4K", "aspect_ratio": "1:1"}],
    ),
}


@pytest.mark.parametrize(("body", "meant"), FORMATS.values(), ids=FORMATS.keys())
def test_every_form_of_answer_that_can_be_asked_for(body, meant):
    body = {"model": "m", "input": [{"role": "user", "content": "Hello"}], **body}
    before = copy.deepcopy(body)
    options = request(body).options
    assert options.pop("response_format") == meant
    assert options == ({"generation_config": {}} if "generation_config" in body else {})
    assert body == before


def test_what_else_is_configured_stays():
    config = {"seed": 1, "image_config": {"image_size": "1K"}}
    assert created(generation_config=config).options["generation_config"] == {"seed": 1}
    for wrong in (None, "x", 5):
        kept = {"image_config": wrong}
        assert created(generation_config=kept).options == {"generation_config": kept}


def test_a_type_beside_a_format_of_the_steps_schema_stays():
    options = {"response_format": {"type": "text"}, "response_mime_type": "application/json"}
    assert created(**options).options == options


@pytest.mark.parametrize("wrong", ["json", 5, ["json"]])
def test_a_format_of_a_wrong_type_is_named(wrong):
    with pytest.raises(InvalidRequest, match=r"^'response_format"):
        created(response_format=wrong)


@given(st.dictionaries(st.text(min_size=1).map("x_".__add__), JSON.filter(lambda value: value is not None)))
def test_what_is_not_known_is_kept_as_it_came(options):
    assert created(**options) == steps.request({"model": "m", "input": "Hello", **options})


@pytest.mark.parametrize(
    "given_",
    [
        "Hello",
        {"type": "text", "text": "Hello"},
        [{"type": "text", "text": "Hello"}],
        [{"role": "user", "content": "Hello"}],
        [{"role": "user", "content": {"type": "text", "text": "Hello"}}],
        [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    ],
)
def test_every_form_of_input(given_):
    assert created(input=given_).input == HELLO


def test_a_continuation_needs_no_input():
    assert request({"model": "m", "continuation_token": "t"}).input == []


def test_a_conversation_in_turns():
    signed = {"type": "thought", "signature": "c2ln"}
    cited = {"type": "url_citation", "url": "u", "source": "u"}
    said = {"type": "text", "text": "Hi", "annotations": [cited]}
    call = {"type": "function_call", "id": "c", "name": "f", "arguments": {}}
    result = {"type": "function_result", "call_id": "c", "name": "f", "result": "sunny"}
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "model", "content": [signed, said, call]},
        {"role": "user", "content": [result]},
    ]
    assert created(input=turns).input == [
        *HELLO,
        signed,
        {
            "type": "model_output",
            "content": [{**said, "annotations": [{"type": "url_citation", "url": "u"}]}],
        },
        call,
        result,
    ]


@pytest.mark.parametrize(
    ("given_", "where"),
    [
        (
            [{"type": "text", "text": "x"}, {"type": "user_input", "content": "x"}],
            "'input[1]': a user_input ",
        ),
        ({"type": "model_output", "content": []}, "'input': a model_output "),
        ([{"role": "user", "content": [HELLO[0]]}], "'input[0].content[0]': a user_input "),
        ([{"role": "user", "content": HELLO[0]}], "'input[0].content': a user_input "),
    ],
)
def test_steps_that_only_the_other_schema_has_are_refused_by_name(given_, where):
    with pytest.raises(InvalidRequest) as refused:
        created(input=given_)
    assert refused.value.message.startswith(where)
    assert "2026-05-20" in refused.value.message


@pytest.mark.parametrize(
    "given_", [None, 5, [5], [["x"]], [{"role": "user", "content": 5}], [{"role": "user"}]]
)
def test_what_is_wrong_in_both_schemas_is_said_in_the_same_words(given_):
    told = []
    for read in (request, steps.request):
        with pytest.raises(InvalidRequest) as refused:
            read({"model": "m", "input": given_})
        told.append(refused.value.message)
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA,
        {"type": "array"},
        {"type": ["string", "null"]},
        {"anyOf": []},
        {"$ref": "#/x"},
        {"properties": {}},
    ],
)
def test_a_client_of_the_steps_schema_is_told_where_its_json_schema_goes(schema):
    with pytest.raises(
        InvalidRequest, match=r"^'response_format' is a JSON schema, which only the outputs schema"
    ):
        steps.request({"model": "m", "input": "Hello", "response_format": schema})


@pytest.mark.parametrize(
    "format_",
    [
        TEXT,
        {},
        {"type": "hologram"},
        {"type": {"a": 1}},
        {"mime_type": "text/plain"},
        [SCHEMA],
        {"type": "image"},
    ],
)
def test_any_other_format_of_the_steps_schema_is_the_upstreams_to_judge(format_):
    asked = steps.request({"model": "m", "input": "Hello", "response_format": format_})
    assert asked.options == {"response_format": format_}
