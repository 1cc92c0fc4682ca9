"""Streams of the outputs schema: as recorded from the API, and the same from every place on."""

import copy
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import ids, sse
from app.core import events
from app.core.events import BrokenStream, Event
from app.core.fold import Fold
from app.core.unfold import unfold
from app.wire.outputs import content
from app.wire.outputs.translation import Translation
from tests.core.strategies import STEPS, STREAMS
from tests.wire.outputs.conversations import logs
from tests.wire.outputs.reading import (
    CLOSED,
    ID,
    NAMES,
    OPENED,
    accumulated,
    heard,
    stored,
    told,
    told_as_steps,
)

USAGE = {"total_tokens": 112, "total_input_tokens": 54, "total_output_tokens": 15, "total_thought_tokens": 43}
END = {
    "id": "v1_x",
    "status": "completed",
    "usage": USAGE,
    "created": "2026-05-04T18:46:44Z",
    "updated": "2026-05-04T18:46:44Z",
    "service_tier": "standard",
    "object": "interaction",
    "model": "gemini-2.5-flash",
}
BEGUN = {"id": "v1_x", "status": "in_progress", "object": "interaction", "model": "gemini-2.5-flash"}
START = [events.created(BEGUN), events.status_update("v1_x")]
START_FRAMES = (
    "event: interaction.start\n"
    'data: {"interaction":{"id":"v1_x","status":"in_progress","object":"interaction",'
    '"model":"gemini-2.5-flash"},"event_type":"interaction.start"}\n'
    "\n"
    "event: interaction.status_update\n"
    'data: {"interaction_id":"v1_x","status":"in_progress","event_type":"interaction.status_update"}\n'
    "\n"
)
END_FRAMES = (
    "event: interaction.complete\n"
    'data: {"interaction":{"id":"v1_x","status":"STATUS","usage":{"total_tokens":112,"total_input_tokens":54,'
    '"total_output_tokens":15,"total_thought_tokens":43,"total_reasoning_tokens":43},"role":"model",'
    '"created":"2026-05-04T18:46:44Z","updated":"2026-05-04T18:46:44Z","service_tier":"standard",'
    '"object":"interaction","model":"gemini-2.5-flash"},"event_type":"interaction.complete"}\n'
    "\n"
    "event: done\n"
    "data: [DONE]\n"
    "\n"
)
THOUGHT = [
    events.step_start(0, {"type": "thought"}),
    events.step_delta(0, {"signature": "Ct8B", "type": "thought_signature"}),
    events.step_stop(0),
]
THOUGHT_FRAMES = (
    "event: content.start\n"
    'data: {"index":0,"content":{"type":"thought"},"event_type":"content.start"}\n'
    "\n"
    "event: content.delta\n"
    'data: {"index":0,"delta":{"signature":"Ct8B","type":"thought_signature"},"event_type":"content.delta"}\n'
    "\n"
    "event: content.stop\n"
    'data: {"index":0,"event_type":"content.stop"}\n'
    "\n"
)


def unstored(*log: Event) -> str:
    """All that is sent of a run that keeps nothing, so that only what the API sends is in it."""
    return told([b"".join([*stored(log, keep=False), sse.DONE])]).decode()


def test_a_text_is_streamed_as_the_api_did():
    log = [
        *START,
        *THOUGHT,
        events.step_start(1, {"type": "model_output"}),
        events.step_delta(1, {"text": "Iron bleeds ", "type": "text"}),
        events.step_delta(1, {"text": "...", "type": "text"}),
        events.step_stop(1),
        events.completed(END),
    ]
    assert unstored(*log) == START_FRAMES + THOUGHT_FRAMES + (
        "event: content.start\n"
        'data: {"index":1,"content":{"type":"text"},"event_type":"content.start"}\n'
        "\n"
        "event: content.delta\n"
        'data: {"index":1,"delta":{"text":"Iron bleeds ","type":"text"},"event_type":"content.delta"}\n'
        "\n"
        "event: content.delta\n"
        'data: {"index":1,"delta":{"text":"...","type":"text"},"event_type":"content.delta"}\n'
        "\n"
        "event: content.stop\n"
        'data: {"index":1,"event_type":"content.stop"}\n'
        "\n"
    ) + END_FRAMES.replace("STATUS", "completed")


def test_a_function_call_is_streamed_as_the_api_did():
    called = {
        "id": "odkxni2w",
        "signature": "",
        "type": "function_call",
        "name": "getWeather",
        "arguments": {},
    }
    log = [
        *START,
        *THOUGHT,
        events.step_start(1, called),
        events.step_delta(1, {"arguments": '{"location":', "type": "arguments_delta"}),
        events.step_delta(1, {"arguments": '"San Francisco"}', "type": "arguments_delta"}),
        events.step_stop(1),
        events.completed(END | {"status": "requires_action"}),
    ]
    assert unstored(*log) == START_FRAMES + THOUGHT_FRAMES + (
        "event: content.start\n"
        'data: {"index":1,"content":{"id":"odkxni2w","type":"function_call"},"event_type":"content.start"}\n'
        "\n"
        "event: content.delta\n"
        'data: {"index":1,"delta":{"id":"odkxni2w","type":"function_call","name":"getWeather",'
        '"arguments":{"location":"San Francisco"}},"event_type":"content.delta"}\n'
        "\n"
        "event: content.stop\n"
        'data: {"index":1,"event_type":"content.stop"}\n'
        "\n"
    ) + END_FRAMES.replace("STATUS", "requires_action")


def test_an_error_ends_the_stream_without_more():
    log = [*START, events.error("service_unavailable", "High demand.")]
    assert told(stored(log, keep=False)).decode() == START_FRAMES + (
        "event: error\n"
        'data: {"error":{"message":"High demand.","code":"service_unavailable"},"event_type":"error"}\n'
        "\n"
    )


def test_a_search_and_its_citations():
    suggestions = {"search_suggestions": "<div>"}
    citation = {"type": "url_citation", "url": "u", "title": "t"}
    log = [
        events.step_start(1, {"type": "model_output"}),
        events.step_delta(1, {"text": "Geese.", "type": "text"}),
        events.step_start(2, {"id": "7xveqyd2", "signature": "", "type": "google_search_call"}),
        events.step_delta(2, {"type": "google_search_call", "arguments": {"queries": ["q"]}}),
        events.step_stop(2),
        events.step_start(3, {"call_id": "7xveqyd2", "signature": "", "type": "google_search_result"}),
        events.step_delta(3, {"type": "google_search_result", "result": [suggestions], "signature": "s"}),
        events.step_stop(3),
        events.step_delta(1, {"annotations": [citation], "type": "text_annotation_delta"}),
        events.step_stop(1),
    ]
    call = {"id": "7xveqyd2", "type": "google_search_call", "arguments": {"queries": ["q"]}}
    found = {
        "call_id": "7xveqyd2",
        "signature": "s",
        "type": "google_search_result",
        "result": [suggestions | {"rendered_content": "<div>"}],
    }
    text = {"type": "text", "text": "Geese.", "annotations": [citation | {"source": "u"}]}
    for early in (False, True):
        stream = heard(told(stored(log), early=early))
        assert accumulated(stream) == [text, call, found]
        [late] = [e["delta"] for e in stream if e.get("index") == 0 and "annotations" in e.get("delta", {})]
        assert late.get("text") == ("" if early else None)
        assert late["type"] == ("text" if early else "text_annotation")


def test_every_content_of_a_message_has_an_index_of_its_own():
    picture = {"type": "image", "data": "aGk=", "mime_type": "image/png"}
    log = [
        *THOUGHT,
        events.step_start(1, {"type": "model_output"}),
        events.step_delta(1, {"text": "a", "type": "text"}),
        events.step_delta(1, picture),
        events.step_delta(1, {"text": "b", "type": "text"}),
        events.step_stop(1),
        events.step_start(2, {"type": "model_output"}),
        events.step_delta(2, {"text": "c", "type": "text"}),
        events.step_stop(2),
    ]
    stream = heard(told(stored(log)))
    kinds = [
        (event["index"], event["content"]["type"])
        for event in stream
        if event["event_type"] == "content.start"
    ]
    assert kinds == [(0, "thought"), (1, "text"), (2, "image"), (3, "text"), (4, "text")]
    texts = [{"type": "text", "text": letter} for letter in "abc"]
    assert accumulated(stream)[1:] == [texts[0], picture, *texts[1:]]


@pytest.mark.parametrize("kind", ["dream", "retrieval_call", "file_search_call", "google_maps_result"])
def test_what_an_sdk_does_not_know_never_comes_in_a_delta(kind: str):
    step = {
        "type": kind,
        "id": "c",
        "signature": "s",
        "arguments": {"a": 1},
        "content": [{"type": "text", "text": "x"}],
    }
    stream = heard(told(stored(unfold([step])), early=True))
    assert [event["event_type"] for event in stream] == ["content.start", "content.stop"]
    assert stream[0]["content"] == step
    assert accumulated(heard(told(stored(unfold([step]))))) == [step]


def test_events_of_the_future_and_what_the_user_said_are_not_told():
    log = [
        Event("step.merge", {"event_type": "step.merge", "index": 0}),
        Event("interaction.in_progress", {"event_type": "interaction.in_progress"}),
        *unfold([{"type": "user_input", "content": [{"type": "text", "text": "mine"}]}]),
    ]
    assert heard(told(stored(log))) == []


def test_tokens_are_counted_under_both_names_wherever_they_are_told():
    spent = {"total_thought_tokens": 7}
    log = [
        events.created({"id": ID, "usage": spent}),
        Event(
            events.STATUS_UPDATE, {"interaction_id": ID, "usage": spent, "event_type": events.STATUS_UPDATE}
        ),
        events.completed({"id": ID, "usage": spent, "agent": "a"}),
    ]
    start, update, end = heard(told(stored(log)))
    both = {"total_thought_tokens": 7, "total_reasoning_tokens": 7}
    assert start["interaction"]["usage"] == update["usage"] == end["interaction"]["usage"] == both
    assert "role" not in start["interaction"]
    assert end["interaction"]["role"] == "agent"


def test_what_has_not_stopped_is_told_at_an_orderly_end_and_not_at_another():
    call = {"type": "function_call", "id": "c", "name": "f", "arguments": {}}
    log = [
        events.step_start(0, {"type": "model_output", "content": [{"type": "text", "text": "a"}]}),
        events.step_start(1, call),
        events.step_delta(1, {"type": "arguments_delta", "arguments": '{"a":1}'}),
    ]
    stream = heard(told(stored([*log, CLOSED])))
    assert accumulated(stream) == [{"type": "text", "text": "a"}, call | {"arguments": {"a": 1}}]
    broken = heard(told(stored([*log, events.error("aborted", "It died.")])))
    assert not any(event.get("delta", {}).get("type") == "function_call" for event in broken)


def test_a_thought_is_told_in_deltas_however_it_came():
    summary = [{"type": "text", "text": "Hm."}]
    whole = {"type": "thought", "novelty": 1, "summary": summary, "signature": "c2ln"}
    log = [
        events.step_start(0, whole),
        events.step_delta(0, {"type": "thought_summary", "content": summary[0]}),
        events.step_delta(0, {"type": "mood", "mood": "good"}),
        events.step_stop(0),
    ]
    stream = heard(told(stored(log)))
    kinds = [event["delta"]["type"] for event in stream if "delta" in event]
    assert kinds == ["thought_summary", "thought_signature", "thought_summary"]
    assert stream[0]["content"] == {"type": "thought", "novelty": 1}
    assert accumulated(stream) == [{**whole, "summary": summary * 2}]


def test_a_text_that_a_message_begins_with_goes_on():
    begun = {
        "type": "model_output",
        "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    }
    log = [
        events.step_start(0, begun),
        events.step_delta(0, {"type": "text", "text": "c"}),
        events.step_stop(0),
    ]
    stream = heard(told(stored(log)))
    assert [output["text"] for output in accumulated(stream)] == ["a", "bc"]


def test_what_belongs_to_a_message_as_a_whole_is_not_told():
    log = [
        events.step_start(0, {"type": "model_output"}),
        events.step_delta(0, {"type": "thought_signature", "signature": "s"}),
        events.step_delta(0, {"type": "arguments_delta", "arguments": "{}"}),
        events.step_stop(0),
    ]
    assert heard(told(stored(log))) == []


def test_what_the_user_says_while_it_streams_is_not_told():
    log = [
        events.step_start(0, {"type": "user_input"}),
        events.step_delta(0, {"type": "text", "text": "mine"}),
        events.step_stop(0),
    ]
    assert heard(told(stored(log))) == []


def test_an_event_that_makes_no_sense_does_not_end_the_stream():
    call = {"type": "function_call", "id": "c", "name": "f"}
    log = [
        events.step_start(0, call),
        events.step_delta(0, {"type": "arguments_delta", "arguments": "{"}),
        events.step_stop(0),
        events.step_stop(0),
        events.step_delta(7, {"type": "text", "text": "x"}),
        CLOSED,
    ]
    stream = heard(told(stored(log)))
    assert [event["event_type"] for event in stream] == ["content.start", "interaction.complete"]


def test_a_stream_shows_that_it_lives_also_while_there_is_nothing_to_tell():
    frames = stored([*OPENED, CLOSED])
    raw = told([sse.KEEP_ALIVE, *frames, sse.KEEP_ALIVE, sse.DONE], after=ids.event_id(ID, 2))
    assert raw.startswith(sse.KEEP_ALIVE * 3 + b"event: interaction.complete\n")
    assert raw.endswith(b"\n\n" + sse.KEEP_ALIVE + sse.DONE)
    call = events.step_start(0, {"type": "function_call", "id": "c", "name": "f"})
    more = events.step_delta(0, {"type": "arguments_delta", "arguments": "{"})
    assert told(stored([call, more, more])).endswith(b"}\n\n" + sse.KEEP_ALIVE * 2)


def test_an_end_that_is_not_stored_is_told_to_everybody():
    last = stored([events.error("unavailable", "No database.")], keep=False)
    raw = told([*stored(OPENED), *last], after=ids.event_id(ID, 2))
    [event] = heard(raw)
    assert event["error"]["message"] == "No database."
    assert "event_id" not in event


@given(logs(), st.booleans())
def test_a_stream_put_together_is_the_answer(log, early):
    answer, stream = log
    before = copy.deepcopy(stream)
    raw = told([*stored([*OPENED, *stream, CLOSED]), sse.DONE], early=early)
    assert raw.endswith(sse.DONE)
    said = heard(raw)
    assert {event["event_type"] for event in said} <= NAMES
    assert accumulated(said) == content.outputs(answer)
    assert [event.fields for event in stream] == [event.fields for event in before]


@given(logs())
def test_both_dialects_say_the_same(log):
    answer, stream = log
    outputs = accumulated(heard(told(stored([*OPENED, *stream, CLOSED]))))
    fold = Fold()
    for frame in sse.Decoder(2**30).feed(b"".join(stored([*OPENED, *stream, CLOSED]))):
        fold.add(events.parse(frame.data, frame.event))
    assert fold.steps() == answer
    texts = [
        item["text"]
        for step in answer
        for item in step.get("content", [])
        if isinstance(item, dict) and "text" in item
    ]
    assert [output["text"] for output in outputs if output["type"] == "text"] == texts
    calls = [step for step in answer if step["type"] == "function_call"]
    assert [output for output in outputs if output["type"] == "function_call"] == calls


@given(logs(), st.booleans(), st.data())
def test_a_stream_is_the_same_from_every_event_on(log, early, data):
    log = [*OPENED, *log[1], CLOSED]
    frames = [*stored(log), sse.DONE]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(frames)), max_size=3)) | {0, len(frames)})
    chunks = [b"".join(frames[start:end]) for start, end in pairwise(cuts)]
    whole = heard(told(frames, early=early))
    assert len({event["event_id"] for event in whole}) == len(whole)
    for seen, event in enumerate(whole, 1):
        assert heard(told(chunks, event["event_id"], early=early)) == whole[seen:]
    for seq in range(1, len(log) + 1):  # whatever the other dialect saw last
        event_id = ids.event_id(ID, seq)
        rest = heard(told(chunks, event_id, early=early))
        assert rest == whole[len(whole) - len(rest) :]
        behind = {ids.event_id(ID, later) for later in range(seq + 1, len(log) + 1)}
        assert {event["event_id"].removeprefix(ID[-8:]).partition("-")[0] for event in rest} <= {
            one.removeprefix(ID[-8:]) for one in behind
        }


@given(logs())
def test_a_client_of_the_other_dialect_gets_the_whole_of_an_event_that_was_half_told(log):
    frames = stored([*OPENED, *log[1], CLOSED])
    for event in heard(told(frames)):
        place = ids.place(ID, event["event_id"])
        assert place is not None
        assert told_as_steps(frames, event["event_id"]) == b"".join(frames[place.seq :])


@given(STREAMS, st.booleans())
def test_whatever_a_run_takes_in_can_be_told(stream, early):
    fold, translation = Fold(), Translation(early=early)
    for event in stream:
        if event.type == events.CREATED and not isinstance(event.fields.get("interaction"), dict):
            continue  # a run puts its own
        event.fields["event_type"] = event.type
        try:
            fold.add(event)
        except BrokenStream:
            continue
        if fold.ended:
            break
        assert all(one.type in NAMES and json.loads(one.json()) for one in translation.add(event))
    assert translation.add(CLOSED)[-1].type == "interaction.complete"


@given(st.lists(STEPS, max_size=4), st.booleans())
def test_whatever_steps_there_are_they_can_be_told(answer, early):
    said = heard(told(stored([*OPENED, *unfold(answer), CLOSED]), early=early))
    assert {event["event_type"] for event in said} <= NAMES
    outputs = content.outputs(answer)
    if all(isinstance(one.get("text"), str) for one in outputs if one.get("type") == "text"):
        assert accumulated(said) == outputs
