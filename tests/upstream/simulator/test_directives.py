import pytest

from app.errors import ApiError, InvalidRequest
from app.upstream.simulator.directives import Directives, parse, without
from tests.upstream.simulator.asking import ask, text_of, user


@pytest.mark.parametrize(
    ("text", "directives"),
    [
        ("Hello", Directives()),
        ("[[sim]]", Directives()),
        ("[[simple]] [[ sim ]] [sim hang]", Directives()),
        ("Go [[sim tokens=60 delay_ms=100]] now", Directives(tokens=60, delay_ms=100)),
        ("[[sim hang]]", Directives(hang_after=0)),
        ("[[sim hang_after=3]] and [[sim thoughts=0]]", Directives(hang_after=3, thoughts=0)),
        ("[[sim status=429 retry_after=7]]", Directives(status=429, retry_after=7)),
        (
            "[[sim fail_after=1 drop_after=2 error_after=3]]",
            Directives(fail_after=1, drop_after=2, error_after=3),
        ),
    ],
)
def test_what_a_text_orders(text, directives):
    assert parse(text) == directives


@pytest.mark.parametrize(
    "word",
    [
        "tokns=3",
        "tokens",
        "tokens=",
        "tokens=x",
        "tokens=0",
        "tokens=100001",
        "status=200",
        "hang=1",
        "delay_ms=-1",
    ],
)
def test_a_word_that_is_no_directive_is_refused_and_named(word):
    with pytest.raises(InvalidRequest, match=word):
        parse(f"[[sim thoughts=1 {word}]]")


def test_a_directive_is_given_once():
    with pytest.raises(InvalidRequest, match="tokens"):
        parse("[[sim tokens=1]] [[sim tokens=2]]")


def test_retry_after_belongs_to_a_status():
    with pytest.raises(InvalidRequest, match="status"):
        parse("[[sim retry_after=1]]")


def test_the_model_does_not_see_directives():
    assert without("Hello [[sim tokens=3]]") == "Hello"
    assert "sim" not in text_of(ask("Hello [[sim thoughts=0]]"))


def test_only_the_last_user_text_gives_orders():
    answer = ask("[[sim status=500]]", {"type": "model_output", "content": []}, "Hello")
    assert '"Hello"' in text_of(answer)


def test_orders_of_a_turn_that_was_never_answered_are_over():
    assert '"Hello"' in text_of(ask("[[sim status=500]]", "Hello"))


def test_orders_do_not_reach_into_the_turn_of_the_function_results():
    call = {"type": "function_call", "id": "abcdefgh", "name": "f", "arguments": {}}
    result = {"type": "function_result", "call_id": "abcdefgh", "name": "f", "result": "42"}
    assert "f returned 42." in text_of(ask("Call f [[sim status=500]]", call, result))


def test_a_status_is_answered_with_the_code_of_the_api():
    with pytest.raises(ApiError) as raised:
        ask(user("[[sim status=503 retry_after=9]]"))
    error = raised.value
    assert (error.status, error.code, error.headers) == (503, "service_unavailable", {"retry-after": "9"})
