import pytest

from app.core.model import Json
from tests.upstream.simulator.asking import WEATHER, ask, kinds, text_of, user

TIME: Json = {
    "type": "function",
    "name": "getLocalTime",
    "parameters": {"properties": {"city": {"type": "string"}}},
}
NOTE: Json = {"type": "function", "name": "f", "description": "Keeps a reminder for later"}


def test_a_question_about_a_function_calls_it():
    answer = ask("How is the weather in Paris?", tools=[NOTE, WEATHER])
    assert answer.status == "requires_action"
    assert kinds(answer) == ["thought", "function_call"]
    call = answer.steps[-1]
    assert list(call) == ["id", "type", "name", "arguments"]
    assert call["name"] == "get_weather"
    assert call["arguments"] == {"city": "Paris"}


def test_several_functions_are_called_in_parallel():
    calls = ask("Weather and time in Paris?", tools=[WEATHER, NOTE, TIME]).steps[1:]
    assert [call["name"] for call in calls] == ["get_weather", "getLocalTime"]
    assert calls[0]["id"] != calls[1]["id"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Please set a reminder", ["f"]),
        ("call f now", ["f"]),
        ("Get me the city of Paris", ["get_weather"]),
        ("Hello", []),
    ],
)
def test_a_function_is_known_by_its_name_or_its_description(text, names):
    steps = ask(text, tools=[WEATHER, NOTE, TIME]).steps
    assert [step["name"] for step in steps if step["type"] == "function_call"] == names


@pytest.mark.parametrize(
    ("choice", "text", "names"),
    [
        ("none", "The weather?", []),
        ("any", "Hello", ["get_weather"]),
        ("validated", "The weather?", ["get_weather"]),
        ({"allowed_tools": {"mode": "any", "tools": ["f"]}}, "The weather?", ["f"]),
        ({"allowed_tools": {"tools": ["f"]}}, "The weather?", []),
        ({"allowed_tools": {"mode": "none"}}, "The weather?", []),
        ({}, "The weather?", ["get_weather"]),
    ],
)
def test_tool_choice_decides(choice, text, names):
    steps = ask(text, tools=[WEATHER, NOTE], generation_config={"tool_choice": choice}).steps
    assert [step["name"] for step in steps if step["type"] == "function_call"] == names


def test_results_are_quoted_and_not_asked_for_again():
    asked = user("The weather and the time in Paris?")
    tools = [WEATHER, TIME]
    thought, *calls = ask(asked, tools=tools).steps
    results = [
        {"type": "function_result", "call_id": calls[1]["id"], "name": "getLocalTime", "result": "noon"},
        {"type": "function_result", "call_id": calls[0]["id"], "result": {"sky": "blue"}, "is_error": True},
    ]
    answer = ask(asked, thought, *calls, *results, tools=tools, generation_config={"tool_choice": "any"})
    assert answer.status == "completed"
    assert f'getLocalTime returned noon. {calls[0]["id"]} failed with {{"sky":"blue"}}.' in text_of(answer)


def test_a_text_beside_the_results_is_answered_too():
    asked = user("The weather in Paris?")
    thought, call = ask(asked, tools=[WEATHER]).steps
    result = {
        "type": "function_result",
        "call_id": call["id"],
        "name": "get_weather",
        "result": [{"type": "text", "text": "fine"}],
    }
    answer = ask(asked, thought, call, result, user("Thanks"), tools=[WEATHER])
    assert 'You said "Thanks".' in text_of(answer)
    assert "get_weather returned" in text_of(answer)
