"""Request bodies that are wrong: a 400 in the API's envelope, and nothing is stored."""

import json
from typing import Any

import pytest

from app.wire.create import _Create
from tests.support.gateway import Gateway
from tests.support.raw import Answer, ask, request
from tests.support.records import Records

GOOD: dict[str, Any] = {"model": "test-model", "input": "Hi"}


@pytest.fixture
def records(narrow: Gateway):
    """The database, in which a refused request leaves nothing."""
    with Records(narrow.database_url) as found:
        before = found.count("interactions")
        yield found
        assert found.count("interactions") == before


def send(narrow: Gateway, body: bytes) -> Answer:
    return ask(narrow, request(narrow, body=body))


def must_refuse(narrow: Gateway, body: bytes, *named: str) -> None:
    answer = send(narrow, body)
    assert answer.status == 400, answer
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert set(error) == {"code", "message"}
    for text in named:
        assert text in error["message"]


@pytest.mark.parametrize(
    "body", [b"", b" ", b"\n", b"\x00", b"\xef\xbb\xbf{}", b"{", b"{}}", b"{'a':1}", b"{a:1}"]
)
def test_what_is_not_json(narrow: Gateway, records: Records, body: bytes) -> None:
    must_refuse(narrow, body, "not valid JSON")


@pytest.mark.parametrize("body", [b"null", b"true", b"1", b'"text"', b"[]", b'[{"model":"m","input":"Hi"}]'])
def test_top_level_that_is_no_object(narrow: Gateway, records: Records, body: bytes) -> None:
    must_refuse(narrow, body, "must be a JSON object")


def test_empty_object(narrow: Gateway, records: Records) -> None:
    must_refuse(narrow, b"{}", "model", "agent")


@pytest.mark.parametrize(
    "value",
    [
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"9" * 5000,
        b"0." + b"0" * 10 + b"1e99999",
        b"01",
        b"+1",
        b"0x1",
        b"1_000",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud800x"',
        b'"\\x41"',
        b'"a\nb"',
        b'"\xff\xfe"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        b"undefined",
        b"[1,]",
        b"// comment\n1",
    ],
)
def test_values_that_json_does_not_have(narrow: Gateway, records: Records, value: bytes) -> None:
    must_refuse(narrow, b'{"model":"m","input":"Hi","extra":' + value + b"}", "not valid JSON")
    must_refuse(narrow, b'{"model":"m","input":[{"type":"text","text":' + value + b"}]}")


@pytest.mark.parametrize(("open_", "close"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("depth", [50, 1025, 10_000])
def test_depth(narrow: Gateway, records: Records, depth: int, open_: bytes, close: bytes) -> None:
    deep = open_ * depth + b"1" + close * depth
    must_refuse(narrow, b'{"model":"m","input":"Hi","extra":' + deep + b"}")


def test_depth_within_the_limit(narrow: Gateway) -> None:
    deep = b"[" * 49 + b"]" * 49
    assert send(narrow, b'{"model":"m","input":"Hi","store":false,"extra":' + deep + b"}").status == 200


def test_duplicate_members_count_once_and_last(narrow: Gateway) -> None:
    body = b'{"store":true,"model":"first","input":"Hi","model":"last","store":false}'
    answer = send(narrow, body)
    assert answer.status == 200
    assert answer.json()["model"] == "last"
    assert "id" not in answer.json()


_SAMPLES: list[Any] = [
    True,
    0,
    1.5,
    "text",
    [],
    ["text"],
    [1],
    [[]],
    [{}],
    {},
    {"a": "b"},
    {"a": 1},
    {"a": []},
]


def _wrong(field: str) -> list[Any]:
    """The samples that this field does not take, found by asking for nothing else."""
    if field == "input":
        return [True, 0, 1.5, "", [], {}, ["text"], [1], [[]], [{}], {"a": 1}]
    takes: dict[Any, list[Any]] = {
        bool: [True],
        "name": ["text"],
        str: ["text", ""],
        dict: [{}, {"a": "b"}, {"a": 1}, {"a": []}],
        "labels": [{}, {"a": "b"}],
        "tools": [[]],
        "texts": [[], ["text"]],
        "format": [{}, {"a": "b"}, {"a": 1}, {"a": []}, [], [{}]],
    }
    kind: Any = {
        "model": "name",
        "agent": "name",
        "store": bool,
        "stream": bool,
        "background": bool,
        "generation_config": dict,
        "agent_config": dict,
        "labels": "labels",
        "tools": "tools",
        "response_modalities": "texts",
        "response_format": "format",
    }.get(field, str)
    return [sample for sample in _SAMPLES if not _among(sample, takes[kind])]


def _among(sample: Any, taken: list[Any]) -> bool:
    return any(type(sample) is type(one) and sample == one for one in taken)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param(field, value, id=f"{field}={json.dumps(value)}")
        for field in [*_Create.model_fields, "input"]
        for value in _wrong(field)
    ],
)
def test_known_field_of_a_wrong_type_is_named(
    narrow: Gateway, records: Records, field: str, value: Any
) -> None:
    body = {**GOOD, field: value}
    if field.startswith("agent"):
        body = {"agent": "test-agent", "input": "Hi", field: value}
    must_refuse(narrow, json.dumps(body).encode(), f"'{field}")


@pytest.mark.parametrize("field", [name for name in _Create.model_fields if name != "model"])
def test_null_is_a_field_that_was_not_given(narrow: Gateway, field: str) -> None:
    body = {**GOOD, "store": False, field: None}
    assert send(narrow, json.dumps(body).encode()).status == 200


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([{"type": 1}], "input[0].type"),
        ([{"type": "text"}], "input[0].text"),
        ([{"type": "text", "text": 1}], "input[0].text"),
        ([{"type": "text", "text": "a"}, {"type": "image"}], "input[1]"),
        ([{"type": "image", "data": 1}], "input[0].data"),
        ([{"type": "user_input", "content": 1}], "input[0].content"),
        ([{"type": "user_input", "content": [1]}], "input[0].content[0]"),
        ([{"type": "user_input", "content": [{"type": "text"}]}], "input[0].content[0].text"),
        ([{"type": "function_result", "result": "x"}], "input[0].call_id"),
        ([{"type": "function_result", "call_id": "x"}], "input[0].result"),
        ([{"type": "function_call", "arguments": {}}], "input[0].name"),
        ([{"role": "system", "content": "x"}], "input[0].role"),
        ([{"role": "user"}], "input[0].content"),
        ({"type": "text", "text": None}, "input.text"),
    ],
)
def test_part_of_the_input_of_a_wrong_type_is_named(
    narrow: Gateway, records: Records, given: Any, named: str
) -> None:
    must_refuse(narrow, json.dumps({"model": "m", "input": given}).encode(), f"'{named}'")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"input": "Hi"}, "model"),
        ({**GOOD, "agent": "a"}, "agent"),
        ({**GOOD, "agent_config": {}}, "agent_config"),
        ({"agent": "a", "input": "Hi", "generation_config": {}}, "generation_config"),
        ({**GOOD, "model": ""}, "model"),
        ({**GOOD, "model": "x" * 257}, "model"),
        ({"model": "m"}, "input"),
        ({**GOOD, "background": True, "store": False}, "background"),
        ({**GOOD, "tools": [{"name": "x"}]}, "tools[0].type"),
        ({**GOOD, "previous_interaction_id": ""}, "previous_interaction_id"),
    ],
)
def test_fields_that_do_not_go_together(
    narrow: Gateway, records: Records, body: dict[str, Any], named: str
) -> None:
    must_refuse(narrow, json.dumps(body).encode(), named)


@pytest.mark.parametrize(
    "query", ["stream=1", "stream=", "include_input=yes", "last_event_id=x", "stream=false&last_event_id=x"]
)
def test_query_of_a_wrong_type(narrow: Gateway, query: str) -> None:
    kept = narrow.create(input="Hi")["id"]
    answer = ask(narrow, request(narrow, "GET", f"/v1beta/interactions/{kept}?{query}"), "GET")
    assert answer.status == 400
    assert query.rpartition("&")[2].partition("=")[0] in answer.json()["error"]["message"]
