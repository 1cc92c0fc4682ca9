"""What only a scripted upstream can show: everything is passed on, in both directions."""

from typing import Any

from google import genai
from google.genai import types

from tests.sdk.scenarios.reading import MODEL, deltas, event_ids
from tests.support.gateway import Gateway
from tests.support.upstream import ScriptedUpstream, answer, head, sse, text_events

TOOLS = [
    {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}},
    {"type": "google_search", "search_types": ["web_search"]},
    {"type": "code_execution"},
    {"type": "url_context"},
    {"type": "google_maps"},
    {"type": "file_search", "file_search_store_names": ["fileSearchStores/a"], "top_k": 3},
    {"type": "mcp_server", "name": "m", "url": "https://mcp.example.com/", "headers": {"authorization": "x"}},
    {"type": "computer_use", "environment": "browser"},
    {"type": "tool_of_tomorrow", "depth": [1, {"b": 2, "a": 1}]},
]


def _client(gateway: Gateway) -> Any:
    once = types.HttpRetryOptions(attempts=1)
    options = types.HttpOptions(base_url=gateway.url, retry_options=once)
    return genai.Client(api_key=gateway.key, http_options=options).aio


async def test_every_field_of_a_request_reaches_the_upstream(
    scripted_gateway: Gateway, upstream: ScriptedUpstream
):
    upstream.script(answer({"name": "fileSearchStores/a"}))
    upstream.script(answer({"status": "completed", "steps": []}))
    asked = {
        "model": MODEL,
        "tools": TOOLS,
        "system_instruction": "Be brief.",
        "generation_config": {"temperature": 0.5, "thinking_level": "low", "tool_choice": "auto"},
        "response_format": {"type": "text", "mime_type": "application/json", "schema": {"type": "object"}},
        "labels": {"team": "a"},
        "service_tier": "flex",
    }
    async with _client(scripted_gateway) as client:
        novelty = {"field_of_tomorrow": {"b": 1, "a": None}}
        await client.file_search_stores.create()  # a request may only name its project's own
        await client.interactions.create(input="Hello.", extra_body=novelty, **asked)
    _, request = upstream.requests
    said = [{"type": "user_input", "content": [{"type": "text", "text": "Hello."}]}]
    assert request.json() == {**asked, **novelty, "input": said, "store": False}
    assert request.headers["x-goog-api-key"] != scripted_gateway.key


async def test_what_no_version_knows_yet_reaches_the_client_and_is_kept(
    scripted_gateway: Gateway, upstream: ScriptedUpstream
):
    step = {"type": "step_of_tomorrow", "b": 1, "a": [None]}
    first, update, start, *rest = text_events("Hello.")
    delta = {"index": 0, "delta": {"type": "delta_of_tomorrow", "x": 1}, "event_type": "step.delta"}
    event = {"event_type": "event.of_tomorrow", "y": 2}
    upstream.script(answer({"status": "completed", "steps": [step], "gain": 7}))
    upstream.script(head(content_type="text/event-stream"), sse(first, update, event, start, delta, *rest))
    async with _client(scripted_gateway) as client:
        made = await client.interactions.create(model=MODEL, input="Hello.")
        for found in (made, await client.interactions.get(made.id)):
            assert found.steps[-1].raw == step
            assert found.model_dump()["gain"] == 7
        stream = await client.interactions.create(model=MODEL, input="Hello.", stream=True)
        events = [event async for event in stream]
        raw = events[2].raw
        assert (raw["event_type"], raw["y"]) == ("event.of_tomorrow", 2)
        assert events[4].delta.raw == delta["delta"]
        assert len(deltas(events, "text")) == 1
        again = [e async for e in await client.interactions.get(events[0].interaction.id, stream=True)]
    assert event_ids(again[:2]) == event_ids(events[:2])
    assert [e.model_dump() for e in again] == [e.model_dump() for e in events]
