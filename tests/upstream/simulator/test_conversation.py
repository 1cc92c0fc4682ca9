import pytest

from app.errors import InvalidRequest
from app.upstream.simulator.conversation import converse, steps_of
from tests.upstream.simulator.asking import user

TEXT = {"type": "text", "text": "Hi"}
IMAGE = {"type": "image", "mime_type": "image/png", "uri": "https://example.com/a.png"}
CALL = {"type": "function_call", "id": "abcdefgh", "name": "f", "arguments": {}}
RESULT = {"type": "function_result", "call_id": "abcdefgh", "name": "f", "result": {"a": 1}}


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ("Hi", [{"type": "user_input", "content": [TEXT]}]),
        (TEXT, [{"type": "user_input", "content": [TEXT]}]),
        ([TEXT, IMAGE], [{"type": "user_input", "content": [TEXT, IMAGE]}]),
        (user("Hi"), [user("Hi")]),
        ([user("Hi"), CALL, RESULT], [user("Hi"), CALL, RESULT]),
        ([RESULT, TEXT], [RESULT, {"type": "user_input", "content": [TEXT]}]),
        ([{"type": "of_tomorrow", "x": 1}], [{"type": "of_tomorrow", "x": 1}]),
    ],
)
def test_every_form_of_input_is_steps(given, steps):
    assert steps_of(given) == steps


@pytest.mark.parametrize("given", [None, 1, [], ["Hi"], [{"role": "user", "content": "Hi"}], [{"type": 1}]])
def test_what_is_no_input_is_refused(given):
    with pytest.raises(InvalidRequest, match="input"):
        steps_of(given)


def test_a_bare_text_is_content():
    assert converse([{"type": "user_input", "content": "Hi"}]).steps == [user("Hi")]


def test_function_results_inside_a_user_input_stand_on_their_own():
    told = converse([CALL, {"type": "user_input", "content": [RESULT, TEXT]}])
    assert told.steps == [CALL, RESULT, user("Hi")]
    assert told.results == [RESULT]
    assert told.asked == "Hi"


def test_what_is_new_comes_after_the_model():
    told = converse(
        [user("One"), {"type": "model_output", "content": []}, user("Two"), user("Three", "Four")]
    )
    assert told.asked == "Three\nFour"
    assert told.turns == 3
    assert list(told.texts()) == ["One", "Two", "Three\nFour"]


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ([], "input"),
        ({}, "input"),
        ([user("Hi"), {"content": []}], r"input\[1\]"),
        ([{"type": "user_input"}], r"input\[0\]"),
        ([{"type": "user_input", "content": [{"type": "text"}]}], r"input\[0\].content\[0\]"),
        ([{"type": "user_input", "content": [TEXT, {"type": "video"}]}], r"input\[0\].content\[1\]"),
        ([{"type": "user_input", "content": ["Hi"]}], r"input\[0\].content\[0\]"),
    ],
)
def test_a_broken_step_is_refused_and_named(steps, named):
    with pytest.raises(InvalidRequest, match=named):
        converse(steps)


@pytest.mark.parametrize("result", [{**RESULT, "call_id": "other"}, {**RESULT, "name": None}])
def test_a_result_needs_the_call_that_it_answers(result):
    with pytest.raises(InvalidRequest, match="comes immediately after a function call turn"):
        converse([user("Hi"), result])


@pytest.mark.parametrize("name", ["call_id", "result"])
def test_a_result_has_a_call_and_a_value(name):
    result = {key: value for key, value in RESULT.items() if key != name}
    with pytest.raises(InvalidRequest, match="Invalid input received"):
        converse([CALL, result])
