"""The two laws of the core: folding undoes unfolding, and folding is total."""

import copy
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core import events
from app.core.events import BrokenStream, Event
from app.core.fold import Fold
from app.core.model import Json
from app.core.unfold import unfold, whole
from tests.core.strategies import DELTAS, ENDS, JSON, OBJECTS, STEPS, STREAMS


def exactly(value: Any) -> bytes:
    """As JSON text: unlike ==, it tells 1 from True and from 1.0."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def folded(stream: Any) -> Fold:
    fold = Fold()
    for event in stream:
        fold.add(event)
    return fold


def pieces(text: str, cuts: list[int]) -> list[str]:
    """The text cut at these places."""
    return [text[a:b] for a, b in pairwise([0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)])]


def deltas(step: Json, *said: Json) -> list[Event]:
    return [
        events.step_start(0, step),
        *(events.step_delta(0, delta) for delta in said),
        events.step_stop(0),
    ]


@given(st.lists(STEPS, max_size=4))
@example([{"type": "model_output", "content": [{"type": "text", "text": ""}]}])
@example(
    [{"type": "model_output", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
)
@example([{"type": "thought", "summary": [], "signature": None}])
@example([{"type": "function_call", "id": "c", "name": "f", "arguments": {"a": {"b": [1.0, True, None]}}}])
def test_folding_undoes_unfolding(steps):
    before = copy.deepcopy(steps)
    assert exactly(folded(unfold(steps)).steps()) == exactly(steps)
    assert exactly(steps) == exactly(before)


@given(st.lists(STEPS, max_size=4))
def test_whole_steps_fold_to_the_same_as_streamed_ones(steps):
    coarse = folded(event for index, step in enumerate(steps) for event in whole(index, step))
    assert exactly(coarse.steps()) == exactly(folded(unfold(steps)).steps())


@given(st.lists(STEPS, max_size=4))
def test_a_stream_survives_the_way_over_the_wire(steps):
    said = [events.parse(event.json()) for event in unfold(steps)]
    assert exactly(folded(said).steps()) == exactly(steps)


def test_what_the_api_streams_is_unfolded_as_it_streams():
    steps: list[Json] = [
        {
            "type": "thought",
            "summary": [{"type": "text", "text": "Hm."}, {"type": "text", "text": "Well."}],
            "signature": "c2ln",
        },
        {"type": "function_call", "id": "c1", "name": "f", "arguments": {"a": 1}},
        {
            "type": "model_output",
            "content": [
                {"type": "text", "text": "See", "annotations": [{"type": "url_citation", "url": "u"}]},
                {"type": "image", "data": "aGk=", "mime_type": "image/png"},
            ],
        },
    ]
    told = [event.fields["delta"] for event in unfold(steps) if event.type == events.STEP_DELTA]
    assert told == [
        {"type": "thought_summary", "content": {"type": "text", "text": "Hm."}},
        {"type": "thought_summary", "content": {"type": "text", "text": "Well."}},
        {"type": "thought_signature", "signature": "c2ln"},
        {"type": "arguments_delta", "arguments": '{"a":1}'},
        {"type": "text", "text": "See"},
        {"type": "text_annotation_delta", "annotations": [{"type": "url_citation", "url": "u"}]},
        {"type": "image", "data": "aGk=", "mime_type": "image/png"},
    ]


@given(STREAMS)
def test_folding_is_total_and_leaves_the_events_as_they_were(stream):
    before = copy.deepcopy(stream)
    fold, complaints = Fold(), []
    for event in stream:
        try:
            fold.add(event)
        except BrokenStream as broken:
            complaints.append((event.type, str(broken)))
    fold.steps()
    assert all(f"({kind}): " in complaint for kind, complaint in complaints)
    assert [event.fields for event in stream] == [event.fields for event in before]


@given(st.sampled_from(["model_output", "function_result", "thought", "x"]), st.lists(DELTAS, max_size=6))
@example("x", [{"type": "text", "text": "a"}, {"type": "y", "content": 5}])
@example("x", [{"type": "y", "content": [{"type": "text", "text": ""}]}, {"type": "text", "text": "a"}])
def test_no_delta_breaks_more_than_its_own_stream(kind, said):
    stream = deltas({"type": kind}, *said)
    before = copy.deepcopy(stream)
    fold = Fold()
    try:
        for event in stream:
            fold.add(event)
    except BrokenStream:
        pass
    [step] = fold.steps()
    assert step["type"] == kind
    assert [event.fields for event in stream] == [event.fields for event in before]


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_a_text_is_the_same_however_it_is_cut(text, cuts):
    stream = deltas(
        {"type": "model_output"}, *({"type": "text", "text": part} for part in pieces(text, cuts))
    )
    assert folded(stream).steps() == [{"type": "model_output", "content": [{"type": "text", "text": text}]}]


@given(
    OBJECTS, st.lists(st.integers(0, 200), max_size=8), st.sampled_from(["arguments", "partial_arguments"])
)
def test_arguments_are_the_same_however_they_are_cut(arguments, cuts, name):
    text = orjson.dumps(arguments).decode()
    said = ({"type": "arguments_delta", name: part} for part in pieces(text, cuts))
    stream = deltas({"type": "function_call", "name": "f", "arguments": {}}, *said)
    assert exactly(folded(stream).steps()[0]["arguments"]) == exactly(arguments)


def test_a_call_without_arguments_has_empty_ones():
    stream = deltas({"type": "function_call", "name": "f"}, {"type": "arguments_delta", "arguments": ""})
    assert folded(stream).steps() == [{"type": "function_call", "name": "f", "arguments": {}}]


def test_text_after_another_content_is_a_content_of_its_own():
    said: list[Json] = [
        {"type": "text", "text": "a"},
        {"type": "image", "data": "aGk="},
        {"type": "text", "text": "b"},
        {"type": "text", "text": "c", "mood": "calm", "annotations": [{"start_index": 0}]},
        {"type": "text_annotation_delta", "annotations": [{"start_index": 1}]},
        {"type": "hologram", "beam": 1},
    ]
    assert folded(deltas({"type": "model_output"}, *said)).steps()[0]["content"] == [
        {"type": "text", "text": "a"},
        {"type": "image", "data": "aGk="},
        {
            "type": "text",
            "text": "bc",
            "mood": "calm",
            "annotations": [{"start_index": 0}, {"start_index": 1}],
        },
        {"type": "hologram", "beam": 1},
    ]


def test_text_joins_the_content_that_came_with_the_start():
    start = {"type": "model_output", "content": [{"type": "text", "text": "a"}]}
    stream = deltas(start, {"type": "text", "text": "b"})
    assert folded(stream).steps() == [{"type": "model_output", "content": [{"type": "text", "text": "ab"}]}]
    assert start == {"type": "model_output", "content": [{"type": "text", "text": "a"}]}


def test_a_tool_delta_sets_the_fields_of_its_step():
    stream = deltas(
        {"type": "google_search_call", "id": "s", "signature": ""},
        {"type": "google_search_call", "arguments": {"queries": ["q"]}, "signature": "c2ln"},
    )
    assert folded(stream).steps() == [
        {"type": "google_search_call", "id": "s", "signature": "c2ln", "arguments": {"queries": ["q"]}}
    ]


def test_content_begins_with_the_first_step():
    fold = folded([events.created({}), events.status_update("v1_x")])
    assert not fold.has_content
    fold.add(events.step_start(0, {"type": "model_output"}))
    assert fold.has_content


def test_steps_come_in_the_order_of_their_indexes():
    stream = [events.step_start(7, {"type": "b"}), events.step_start(2, {"type": "a"})]
    assert [step["type"] for step in folded(stream).steps()] == ["a", "b"]


def test_steps_that_never_stopped_keep_what_was_said_but_no_half_arguments():
    stream = [
        events.step_start(0, {"type": "model_output"}),
        events.step_delta(0, {"type": "text", "text": "Hel"}),
        events.step_start(1, {"type": "function_call", "name": "f", "arguments": {}}),
        events.step_delta(1, {"type": "arguments_delta", "arguments": '{"a":'}),
        events.error("api_error", "gone"),
    ]
    fold = folded(stream)
    assert fold.status == "failed"
    assert fold.steps() == [
        {"type": "model_output", "content": [{"type": "text", "text": "Hel"}]},
        {"type": "function_call", "name": "f", "arguments": {}},
    ]


@given(STREAMS, ENDS, STREAMS)
def test_a_stream_ends_once_and_what_follows_is_not_part_of_it(before, end, after):
    fold = Fold()
    for event in [*before, end]:
        try:
            fold.add(event)
        except BrokenStream:
            continue
    if not fold.ended:
        return
    seen = exactly([fold.status, fold.details, fold.error, fold.steps()])
    for event in after:
        fold.add(event)
    assert exactly([fold.status, fold.details, fold.error, fold.steps()]) == seen


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("completed", "completed"),
        ("requires_action", "requires_action"),
        ("incomplete", "incomplete"),
        ("cancelled", "cancelled"),
        ("budget_exceeded", "budget_exceeded"),
        ("a_word_of_2031", "a_word_of_2031"),
        ("in_progress", "completed"),
        ("queued", "completed"),
        (None, "completed"),
        (5, "completed"),
    ],
)
def test_an_orderly_end_has_the_status_that_was_said(said, status):
    fold = folded([events.completed({"status": said, "id": "v1_theirs", "usage": {"total_tokens": 3}})])
    assert (fold.status, fold.ended, fold.error) == (status, True, None)
    assert fold.details == {"usage": {"total_tokens": 3}}


def test_a_stream_of_nothing_but_an_end_takes_the_steps_that_it_brings():
    steps = [{"type": "model_output", "content": []}]
    assert folded([events.completed({"steps": steps})]).steps() == steps
    streamed = [*whole(0, {"type": "thought"}), events.completed({"steps": []})]
    assert folded(streamed).steps() == [{"type": "thought"}]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "aborted", "message": "m"}, {"code": "aborted", "message": "m"}),
        ({"code": 8, "message": "m", "details": []}, {"code": "8", "message": "m", "details": []}),
        (None, {"code": "api_error", "message": "The upstream ended the stream with an error."}),
    ],
)
def test_a_disorderly_end_has_a_code_and_a_message(error, expected):
    fold = folded([Event(events.ERROR, {"error": error})])
    assert (fold.status, fold.ended, fold.error) == ("failed", True, expected)


def test_details_gather_what_is_said_of_the_whole():
    fold = folded(
        [
            Event(
                events.STATUS_UPDATE,
                {"interaction_id": "v1_x", "status": "in_progress", "usage": {"total_tokens": 1}},
            ),
            events.completed(
                {"usage": {"total_tokens": 2}, "service_tier": "flex", "model": "m", "new": None}
            ),
        ]
    )
    assert fold.details == {"usage": {"total_tokens": 2}, "service_tier": "flex", "new": None}


START = events.step_start(0, {"type": "model_output"})


@pytest.mark.parametrize(
    ("stream", "complaint"),
    [
        ([events.step_start(True, {"type": "a"})], "event 1 (step.start): no index"),
        ([events.step_start(-1, {"type": "a"})], "event 1 (step.start): no index"),
        ([events.step_start(0, {})], "event 1 (step.start): no step with a type"),
        ([START, START], "event 2 (step.start): step 0 has already started"),
        ([events.step_delta(3, {"type": "text"})], "event 1 (step.delta): step 3 has not started"),
        (
            [START, events.step_stop(0), events.step_stop(0)],
            "event 3 (step.stop): step 0 has already stopped",
        ),
        ([START, events.step_delta(0, {})], "event 2 (step.delta): no delta with a type"),
        ([START, events.step_delta(0, {"type": "text"})], "event 2 (step.delta): a text delta without text"),
        *(
            ([START, events.step_delta(0, delta)], f"event 2 (step.delta): {complaint}")
            for delta, complaint in (
                ({"type": "text", "text": "a", "annotations": {}}, "annotations that are not a list"),
                ({"type": "text_annotation_delta"}, "annotations that are not a list"),
                ({"type": "thought_summary"}, "a thought_summary delta without content"),
                ({"type": "arguments_delta", "arguments": {}}, "an arguments_delta without arguments"),
            )
        ),
        ([Event(events.COMPLETED, {})], "event 1 (interaction.completed): no interaction"),
        ([events.completed({"steps": [5]})], "event 1 (interaction.completed): no step with a type"),
    ],
)
def test_a_broken_stream_says_what_and_where(stream, complaint):
    with pytest.raises(BrokenStream) as broken:
        folded(stream)
    assert str(broken.value) == complaint


@pytest.mark.parametrize("arguments", ['{"a":', "[1]", "nonsense"])
def test_arguments_must_be_an_object(arguments):
    call = {"type": "function_call", "name": "f"}
    with pytest.raises(BrokenStream, match="the arguments of 'f' are not"):
        folded(deltas(call, {"type": "arguments_delta", "arguments": arguments}))


@given(OBJECTS | JSON, st.text(max_size=8))
@example({"event_type": None}, "x")
@example({"event_type": ""}, "x")
def test_parsing_an_event_gives_an_event_with_a_type_or_a_complaint(value, name):
    text = orjson.dumps(value)
    try:
        event = events.parse(text, name)
    except BrokenStream:
        return
    assert event.type
    assert event.fields["event_type"] == event.type
    assert orjson.loads(event.json()) == event.fields
    assert b"\n" not in event.json()


@pytest.mark.parametrize(
    "text", [b"", b"[DONE]", b"5", b"{}", b'{"event_type":5}', b'{"event_type":"a"', b"\xff"]
)
def test_what_is_no_event_is_a_broken_stream(text):
    with pytest.raises(BrokenStream):
        events.parse(text)


@pytest.mark.parametrize("kind", ["a\nb", "a\r", "a\u2028b"])
def test_an_event_type_that_would_break_its_frame_is_refused(kind):
    with pytest.raises(BrokenStream):
        events.parse(orjson.dumps({"event_type": kind}))


def test_an_event_of_several_lines_is_told_on_one():
    event = events.parse(b'{\n "event_type": "a",\r\n "b": "\\n"}')
    assert event.json() == b'{"event_type":"a","b":"\\n"}'


def test_the_text_of_an_event_is_kept_as_it_came():
    text = b'{ "b":1.0,"a":"\\u00e9", "event_type":"x" }'
    assert events.parse(text).json() == text
