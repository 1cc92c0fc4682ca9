"""Interactions as clients of the outputs schema see them."""

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.model import Interaction
from app.wire import steps
from app.wire.outputs import content, resource
from app.wire.outputs.request import request
from tests.core.strategies import STEPS
from tests.wire.outputs.test_request import FORMATS

INPUT = [{"type": "user_input", "content": [{"type": "text", "text": "Hello"}]}]
OUTPUT = [
    {"signature": "Ct8B", "type": "thought"},
    {
        "id": "r7b1dyif",
        "type": "function_call",
        "name": "getWeather",
        "arguments": {"location": "San Francisco"},
    },
]
USAGE = {
    "total_tokens": 112,
    "total_input_tokens": 54,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 54}],
    "total_cached_tokens": 0,
    "total_output_tokens": 15,
    "total_tool_use_tokens": 0,
    "total_thought_tokens": 43,
}
ENDED = Interaction(
    id="v1_ABCDEFGHIJKL",
    project_id="prj_secret",
    status="requires_action",
    created_at=1_777_920_404_000,
    updated_at=1_777_920_404_000,
    model="gemini-2.5-flash",
    agent=None,
    parent_id=None,
    root_id="v1_ABCDEFGHIJKL",
    depth=0,
    background=False,
    options=b"{}",
    input=orjson.dumps(INPUT),
    output=orjson.dumps(OUTPUT),
    details=orjson.dumps({"usage": USAGE, "service_tier": "standard"}),
    error=None,
    last_seq=0,
    history_bytes=100,
)


def shown(found: Interaction, **how):
    return orjson.loads(resource.interaction(found, **how))


def test_an_interaction_is_shown_as_the_api_did_key_by_key():
    expected = {
        "id": "v1_ABCDEFGHIJKL",
        "status": "requires_action",
        "outputs": OUTPUT,
        "usage": {**USAGE, "total_reasoning_tokens": 43},
        "role": "model",
        "created": "2026-05-04T18:46:44Z",
        "updated": "2026-05-04T18:46:44Z",
        "service_tier": "standard",
        "object": "interaction",
        "model": "gemini-2.5-flash",
    }
    assert json.dumps(shown(ENDED)) == json.dumps(expected)


def test_a_running_interaction_has_no_outputs_yet():
    found = shown(replace(ENDED, status="in_progress", output=b"[]", details=b"{}"))
    assert found["outputs"] == []
    assert "usage" not in found


def test_an_agents_interaction_that_is_not_stored_and_says_nothing():
    found = shown(replace(ENDED, id="", status="cancelled", model=None, agent="deep-research", output=b"[]"))
    assert "id" not in found
    assert (found["role"], found["agent"], found["outputs"]) == ("agent", "deep-research", [])


@pytest.mark.parametrize(
    "status", ["incomplete", "budget_exceeded", "requires_continuation", "queued", "new"]
)
def test_every_status_is_passed_on(status):
    assert shown(replace(ENDED, status=status))["status"] == status


def test_the_input_is_shown_to_whoever_asks():
    assert "input" not in shown(ENDED)
    assert shown(ENDED, include_input=True)["input"] == INPUT[0]["content"]


def test_a_failure_says_why():
    error = {"code": "api_error", "message": "It broke."}
    assert shown(replace(ENDED, status="failed", error=orjson.dumps(error)))["errors"] == [error]


def test_nothing_of_the_house_is_shown():
    assert b"prj_secret" not in resource.interaction(ENDED, include_input=True)


@given(st.lists(STEPS, max_size=4), st.lists(STEPS, max_size=3))
def test_the_outputs_are_the_models_steps_and_never_the_users(given_, answer):
    found = replace(ENDED, input=orjson.dumps(given_), output=orjson.dumps(answer))
    told = shown(found, include_input=True)
    assert "steps" not in told
    assert told["outputs"] == content.outputs(orjson.loads(found.output))


@pytest.mark.parametrize("body", [body for body, _ in FORMATS.values()], ids=FORMATS.keys())
def test_what_was_asked_for_is_shown_again_in_the_words_of_this_schema(body):
    asked = request({"model": "m", "input": "Hello", **body})
    found = shown(replace(ENDED, options=orjson.dumps(asked.options)))
    again = {name: found[name] for name in ("response_format", "response_mime_type") if name in found}
    told = request({"model": "m", "input": "Hello", **again}).options
    formats = asked.options["response_format"]
    texts = [one for one in (formats if isinstance(formats, list) else [formats]) if one["type"] == "text"]
    assert told.get("response_format") == (texts[0] if texts else None)


@pytest.mark.parametrize(
    "formats",
    [{"type": "audio"}, {"type": "text", "strict": True}, [{"type": "text"}, {"type": "text"}], ["x"]],
)
def test_a_format_that_only_the_steps_schema_can_say_is_shown_in_its_words(formats):
    found = shown(replace(ENDED, options=orjson.dumps({"response_format": formats})))
    assert found["response_format"] == formats


def test_all_else_is_the_same_in_both_dialects():
    options = orjson.dumps({"tools": [{"type": "google_search"}], "labels": {"a": "b"}, "new": 1})
    found = replace(ENDED, options=options, parent_id="v1_PARENTPARENT")
    one, other = shown(found), orjson.loads(steps.interaction(found, timeline=False))
    changed = {"outputs", "steps", "role", "usage"}
    assert {name: one[name] for name in one if name not in changed} == {
        name: other[name] for name in other if name not in changed
    }


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"steps": [5], "input": "Hello", "usage": None}, {"input": "Hello", "usage": None}),
        ({"steps": "x", "input": [5]}, {"input": [5]}),
        ({"steps": OUTPUT, "new": 1}, {"outputs": OUTPUT, "new": 1}),
    ],
)
def test_what_an_upstream_says_of_the_whole_can_be_anything(said, told):
    assert resource.begun(said) == told
