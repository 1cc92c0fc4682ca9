import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.model import Json
from app.errors import InvalidRequest
from app.upstream.simulator.signatures import Transcript
from tests.upstream.simulator.asking import WEATHER, ask, text_of, user


def turns(*texts: str) -> list[Json]:
    """A conversation of these user texts and the answers to all but the last."""
    steps = [user(texts[0])]
    for text in texts[1:]:
        steps += [*ask(*steps).steps, user(text)]
    return steps


def test_a_conversation_that_comes_back_as_it_was_is_accepted():
    assert "turn 3" in text_of(ask(*turns("One", "Two", "Three")))


@pytest.mark.parametrize("place", [0, 2, 3])
def test_a_step_that_comes_back_changed_breaks_the_next_signature(place):
    steps = turns("One", "Two", "Three")
    steps[place] = {**steps[place], "of_tomorrow": 1}
    with pytest.raises(InvalidRequest, match="Thought signature is not valid"):
        ask(*steps)


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_step_that_is_missing_breaks_the_next_signature(place):
    steps = turns("One", "Two", "Three")
    del steps[place]
    with pytest.raises(InvalidRequest, match="Thought signature is not valid"):
        ask(*steps)


@pytest.mark.parametrize("place", [1, 4])
def test_a_signature_that_comes_back_changed_is_refused(place):
    steps = turns("One", "Two", "Three")
    signature = steps[place]["signature"]
    for changed in (signature[:-1], signature + "=", signature[:20] + "!" + signature[21:]):
        steps[place] = {**steps[place], "signature": changed}
        with pytest.raises(InvalidRequest, match="Thought signature is not valid"):
            ask(*steps)


def test_the_order_of_keys_and_the_form_of_a_text_do_not_count():
    steps = turns("One", "Two")
    steps[0] = {"content": "One", "type": "user_input"}
    steps[2] = dict(reversed(steps[2].items()))
    assert "turn 2" in text_of(ask(*steps))


def test_an_empty_signature_on_a_call_does_not_count():
    asked = user("How is the weather in Paris?")
    thought, call = ask(asked, tools=[WEATHER]).steps
    result = {"type": "function_result", "call_id": call["id"], "result": "sunny"}
    signatures = {
        ask(asked, thought, one, result).steps[0]["signature"] for one in (call, {**call, "signature": ""})
    }
    assert len(signatures) == 1


@pytest.mark.parametrize("signature", ["skip_thought_signature_validator", "CtkBAQw51sdu", "", None, 7])
def test_signatures_of_others_are_not_judged(signature):
    ask("One", {"type": "thought", "signature": signature}, {"type": "thought"}, "Two")


def test_what_cannot_be_written_is_refused():
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(InvalidRequest, match=r"input\[1\].*JSON"):
        ask("One", {"type": "of_tomorrow", "x": deep})


@given(st.lists(st.text()), st.integers(min_value=0, max_value=1_000_000))
def test_call_ids_look_like_those_of_gemini(texts, number):
    transcript = Transcript()
    for text in texts:
        transcript.add(user(text))
    call_id = transcript.call_id("function", number)
    assert len(call_id) == 8
    assert call_id.isascii()
    assert call_id.isalnum()
    assert call_id == call_id.lower()
