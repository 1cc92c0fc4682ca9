"""Every form of `input`, as the list of steps that is kept."""

import copy

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.wire.input import steps
from tests.core.strategies import CONTENTS, JSON, STEPS

TEXT = {"type": "text", "text": "Hi"}
IMAGE = {"type": "image", "mime_type": "image/png", "data": "aGk="}
RESULT = {"type": "function_result", "call_id": "c1", "name": "f", "result": {"sum": 18.0}}
CALL = {"type": "function_call", "id": "c1", "name": "f", "arguments": {}}
THOUGHT = {"type": "thought", "signature": "c2ln"}


def user(*content):
    return {"type": "user_input", "content": list(content)}


def model(*content):
    return {"type": "model_output", "content": list(content)}


FORMS = {
    "a string": ("Hi", [user(TEXT)]),
    "a content": (IMAGE, [user(IMAGE)]),
    "contents": ([TEXT, IMAGE], [user(TEXT, IMAGE)]),
    "a content without a type": ([{"text": "Hi"}], [user({"text": "Hi", "type": "text"})]),
    "a step": (user(TEXT), [user(TEXT)]),
    "steps": ([user(TEXT), THOUGHT, model(TEXT), RESULT], [user(TEXT), THOUGHT, model(TEXT), RESULT]),
    "a turn": ({"role": "user", "content": "Hi"}, [user(TEXT)]),
    "turns": (
        [{"role": "user", "content": "Hi"}, {"role": "model", "content": [TEXT]}],
        [user(TEXT), model(TEXT)],
    ),
    "a turn with one content": ([{"role": "user", "content": IMAGE}], [user(IMAGE)]),
    "a turn of the model with its thoughts and calls": (
        [{"role": "model", "content": [THOUGHT, TEXT, IMAGE, CALL, TEXT]}],
        [THOUGHT, model(TEXT, IMAGE), CALL, model(TEXT)],
    ),
    "a turn of the user with a result": ([{"role": "user", "content": [RESULT]}], [RESULT]),
    "a bare string as content": ({"type": "user_input", "content": "Hi"}, [user(TEXT)]),
    "a result by itself": (RESULT, [RESULT]),
    "a result beside a user_input": ([RESULT, user(TEXT)], [RESULT, user(TEXT)]),
    "a result inside a user_input": ([user(TEXT, RESULT, TEXT)], [user(TEXT), RESULT, user(TEXT)]),
    "contents and steps in one list": (
        [TEXT, IMAGE, THOUGHT, TEXT, {"role": "user", "content": "Hi"}, TEXT],
        [user(TEXT, IMAGE), THOUGHT, user(TEXT), user(TEXT), user(TEXT)],
    ),
    "a step of an unknown type": (
        [{"type": "telepathy", "waves": [1]}],
        [{"type": "telepathy", "waves": [1]}],
    ),
    "a content of an unknown type": ([user({"type": "smell", "b": 1})], [user({"type": "smell", "b": 1})]),
    "unknown fields": (
        [{**user({**TEXT, "mood": "calm"}), "at": 1}],
        [{**user({**TEXT, "mood": "calm"}), "at": 1}],
    ),
    "unknown fields beside nothing but a result": (
        [{**user(RESULT), "at": 1}],
        [RESULT, {"type": "user_input", "at": 1, "content": []}],
    ),
    "a step with a role, too": ([{**user(TEXT), "role": "user"}], [{**user(TEXT), "role": "user"}]),
    "an empty content": ([user()], [user()]),
    "no content": ([{"type": "user_input"}], [{"type": "user_input"}]),
}


@pytest.mark.parametrize(("given_", "expected"), FORMS.values(), ids=FORMS.keys())
def test_every_form_becomes_steps(given_, expected):
    before = copy.deepcopy(given_)
    assert steps(given_) == expected
    assert given_ == before


WRONG = {
    "nothing": ("", "'input' must not be empty."),
    "an empty list": ([], "'input' must not be empty."),
    "a number": (5, "'input' must be a string, an object or a list of objects."),
    "a list of strings": (["Hi"], "'input[0]' must be an object."),
    "no type": ([TEXT, {}], "'input[1].type' is required: the type of a content or of a step."),
    "no type, alone": ({}, "'input.type' is required: the type of a content or of a step."),
    "a type that is no string": (
        {"type": 5},
        "'input.type' is required: the type of a content or of a step.",
    ),
    "a foreign role": ([{"role": "system", "content": "x"}], "'input[0].role' must be 'user' or 'model'."),
    "a role that is a list": (
        [{"role": ["user"], "content": "x"}],
        "'input[0].role' must be 'user' or 'model'.",
    ),
    "a turn without content": ([{"role": "user"}], "'input[0].content' is required."),
    "a content that is null": (
        [{"role": "user", "content": None}],
        "'input[0].content' must be a string, an object or a list of objects.",
    ),
    "a content that is a list of strings": ([user("Hi")], "'input[0].content[0]' must be an object."),
    "a part without a type": ([user(TEXT, {"a": 1})], "'input[0].content[1].type' is required."),
    "a text that is null": ({"type": "text", "text": None}, "'input.text' must be a string."),
    "a text without text": ([user({"type": "text"})], "'input[0].content[0].text' must be a string."),
    "an image of nothing": ([TEXT, {"type": "image"}], "'input[1]' needs 'data' (base64) or 'uri'."),
    "an image of bytes that are numbers": (
        [user({"type": "image", "data": [1]})],
        "'input[0].content[0].data' must be a string.",
    ),
    "a mime_type that is a number": (
        [{**IMAGE, "mime_type": 5}],
        "'input[0].mime_type' must be a string.",
    ),
    "a result without a call": (
        [{"type": "function_result", "result": 1}],
        "'input[0].call_id' must be a string.",
    ),
    "a result without a result": (
        [{"type": "function_result", "call_id": "c"}],
        "'input[0].result' is required.",
    ),
    "a result inside without a call": (
        [user(TEXT, {"type": "function_result", "result": 1})],
        "'input[0].content[1].call_id' must be a string.",
    ),
    "a call without a name": ([{"type": "function_call"}], "'input[0].name' must be a string."),
}


@pytest.mark.parametrize(("given_", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_named(given_, message):
    with pytest.raises(InvalidRequest) as refused:
        steps(given_)
    assert refused.value.message == message


TURNS = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "model"]) | JSON, "content": st.text() | st.lists(CONTENTS) | JSON}
)
INPUTS = st.text() | CONTENTS | st.lists(CONTENTS | STEPS | TURNS, max_size=4) | JSON


@given(INPUTS)
@example([{"type": "user_input", "content": [{"type": "user_input", "content": "x"}]}])
@example([{"type": "user_input", "content": [{"type": "x_call", "content": [RESULT]}]}])
def test_the_result_is_a_list_of_steps_and_stays_what_it_is(given_):
    before = copy.deepcopy(given_)
    try:
        made = steps(given_)
        complaint = "'input"
    except InvalidRequest as refused:
        made, complaint = [], refused.message
    assert complaint.startswith("'input")
    assert given_ == before
    assert all(isinstance(step["type"], str) for step in made)
    assert not made or steps(made) == made


@given(st.lists(CONTENTS, min_size=1, max_size=4))
def test_contents_go_in_and_out_unchanged(contents):
    try:
        made = steps([user(*contents)])
    except InvalidRequest:
        return
    told = [part for step in made for part in (step["content"] if step["type"] == "user_input" else [step])]
    assert told == contents
