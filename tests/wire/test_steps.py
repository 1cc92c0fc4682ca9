"""Interactions and events as clients of the steps schema see them."""

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import sse
from app.core import events
from app.core.events import Event
from app.core.model import Interaction
from app.wire import steps as wire
from tests.core.strategies import OBJECTS

INPUT = [{"type": "user_input", "content": [{"type": "text", "text": "Hello"}]}]
OUTPUT = [
    {"type": "thought", "signature": "c2ln"},
    {"type": "model_output", "content": [{"type": "text", "text": "Hi"}]},
]
USAGE = {"total_tokens": 3, "total_input_tokens": 1, "total_output_tokens": 2}
DONE = Interaction(
    id="v1_ABCDEFGHIJKL",
    project_id="prj_secret",
    status="completed",
    created_at=1_790_000_000_999,
    updated_at=1_790_000_061_000,
    model="gemini-3-flash",
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
SHOWN = {
    "id": "v1_ABCDEFGHIJKL",
    "status": "completed",
    "usage": USAGE,
    "created": "2026-09-21T14:13:20Z",
    "updated": "2026-09-21T14:14:21Z",
    "service_tier": "standard",
    "steps": OUTPUT,
    "object": "interaction",
    "model": "gemini-3-flash",
}
CALL = [{"type": "function_call", "id": "c", "name": "f", "arguments": {"a": 1}}]


def shown(found: Interaction, **how):
    return orjson.loads(wire.interaction(found, **{"timeline": False, **how}))


def test_a_post_shows_what_the_model_said():
    assert shown(DONE) == SHOWN


def test_a_get_shows_the_users_part_first():
    assert shown(DONE, timeline=True) == SHOWN | {"steps": INPUT + OUTPUT}


def test_the_input_is_shown_to_whoever_asks():
    found = shown(DONE, timeline=True, include_input=True)
    assert found == SHOWN | {"steps": INPUT + OUTPUT, "input": INPUT}


def test_a_call_for_action():
    found = replace(DONE, status="requires_action", output=orjson.dumps(CALL))
    assert shown(found) == SHOWN | {"status": "requires_action", "steps": CALL}


def test_a_failed_interaction_says_why():
    error = {"code": "api_error", "message": "It broke."}
    found = replace(DONE, status="failed", output=b"[]", details=b"{}", error=orjson.dumps(error))
    expected = SHOWN | {"status": "failed", "steps": INPUT, "errors": [error]}
    assert shown(found, timeline=True) == {
        name: value for name, value in expected.items() if name not in ("usage", "service_tier")
    }


def test_an_upstreams_own_errors_are_shown():
    errors = [{"code": "safety", "message": "No."}, {"code": "spii", "message": "Nor this."}]
    found = replace(DONE, status="failed", details=orjson.dumps({"errors": errors}))
    assert shown(found)["errors"] == errors


def test_a_running_interaction_has_no_answer_yet():
    found = replace(DONE, status="in_progress", output=b"[]", details=b"{}")
    assert shown(found)["steps"] == []
    assert shown(found, timeline=True)["steps"] == INPUT


def test_an_agents_interaction_that_is_not_stored():
    found = shown(replace(DONE, id="", model=None, agent="deep-research"))
    assert "id" not in found
    assert "model" not in found
    assert found["agent"] == "deep-research"


def test_what_was_asked_is_shown_again():
    echoed = {
        "tools": [{"type": "google_search"}],
        "system_instruction": "Be brief.",
        "response_format": {"type": "text"},
        "labels": {"team": "a"},
        "service_tier": "flex",
        "environment": "remote",
        "agent_config": {"type": "dynamic"},
    }
    options = {**echoed, "generation_config": {"seed": 1}, "continuation_token": "secret", "new": 1}
    found = replace(DONE, parent_id="v1_PARENTPARENT", options=orjson.dumps(options))
    expected = SHOWN | echoed | {"previous_interaction_id": "v1_PARENTPARENT", "service_tier": "standard"}
    assert shown(found) == expected


def test_what_the_upstream_says_of_the_whole_is_shown_but_never_instead_of_ours():
    details = {"novelty": 1, "usage": None, "previous_interaction_id": "theirs", "object": "theirs"}
    found = shown(replace(DONE, details=orjson.dumps(details)))
    assert found["novelty"] == 1
    assert found["object"] == "interaction"
    assert "usage" not in found
    assert "previous_interaction_id" not in found


def test_a_summary_has_all_but_the_content():
    assert orjson.loads(wire.summary(DONE)) == {
        name: value for name, value in SHOWN.items() if name != "steps"
    }


def test_nothing_of_the_house_is_shown():
    assert b"prj_secret" not in wire.interaction(DONE, timeline=True, include_input=True)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "1970-01-01T00:00:00Z"), (999, "1970-01-01T00:00:00Z"), (4_102_444_800_000, "2100-01-01T00:00:00Z")],
)
def test_instants_are_whole_seconds_in_utc(milliseconds, text):
    assert wire.instant(milliseconds) == text


WAYS = st.sampled_from([{}, {"indent": 1}, {"separators": (",", ":")}, {"ensure_ascii": False}])
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(OBJECTS, NAMES, WAYS, st.sampled_from(["x_1", None]), st.sampled_from(["", " ", "\n"]))
def test_a_frame_is_the_event_with_our_id_on_one_line(fields, name, way, event_id, space):
    event = events.parse((space + json.dumps({**fields, "event_type": name}, **way) + space).encode())
    expected = {**event.fields, "event_id": event_id}
    if event_id is None:
        del expected["event_id"]
    frame = wire.frame(event, event_id)
    assert frame.count(b"\n") == 3
    assert b"\r" not in frame
    [(told, text)] = sse.Decoder(10_000).feed(frame)
    assert told == name
    assert orjson.loads(text) == expected


@given(OBJECTS, st.sampled_from(["x_1", None]))
def test_the_upstreams_event_id_is_not_told(fields, event_id):
    event = Event("x", {"event_id": "theirs", **fields, "event_type": "x"})
    [(_, text)] = sse.Decoder(10_000).feed(wire.frame(event, event_id))
    assert orjson.loads(text).get("event_id") == event_id


def test_a_line_separator_inside_a_text_does_not_end_the_frame():
    text = '{"event_type":"step.delta","delta":{"text":"a\u2028b\u0085"}}'.encode()
    assert (
        wire.frame(events.parse(text), "x_1")
        == (
            'event: step.delta\ndata: {"event_id":"x_1","event_type":"step.delta",'
            '"delta":{"text":"a\u2028b\u0085"}}\n\n'
        ).encode()
    )


def test_the_text_of_an_event_is_passed_on_as_it_came():
    text = b'{"event_type":"x", "a":1.0, "b":"\\u00e9"}'
    assert wire.frame(events.parse(text), None) == b"event: x\ndata: " + text + b"\n\n"


def test_argument_fragments_are_told_under_both_names():
    event = events.step_delta(1, {"type": "arguments_delta", "arguments": '{"a"'})
    told = wire.for_clients(event)
    assert told.fields["delta"] == {
        "type": "arguments_delta",
        "arguments": '{"a"',
        "partial_arguments": '{"a"',
    }
    assert "partial_arguments" not in event.fields["delta"]


@pytest.mark.parametrize(
    "event",
    [
        events.step_delta(0, {"type": "text", "text": "a"}),
        events.step_delta(0, {"type": "arguments_delta", "arguments": "a", "partial_arguments": "b"}),
        events.step_delta(0, {"type": "arguments_delta"}),
        Event(events.STEP_DELTA, {"delta": None}),
        events.step_stop(0),
    ],
)
def test_all_other_events_are_told_as_they_are(event):
    assert wire.for_clients(event) is event
