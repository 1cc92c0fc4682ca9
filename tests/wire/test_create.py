"""The body of a create request: what the gateway acts on, what it keeps, what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.model import Request
from app.errors import InvalidRequest
from app.wire.create import request
from tests.core.strategies import JSON

HELLO = [{"type": "user_input", "content": [{"type": "text", "text": "Hello"}]}]
PARENT = "v1_ABCDEFGHIJKL"


def created(**body):
    return request({"model": "m", "input": "Hello", **body})


def refusal(**body) -> str:
    with pytest.raises(InvalidRequest) as refused:
        created(**body)
    return refused.value.message


def test_the_shortest_request():
    assert created() == Request(input=HELLO, model="m")
    assert request({"agent": "a", "input": "Hello"}) == Request(input=HELLO, agent="a")


def test_every_field_has_its_place():
    options = {
        "tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "telepathy", "x": 1}],
        "system_instruction": "Be brief.",
        "generation_config": {"temperature": 0.5, "novelty": True},
        "response_format": {"type": "text", "mimeType": "application/json", "schema": {"type": "object"}},
        "response_mime_type": "application/json",
        "response_modalities": ["text"],
        "service_tier": "flex",
        "labels": {"team": "a"},
        "safety_settings": [{"category": "c"}],
        "continuation_token": "t",
        "environment": {"type": "remote"},
        "a_field_of_2031": {"deep": [None, 1.0]},
    }
    made = created(previous_interaction_id=PARENT, store=False, stream=True, background=False, **options)
    assert made == Request(
        input=HELLO,
        model="m",
        previous_interaction_id=PARENT,
        store=False,
        stream=True,
        background=False,
        options=options,
    )


def test_a_response_format_may_be_a_list():
    formats = [{"type": "text"}, {"type": "image"}]
    assert created(response_format=formats).options == {"response_format": formats}


@pytest.mark.parametrize(
    "name",
    [
        *("agent", "previous_interaction_id", "store", "stream", "background", "tools", "labels"),
        *(
            "agent_config",
            "generation_config",
            "system_instruction",
            "response_format",
            "webhook_config",
            "new",
        ),
    ],
)
def test_null_is_not_given(name):
    assert created(**{name: None}) == created()


@pytest.mark.parametrize("stream", [None, False, True])
@pytest.mark.parametrize("store", [None, False, True])
@pytest.mark.parametrize("previous", [None, PARENT])
@pytest.mark.parametrize("target", ["model", "agent"])
def test_modes_go_together(target, previous, store, stream):
    made = request(
        {
            target: "x",
            "input": "Hello",
            "previous_interaction_id": previous,
            "store": store,
            "stream": stream,
            "background": False,
        }
    )
    assert (made.store, made.stream, made.background) == (store is not False, stream is True, False)
    assert (made.target, made.previous_interaction_id, made.options) == ("x", previous, {})


@given(st.dictionaries(st.text(min_size=1).map("x_".__add__), JSON.filter(lambda value: value is not None)))
def test_what_is_not_known_is_kept_as_it_came(options):
    assert created(**options).options == options


def test_the_target_is_the_model_or_the_agent():
    assert created().target == "m"
    assert request({"agent": "a", "input": "Hello"}).target == "a"


WRONG = [
    ({"model": None}, "One of 'model' or 'agent' is required."),
    ({"agent": "a"}, "Give either 'model' or 'agent', not both."),
    ({"agent_config": {}}, "'agent_config' goes with 'agent'; with 'model', use 'generation_config'."),
    (
        {"model": None, "agent": "a", "generation_config": {}},
        "'generation_config' goes with 'model'; with 'agent', use 'agent_config'.",
    ),
    ({"input": None}, "'input' is required."),
    ({"input": ""}, "'input' must not be empty."),
    ({"input": [{"type": "text"}]}, "'input[0].text' must be a string."),
    ({"background": True, "store": False}, "'background' needs 'store': a background run is read by its id."),
    ({"previous_interaction_id": ""}, "'previous_interaction_id' must not be empty."),
    ({"previous_interaction_id": "../x"}, "'previous_interaction_id' is malformed: ../x"),
    (
        {"previous_interaction_id": "x" * 500},
        f"'previous_interaction_id' is malformed: {'x' * 80}...",
    ),
]


@pytest.mark.parametrize(("body", "message"), WRONG, ids=lambda value: str(value)[:50])
def test_what_is_wrong_is_said(body, message):
    assert refusal(**body) == message


@pytest.mark.parametrize(
    ("name", "value", "where"),
    [
        ("model", "", "model"),
        ("model", 5, "model"),
        ("model", "m" * 257, "model"),
        ("model", "a\x00b", "model"),
        ("model", "a\nb", "model"),
        ("agent", ["a"], "agent"),
        ("store", "false", "store"),
        ("store", 0, "store"),
        ("stream", 1, "stream"),
        ("stream", "true", "stream"),
        ("background", {}, "background"),
        ("previous_interaction_id", 5, "previous_interaction_id"),
        ("system_instruction", {"parts": []}, "system_instruction"),
        ("tools", {}, "tools"),
        ("tools", ["google_search"], "tools[0]"),
        ("tools", [{"type": "a"}, {"name": "f"}], "tools[1].type"),
        ("tools", [{"type": None}], "tools[0].type"),
        ("generation_config", [], "generation_config"),
        ("agent_config", "x", "agent_config"),
        ("response_format", "json", "response_format"),
        ("response_modalities", ["text", 5], "response_modalities[1]"),
        ("service_tier", 1, "service_tier"),
        ("labels", {"a": 1}, "labels.a"),
        ("labels", {"a": "x" * 64}, "labels.a"),
        ("labels", {"a": "x\x00"}, "labels.a"),
        ("labels", {"a" * 64: "x"}, f"labels.{'a' * 64}"),
        ("labels", {"a" * 9000: "x"}, f"labels.{'a' * 80}"),
        ("labels", {str(n): "x" for n in range(65)}, "labels"),
        ("continuation_token", 5, "continuation_token"),
    ],
)
def test_a_wrong_type_names_the_field(name, value, where):
    message = refusal(**{name: value})
    assert message.startswith(f"'{where}': ")
    assert message.endswith(".")


def test_a_continuation_needs_no_input():
    made = request({"model": "m", "continuation_token": "t", "previous_interaction_id": PARENT})
    assert made.input == []
    assert made.options == {"continuation_token": "t"}
