"""The published Python SDK against the simulator's server."""

import json
from collections.abc import Iterator

import pytest
from google import genai
from google.genai import types
from pydantic import BaseModel

from tests.upstream.simulator.asking import WEATHER, user

MODEL = "gemini-x"


class Person(BaseModel):
    """What is asked for as JSON."""

    name: str
    age: int | None


@pytest.fixture
def sdk(simulator_url: str) -> Iterator[genai.Client]:
    """The SDK with another base URL."""
    options = types.HttpOptions(base_url=simulator_url, retry_options=types.HttpRetryOptions(attempts=1))
    client = genai.Client(api_key="any", http_options=options)
    yield client
    client.close()


def test_a_chain(sdk):
    first = sdk.interactions.create(model=MODEL, input="My name is Ada")
    second = sdk.interactions.create(model=MODEL, input="What is my name?", previous_interaction_id=first.id)
    assert second.output_text == "Your name is Ada. This is turn 2 of our conversation."
    assert second.usage.total_tokens > first.usage.total_tokens


def test_a_stream(sdk):
    events = list(
        sdk.interactions.create(model=MODEL, input="Hello [[sim tokens=9 thoughts=1]]", stream=True)
    )
    assert [events[0].event_type, events[-1].event_type] == ["interaction.created", "interaction.completed"]
    texts = [
        event.delta.text
        for event in events
        if event.event_type == "step.delta" and event.delta.type == "text"
    ]
    assert len(texts) == 9
    assert events[-1].interaction.status == "completed"


def test_a_function_round_trip(sdk):
    first = sdk.interactions.create(model=MODEL, input="The weather in Paris?", tools=[WEATHER])
    call = first.steps[-1]
    assert (first.status, call.name, call.arguments) == ("requires_action", "get_weather", {"city": "Paris"})
    result = {"type": "function_result", "call_id": call.id, "name": call.name, "result": {"sky": "blue"}}
    second = sdk.interactions.create(
        model=MODEL, input=[result], tools=[WEATHER], previous_interaction_id=first.id
    )
    assert 'get_weather returned {"sky":"blue"}.' in second.output_text


def test_a_stateless_round_trip_keeps_the_signatures(sdk):
    given = [user("Search: my name is Ada; the weather in Paris?")]
    tools = [WEATHER, {"type": "google_search"}, {"type": "code_execution"}]
    for _ in range(3):
        answer = sdk.interactions.create(model=MODEL, input=given, tools=tools, store=False)
        given += [step.model_dump(exclude_none=True) for step in answer.steps]
        given += [
            {"type": "function_result", "call_id": step.id, "name": step.name, "result": "sunny"}
            for step in answer.steps
            if step.type == "function_call"
        ]
        given.append(user("What is my name? Search it, run it."))
    answer = sdk.interactions.create(model=MODEL, input=given, store=False)
    assert answer.output_text == "Your name is Ada. This is turn 4 of our conversation."


def test_structured_output(sdk):
    schema = Person.model_json_schema()
    response_format = {"type": "text", "mime_type": "application/json", "schema": schema}
    answer = sdk.interactions.create(model=MODEL, input="I know Ada, 36", response_format=response_format)
    assert json.loads(answer.output_text) == {"name": "Ada", "age": 36}


def test_an_image(sdk):
    answer = sdk.interactions.create(model=MODEL, input="A cat", response_format={"type": "image"})
    assert answer.output_image.mime_type == "image/png"


@pytest.mark.parametrize(
    ("tool", "text"),
    [
        ({"type": "google_search"}, "Search for cats"),
        ({"type": "code_execution"}, "Run this"),
        ({"type": "url_context"}, "Read https://example.com/"),
        ({"type": "file_search"}, "Which files?"),
        ({"type": "google_maps"}, "A place near Paris"),
        ({"type": "mcp_server", "name": "tickets", "url": "https://example.com/mcp"}, "Which ticket?"),
    ],
)
def test_server_tools_are_understood(sdk, tool, text):
    answer = sdk.interactions.create(model=MODEL, input=text, tools=[tool])
    assert not [step for step in answer.steps if type(step).__name__.startswith("Unknown")]
    assert len(answer.steps) == 4
    events = list(sdk.interactions.create(model=MODEL, input=text, tools=[tool], stream=True))
    deltas = [event.delta for event in events if event.event_type == "step.delta"]
    assert not [delta for delta in deltas if type(delta).__name__.startswith("Unknown")]


def test_a_run_in_the_background(sdk):
    begun = sdk.interactions.create(agent="researcher", input="Hello [[sim tokens=9]]", background=True)
    assert begun.status == "in_progress"
    events = list(sdk.interactions.get(begun.id, stream=True))
    named = [event.event_id for event in events if getattr(event, "event_id", None)]
    rest = list(sdk.interactions.get(begun.id, stream=True, last_event_id=named[4]))
    assert len([event for event in rest if getattr(event, "event_id", None)]) == 4
    assert sdk.interactions.get(begun.id).steps[0].type == "user_input"
    sdk.interactions.delete(begun.id)


def test_an_error_has_its_class_and_message(sdk):
    from google.genai._interactions import NotFoundError

    with pytest.raises(NotFoundError, match="missing-x"):
        sdk.interactions.create(model="missing-x", input="Hello")
