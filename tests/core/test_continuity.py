"""A run that is heard through several streams is told once, whatever they repeat."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import event as noted
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core import events
from app.core.continuity import Continuity
from app.core.events import Event
from app.core.fold import Fold
from app.core.unfold import unfold, whole

CREATED = events.created({"id": "v1_there"})
RUNNING = events.status_update("v1_there")
END = events.completed({"id": "v1_there", "status": "completed", "usage": {"total_tokens": 1}})


def folded(said: list[Event]) -> Fold:
    fold = Fold()
    for each in said:
        fold.add(each)
    return fold


def told(continuity: Continuity, stream: list[Event]) -> list[Event]:
    return [new for each in stream for new in continuity.take(each)]


def kinds(said: list[Event]) -> list[str]:
    return [each.type.partition(".")[2] or each.type for each in said]


def text(index: int, *said: str, ids: bool = True) -> list[Event]:
    made = [events.step_delta(index, {"text": each, "type": "text"}) for each in said]
    for place, each in enumerate(made):
        if ids:
            each.fields["event_id"] = f"{index}_text_{place}"
    return made


def thought(index: int, signature: str, *summary: str) -> list[Event]:
    return [
        events.step_start(index, {"type": "thought"}),
        *(
            events.step_delta(index, {"content": {"text": each, "type": "text"}, "type": "thought_summary"})
            for each in summary
        ),
        events.step_delta(index, {"signature": signature, "type": "thought_signature"}),
        events.step_stop(index),
    ]


def answer(index: int, *said: str) -> list[Event]:
    return [events.step_start(index, {"type": "model_output"}), *text(index, *said), events.step_stop(index)]


def moved(stream: list[Event], by: int) -> list[Event]:
    """The same under other indices, as Google's resume tells it again."""
    return [
        Event(each.type, {**each.fields, "index": each.fields["index"] + by})
        if "index" in each.fields
        else each
        for each in stream
    ]


# Property: whatever the streams are, what is told in all is what the run said


@st.composite
def outputs(draw: st.DrawFn, number: int) -> list[Event]:
    """A step in the way of a live stream; the number makes it one of its kind."""
    kind = draw(st.sampled_from(["thought", "text", "rich", "call", "tool", "whole"]))
    words = draw(st.lists(st.text("ab \n", min_size=1, max_size=4), min_size=1, max_size=5))
    mark = f"{number}."
    if kind == "thought":
        return thought(0, f"s{mark}", *draw(st.permutations([mark, *words])))
    if kind == "text":
        return answer(0, *draw(st.permutations([mark, *words])))
    if kind == "rich":
        more: list[dict[str, Any]] = [
            {"type": "image", "data": mark},
            {"annotations": [{"type": "url_citation", "url": mark}], "type": "text_annotation_delta"},
            {"annotations": [{"type": "url_citation", "url": "u"}], "type": "text_annotation_delta"},
        ]
        said = [{"text": each, "type": "text"} for each in words]
        parts: list[dict[str, Any]] = [said[0], *draw(st.permutations([*said[1:], *more]))]
        deltas = [events.step_delta(0, part) for part in parts]
        return [events.step_start(0, {"type": "model_output"}), *deltas, events.step_stop(0)]
    if kind == "call":
        arguments = f'{{"mark": "{mark}", "words": "{"".join(words).strip()}"}}'.replace("\n", " ")
        cuts = draw(st.lists(st.integers(1, len(arguments) - 1), max_size=3))
        parts = [{"arguments": each, "type": "arguments_delta"} for each in _pieces(arguments, cuts)]
        shell = {"id": mark, "signature": "", "type": "function_call", "name": "f", "arguments": {}}
        deltas = [events.step_delta(0, part) for part in parts]
        return [events.step_start(0, shell), *deltas, events.step_stop(0)]
    if kind == "tool":
        shell = {"call_id": mark, "signature": "", "type": "google_search_result"}
        delta = {"type": "google_search_result", "signature": "c2ln", "result": [{"words": words}]}
        return [events.step_start(0, shell), events.step_delta(0, delta), events.step_stop(0)]
    return whole(0, {"type": "model_output", "content": [{"type": "text", "text": mark + words[0]}]})


def _pieces(said: str, cuts: list[int]) -> list[str]:
    return [said[a:b] for a, b in pairwise([0, *sorted(set(cuts)), len(said)])]


@st.composite
def runs(draw: st.DrawFn, ids: str) -> list[Event]:
    """Everything that a run says; ids on all events, on texts, or on none."""
    said = [CREATED, RUNNING]
    for number in range(draw(st.integers(1, 4))):
        said += moved(draw(outputs(number)), number)
        if draw(st.integers(0, 4)) == 0:
            said.append(Event("status.note", {"event_type": "status.note", "number": number}))
    said.append(END)
    made = []
    for place, each in enumerate(said):
        fields = {name: value for name, value in each.fields.items() if name != "event_id"}
        is_text = fields.get("delta", {}).get("type") == "text"
        if ids == "all" or (ids == "texts" and is_text):
            fields["event_id"] = f"e{place}"
        made.append(Event(each.type, fields))
    return made


@st.composite
def rechunked(draw: st.DrawFn, said: list[Event]) -> list[Event]:
    """The same in other deltas: texts and arguments merged, or cut smaller."""
    merge = draw(st.booleans())
    made: list[Event] = []
    for each in said:
        name = {"text": "text", "arguments_delta": "arguments"}.get(each.fields.get("delta", {}).get("type"))
        if name is None:
            made.append(each)
            continue
        last = made[-1].fields if made else {}
        if (
            merge
            and last.get("index") == each.fields["index"]
            and each.fields["delta"].keys() == last.get("delta", {}).keys()
        ):
            delta = {**each.fields["delta"], name: last["delta"][name] + each.fields["delta"][name]}
            made[-1] = Event(each.type, {**each.fields, "delta": delta})
            continue
        value = each.fields["delta"][name]
        cuts = (
            draw(st.lists(st.integers(1, len(value) - 1), max_size=2)) if len(value) > 1 and not merge else []
        )
        parts = [
            Event(each.type, {**each.fields, "delta": {**each.fields["delta"], name: part}})
            for part in _pieces(value, cuts)
        ]
        for part in parts[:-1]:
            part.fields.pop("event_id", None)
        made += parts
    return made


@st.composite
def retold(draw: st.DrawFn, run: list[Event], reached: int, base: int) -> list[Event]:
    """Another stream of this run, of which a client has heard so many events."""
    modes = ["behind", "repeat", "start", "again", "resource"]
    marks = [place for place in range(reached) if "event_id" in run[place].fields]
    mode = draw(st.sampled_from(modes if marks else ["start", "resource"]))
    noted(mode)
    if mode == "behind":
        return run[marks[-1] + 1 :]
    if mode == "repeat":
        return draw(rechunked(run[marks[-1] + 1 :]))
    if mode == "start":
        return draw(rechunked(run))
    if mode == "again":
        last = run[marks[-1]].fields.get("index", 0)
        stops = [events.step_stop(last)] if "delta" in run[marks[-1]].fields else []
        return [*stops, *moved(draw(rechunked(run[2:-1])), base), END]
    return [CREATED, *unfold(folded(run).steps()), END]


@pytest.mark.parametrize("ids", ["all", "texts", "none"])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_told_is_what_the_run_said(ids, data):
    run = data.draw(runs(ids))
    continuity, out = Continuity(), []
    stream, base, reached = run, 0, 0
    for _ in range(data.draw(st.integers(1, 4))):
        cut = data.draw(st.integers(0, len(stream)))
        for each in stream[:cut]:
            out += continuity.take(each)
        ids_told = [each.fields["event_id"] for each in out if "event_id" in each.fields]
        reached = max(
            [0, *(n + 1 for n, each in enumerate(run) if each.fields.get("event_id") in ids_told[-1:])]
        )
        if out and out[-1].type == events.COMPLETED:
            break
        continuity.reconnected()
        base += 10
        stream = data.draw(retold(run, reached, base))
    else:
        out += told(continuity, stream)
    must_be_told_once(out, run)


def must_be_told_once(out: list[Event], run: list[Event]) -> None:
    assert folded(out).steps() == folded(run).steps()
    assert folded(out).details == folded(run).details
    assert [each.type for each in out].count(events.CREATED) == 1
    assert [each.type for each in out].count(events.STATUS_UPDATE) <= 1
    notes = [each.fields["number"] for each in out if each.type == "status.note"]
    assert notes == sorted(set(notes))
    assert out[0].type == events.CREATED
    assert out[-1].type == events.COMPLETED
    starts = [each.fields["index"] for each in out if each.type == events.STEP_START]
    assert starts == list(range(len(starts)))


# What the streams of real upstreams have been seen to do


def began(*streams: list[Event]) -> tuple[Continuity, list[Event]]:
    """A run of which all this has been told by its first stream."""
    continuity = Continuity()
    out = told(continuity, [CREATED, RUNNING, *(each for stream in streams for each in stream)])
    continuity.reconnected()
    return continuity, out


def test_a_resume_that_tells_all_again_adds_nothing():
    run = [*thought(0, "s"), *answer(1, "Hello ", "world")]
    continuity, out = began(run[:-1])
    out += told(continuity, [run[-1], *moved(run, 2), END])
    assert kinds(out) == kinds([CREATED, RUNNING, *run, END])
    assert folded(out).steps() == folded(run).steps()


def test_a_step_that_is_told_again_goes_on_where_it_stopped():
    continuity, out = began(thought(0, "s"), answer(1, "Hello ")[:-1])
    stop = events.step_stop(1)
    assert told(continuity, [stop, *moved([*thought(0, "s"), *answer(1, "Hello ")[:-1]], 2)]) == []
    more = [*text(3, "world"), events.step_stop(3), *thought(4, "t"), END]
    out += told(continuity, more)
    assert (
        folded(out).steps() == folded([*thought(0, "s"), *answer(1, "Hello world"), *thought(2, "t")]).steps()
    )
    assert [each.fields["index"] for each in out if each.type == events.STEP_START] == [0, 1, 2]


def test_a_new_step_that_begins_like_an_old_one_is_told_when_it_differs():
    continuity, _ = began(thought(0, "s", "Hm."), answer(1, "Yes."))
    start, same, other, stop = moved(thought(0, "other", "Hm."), 2)
    assert told(continuity, [start, same]) == []
    assert continuity.take(other) == [start, same, other]
    assert continuity.take(stop) == [stop]


def test_the_same_step_once_more_is_a_new_one_when_the_rest_does_not_follow():
    continuity, _ = began(answer(0, "Searching"), answer(1, "Found."))
    again = answer(2, "Searching")
    assert told(continuity, again) == []
    assert told(continuity, [END]) == [*again, END]


def test_half_told_arguments_go_on_in_whatever_spaces():
    call = {"id": "c", "signature": "", "type": "function_call", "name": "f", "arguments": {}}
    half = events.step_delta(0, {"arguments": '{"a": "b c", "d', "type": "arguments_delta"})
    continuity, out = began([events.step_start(0, call), half])
    whole_call = {**call, "arguments": {"a": "b c", "d": 1}}
    out += told(continuity, [CREATED, *unfold([whole_call]), END])
    assert folded(out).steps() == [whole_call]


def test_a_resource_in_another_order_is_recognised():
    found = whole(0, {"type": "google_search_result", "call_id": "c", "result": [1]})
    continuity, out = began(answer(0, "Hello"), moved(found, 1))
    out += told(continuity, [CREATED, *found, *moved(answer(0, "Hello"), 1), END])
    assert kinds(out).count("start") == 2


def test_stored_events_with_other_ids_are_recognised():
    continuity, _ = began(
        [Event(each.type, {**each.fields, "event_id": "ours"}) for each in answer(0, "a", "b")[:-1]]
    )
    assert kinds(told(continuity, [CREATED, *answer(0, "ab", "c"), END])) == ["delta", "stop", "completed"]


def test_what_makes_no_sense_is_left_to_the_fold():
    continuity, _ = began(answer(0, "a"))
    unsound: tuple[dict[str, Any], ...] = (
        {},
        {"index": []},
        {"index": 1, "step": 2},
        {"index": 1, "delta": {"type": 1}},
    )
    for fields in unsound:
        for kind in (events.STEP_START, events.STEP_DELTA, events.STEP_STOP):
            continuity.take(Event(kind, fields))


def test_the_first_stream_is_passed_on_as_it_is():
    continuity, run = Continuity(), [CREATED, RUNNING, *answer(0, "a"), END]
    assert all(continuity.take(each) == [each] for each in run)
