"""Functions of the client, tools of the server, and answers in JSON."""

import json
from typing import Any

from pydantic import BaseModel

from tests.sdk.scenarios.reading import (
    ask,
    contents,
    follow_up,
    kinds,
    of_kind,
    plain,
    refused,
    result,
    text,
    user,
)

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {
    "type": "function",
    "name": "get_time",
    "description": "The time in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def a_function_is_called_and_answered(client: Any) -> None:
    first = ask(client, "Is the weather fine in Paris?", tools=[WEATHER])
    assert first.status == "requires_action"
    (call,) = of_kind(first, "function_call")
    assert (call.name, call.arguments) == ("get_weather", {"city": "Paris"})
    second = follow_up(client, first, [result(call, {"sky": "clear"})], tools=[WEATHER])
    assert second.status == "completed"
    assert 'get_weather returned {"sky":"clear"}' in text(second)


def a_function_is_called_and_answered_without_the_servers_memory(client: Any) -> None:
    history = [user("Is the weather fine in Paris?")]
    first = ask(client, history, tools=[WEATHER], store=False)
    assert kinds(first) == ["thought", "function_call"]
    assert first.steps[0].signature
    history += [*plain(first.steps), result(first.steps[1], "clear sky")]
    second = ask(client, history, tools=[WEATHER], store=False)
    assert "get_weather returned clear sky" in text(second)
    assert not getattr(second, "id", "")


def several_functions_are_called_at_once_and_answered_in_any_order(client: Any) -> None:
    first = ask(client, "What are the weather and the time in Paris?", tools=[WEATHER, CLOCK])
    calls = {call.name: call for call in of_kind(first, "function_call")}
    assert set(calls) == {"get_weather", "get_time"}
    assert calls["get_weather"].id != calls["get_time"].id
    results = [result(calls["get_time"], "noon"), result(calls["get_weather"], "clear")]
    second = follow_up(client, first, results, tools=[WEATHER, CLOCK])
    assert "get_time returned noon" in text(second)
    assert "get_weather returned clear" in text(second)


def a_function_result_has_many_forms(client: Any) -> None:
    first = ask(client, "Is the weather fine in Paris?", tools=[WEATHER])
    (call,) = of_kind(first, "function_call")
    picture = {"type": "image", "data": "iVBORw0KGgo=", "mime_type": "image/png"}
    for value in ("clear", {"sky": ["clear"]}, [{"type": "text", "text": "clear"}, picture]):
        assert "clear" in text(follow_up(client, first, [result(call, value)]))
    failed = follow_up(client, first, [result(call, "no such city", is_error=True)])
    assert "get_weather failed with no such city" in text(failed)


def a_function_result_needs_its_call(client: Any) -> None:
    first = ask(client, "Is the weather fine in Paris?", tools=[WEATHER])
    (call,) = of_kind(first, "function_call")
    elsewhere = ask(client, "Hello.")
    with refused(400, "invalid_request", "get_weather"):
        follow_up(client, elsewhere, [result(call, "clear")])


def tools_are_not_inherited(client: Any) -> None:
    first = ask(client, "Hello.", tools=[WEATHER])
    second = follow_up(client, first, "Is the weather fine in Paris?")
    assert second.status == "completed"
    assert second.tools is None


def a_tool_choice_is_obeyed(client: Any) -> None:
    question = "Is the weather fine in Paris?"
    never = ask(client, question, tools=[WEATHER], generation_config={"tool_choice": "none"})
    assert never.status == "completed"
    always = ask(client, "Hello.", tools=[WEATHER], generation_config={"tool_choice": "any"})
    assert always.status == "requires_action"
    only = {"allowed_tools": {"mode": "any", "tools": ["get_time"]}}
    other = ask(client, question, tools=[WEATHER, CLOCK], generation_config={"tool_choice": only})
    assert [call.name for call in of_kind(other, "function_call")] == ["get_time"]


def the_servers_own_tools_are_used_and_remembered(client: Any) -> None:
    server = {
        "type": "mcp_server",
        "name": "tickets",
        "url": "https://mcp.example.com/",
        "headers": {"a": "b"},
    }
    documents = client.file_search_stores.create().name
    for tool, question, name in (
        ({"type": "google_search"}, "Search the news.", "google_search"),
        ({"type": "google_maps"}, "Find a restaurant in Paris.", "google_maps"),
        ({"type": "code_execution"}, "Compute 2 + 2.", "code_execution"),
        ({"type": "url_context"}, "Read https://example.com/page.", "url_context"),
        (
            {"type": "file_search", "file_search_store_names": [documents]},
            "Look into the documents.",
            "file_search",
        ),
        (server, "Look at the tickets.", "mcp_server_tool"),
    ):
        first = ask(client, question, tools=[tool])
        assert kinds(first) == ["thought", f"{name}_call", f"{name}_result", "model_output"]
        call, answer = first.steps[1:3]
        assert answer.call_id == call.id
        assert first.model_dump(exclude_none=True)["tools"] == [tool]
        assert "turn 2" in text(follow_up(client, first, "And then?"))


def a_search_is_cited(client: Any) -> None:
    answer = ask(client, "Search the news.", tools=[{"type": "google_search"}])
    (item,) = contents(answer)
    assert item.annotations[0].type == "url_citation"
    assert item.annotations[0].url == "https://example.com/"


def functions_and_the_servers_tools_go_together(client: Any) -> None:
    tools = [{"type": "google_search"}, WEATHER]
    first = ask(client, "Search the news on the weather in Paris.", tools=tools)
    assert kinds(first) == ["thought", "google_search_call", "google_search_result", "function_call"]
    second = follow_up(client, first, [result(first.steps[-1], "clear")], tools=tools)
    assert "get_weather returned clear" in text(second)


def an_answer_follows_a_json_schema(client: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    wanted = {"type": "text", "mime_type": "application/json", "schema": schema}
    answer = ask(client, "Her name is Ada and she is 36 years old.", response_format=wanted)
    assert json.loads(text(answer)) == {"name": "Ada", "age": 36}


def an_answer_fits_a_pydantic_model(client: Any) -> None:
    wanted = {"type": "text", "mime_type": "application/json", "schema": _Recipe.model_json_schema()}
    answer = ask(client, "A recipe for Pancakes, please.", response_format=wanted)
    recipe = _Recipe.model_validate_json(text(answer))
    assert recipe.ingredients
    events = list(ask(client, "A recipe for Pancakes, please.", response_format=wanted, stream=True))
    streamed = "".join(
        e.delta.text for e in events if e.event_type == "step.delta" and e.delta.type == "text"
    )
    assert _Recipe.model_validate_json(streamed) == recipe


class _Ingredient(BaseModel):
    name: str
    grams: int


class _Recipe(BaseModel):
    title: str
    ingredients: list[_Ingredient]
    note: str | None = None
