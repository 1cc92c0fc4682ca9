"""Steps as contents and back: what the loss table does not name, comes back as it was."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.model import Json
from app.wire.outputs import content
from app.wire.outputs.request import request
from tests.core.strategies import STEPS
from tests.wire.outputs.conversations import ANSWERS, INPUTS

TEXT = {"type": "text", "text": "Hi"}
IMAGE = {"type": "image", "data": "aGk=", "mime_type": "image/png"}
THOUGHT = {"type": "thought", "signature": "c2ln"}
CALL = {"type": "function_call", "id": "c", "name": "f", "arguments": {}}
RESULT = {"type": "function_result", "call_id": "c", "name": "f", "result": {"a": 1}}
CITED = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 2}


def user(*items: Json) -> Json:
    return {"type": "user_input", "content": list(items)}


def model(*items: Json) -> Json:
    return {"type": "model_output", "content": list(items)}


def sent_back(given_: object) -> list[Json]:
    """The steps that an `input` is taken for."""
    return request({"model": "m", "input": given_}).input


def test_each_content_of_a_message_is_an_output_and_every_other_step_is_one():
    steps = [user(TEXT), THOUGHT, model(TEXT, IMAGE), CALL, {"type": "dream", "x": 1}, model()]
    assert content.outputs(steps) == [THOUGHT, TEXT, IMAGE, CALL, {"type": "dream", "x": 1}]


@pytest.mark.parametrize("items", [None, "text", 5, {}, [5, None, "text"]])
def test_what_is_no_list_of_contents_is_no_output(items):
    assert content.outputs([{"type": "model_output", "content": items}]) == []


INPUT_FORMS = {
    "one message": ([user(TEXT, IMAGE)], [TEXT, IMAGE]),
    "a result": ([RESULT], [RESULT]),
    "messages around a result": ([user(TEXT), RESULT, user(IMAGE)], [TEXT, RESULT, IMAGE]),
    "two messages": ([user(TEXT), user(TEXT)], [{"role": "user", "content": [TEXT]}] * 2),
    "an empty message": ([user()], [{"role": "user", "content": []}]),
    "a content of the future": (
        [user({"type": "smell"})],
        [{"role": "user", "content": [{"type": "smell"}]}],
    ),
    "a conversation": (
        [user(TEXT), THOUGHT, model(TEXT), CALL, RESULT, model(TEXT), model(IMAGE)],
        [
            {"role": "user", "content": [TEXT]},
            {"role": "model", "content": [THOUGHT, TEXT, CALL]},
            {"role": "user", "content": [RESULT]},
            {"role": "model", "content": [TEXT]},
            {"role": "model", "content": [IMAGE]},
        ],
    ),
    "what else a message says": (
        [model(TEXT) | {"error": {"code": 8}}, CALL],
        [{"role": "model", "content": [TEXT], "error": {"code": 8}}, {"role": "model", "content": [CALL]}],
    ),
    "nothing": ([], []),
}


@pytest.mark.parametrize(("steps", "told"), INPUT_FORMS.values(), ids=INPUT_FORMS.keys())
def test_an_input_is_shown_as_contents_or_as_turns(steps, told):
    assert content.given(steps) == told
    if steps:
        assert sent_back(told) == steps


@given(INPUTS)
def test_an_input_that_was_shown_and_is_sent_again_is_the_same(steps):
    before = copy.deepcopy(steps)
    assert sent_back(content.given(steps)) == steps == before


@given(ANSWERS)
def test_an_answer_that_is_sent_back_as_a_turn_is_the_same(answer):
    """But for messages side by side, which become one, and steps of types that nobody knows."""
    known = [step for step in answer if step["type"] != "dream"]
    apart = [
        step
        for place, step in enumerate(known)
        if place == 0 or {step["type"], known[place - 1]["type"]} != {"model_output"}
    ]
    turn = {"role": "model", "content": content.outputs(apart)}
    assert sent_back([turn] if apart else "x")[: len(apart)] == (apart or [])


@given(STEPS | st.dictionaries(st.sampled_from(["type", "annotations", "result"]), st.just([5, {}])))
def test_names_can_be_added_to_anything_and_taken_away_again(item):
    before = copy.deepcopy(item)
    shown = content.shown(item)
    assert item == before
    if item.get("signature") != "":
        assert content.read(shown) == content.read(item)


OLD_NAMES = {
    "a citation of the first SDKs": (
        {"type": "text", "text": "x", "annotations": [{"start_index": 0, "end_index": 1, "source": "u"}]},
        {
            "type": "text",
            "text": "x",
            "annotations": [{"type": "url_citation", "start_index": 0, "end_index": 1, "url": "u"}],
        },
    ),
    "a source of its own": (
        {"type": "text", "text": "x", "annotations": [{"type": "file_citation", "source": "s"}]},
        {"type": "text", "text": "x", "annotations": [{"type": "file_citation", "source": "s"}]},
    ),
    "another source": (
        {"type": "text", "text": "x", "annotations": [{**CITED, "source": "v"}]},
        {"type": "text", "text": "x", "annotations": [{**CITED, "source": "v"}]},
    ),
    "a result of the first SDKs": (
        {"type": "google_search_result", "call_id": "c", "result": [{"rendered_content": "<p>"}, 5]},
        {"type": "google_search_result", "call_id": "c", "result": [{"search_suggestions": "<p>"}, 5]},
    ),
    "a result of something else": (
        {**RESULT, "result": [{"rendered_content": "x"}]},
        {**RESULT, "result": [{"rendered_content": "x"}]},
    ),
    "no list": ({"type": "text", "annotations": None}, {"type": "text", "annotations": None}),
}


@pytest.mark.parametrize(("item", "meant"), OLD_NAMES.values(), ids=OLD_NAMES.keys())
def test_older_names_are_understood(item, meant):
    assert content.read(item) == meant


def test_both_names_are_told():
    text = {"type": "text", "text": "x", "annotations": [CITED]}
    assert content.shown(text)["annotations"] == [{**CITED, "source": "u"}]
    found = {"type": "google_search_result", "result": [{"search_suggestions": "<p>"}]}
    assert content.shown(found)["result"] == [{"search_suggestions": "<p>", "rendered_content": "<p>"}]
    assert content.read(content.shown(text)) == text
    assert content.read(content.shown(found)) == found


def test_an_empty_signature_is_none():
    assert content.shown({**CALL, "signature": ""}) == CALL
    assert content.shown({"type": "thought", "signature": ""}) == {"type": "thought", "signature": ""}


@pytest.mark.parametrize(
    ("counted", "told"),
    [
        ({"total_thought_tokens": 3}, {"total_thought_tokens": 3, "total_reasoning_tokens": 3}),
        ({"total_tokens": 3}, {"total_tokens": 3}),
        (None, None),
        ("many", "many"),
    ],
)
def test_thoughts_are_counted_under_both_names(counted, told):
    assert content.usage(counted) == told
