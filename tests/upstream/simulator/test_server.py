from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.model import Json
from tests.upstream.simulator.asking import WEATHER, ask, user
from tests.upstream.simulator.frames import Frames, read

PATH = "/v1beta/interactions"
ENDED = ["id", "status", "usage", "created", "updated", "service_tier", "object", "model"]


async def create(client: httpx.AsyncClient, given: Any, **fields: Any) -> Json:
    answer = await client.post(PATH, json={"model": "gemini-x", "input": given, **fields})
    assert answer.status_code == 200, answer.text
    shown: Json = answer.json()
    return shown


async def stream(client: httpx.AsyncClient, given: Any, **fields: Any) -> Frames:
    asked = {"model": "gemini-x", "input": given, "stream": True, **fields}
    return read((await client.post(PATH, json=asked)).content)


def text_of(shown: Json) -> str:
    text: str = shown["steps"][-1]["content"][0]["text"]
    return text


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
async def test_a_unary_answer(client, version):
    answer = await client.post(f"/{version}/interactions", json={"model": "gemini-x", "input": "Hello"})
    shown = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert list(shown) == [*ENDED[:6], "steps", *ENDED[6:]]
    assert shown["steps"] == ask("Hello").steps
    assert shown["usage"] == ask("Hello").usage
    assert shown["created"].endswith("Z")
    assert (shown["object"], shown["model"], shown["service_tier"]) == ("interaction", "gemini-x", "standard")


async def test_a_streamed_answer(client):
    asked = {"model": "gemini-x", "input": "Hello", "stream": True}
    answer = await client.post(PATH, json=asked)
    frames = read(answer.content)
    assert answer.headers["content-type"] == "text/event-stream"
    assert frames.done
    assert frames.steps() == ask("Hello").steps
    assert list(frames.last["interaction"]) == ENDED
    assert all("event_id" not in event for event in frames.events)


async def test_what_is_not_stored_has_no_id(client):
    assert "id" not in await create(client, "Hello", store=False)
    frames = await stream(client, "Hello", store=False)
    assert frames.events[0]["interaction"]["id"] == frames.events[1]["interaction_id"] == ""
    assert frames.last["interaction"]["id"] == ""


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_conversation_is_continued_by_its_id(client, streamed):
    if streamed:
        first = (await stream(client, "My name is Ada"))["id"]
    else:
        first = (await create(client, "My name is Ada"))["id"]
    second = await create(client, "Hello", previous_interaction_id=first)
    third = await create(client, "What is my name?", previous_interaction_id=second["id"], store=False)
    assert text_of(third) == "Your name is Ada. This is turn 3 of our conversation."
    again = await create(client, "Who?", previous_interaction_id=first)
    assert "turn 2" in text_of(again)


async def test_a_conversation_may_also_be_sent_whole(client):
    first = await create(client, "My name is Ada", store=False)
    given = [user("My name is Ada"), *first["steps"], user("What is my name?")]
    assert "Ada" in text_of(await create(client, given, store=False))
    given[1]["signature"] = first["steps"][0]["signature"][:-5] + "AAAA="
    refused = await client.post(PATH, json={"model": "m", "input": given})
    assert (refused.status_code, refused.json()["error"]["message"]) == (
        400,
        "Thought signature is not valid.",
    )


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_function_is_called_and_answered(client, streamed):
    if streamed:
        frames = await stream(client, "The weather in Paris?", tools=[WEATHER])
        first, call, ended = frames["id"], frames.steps()[-1], frames.last["interaction"]["status"]
    else:
        shown = await create(client, "The weather in Paris?", tools=[WEATHER])
        first, call, ended = shown["id"], shown["steps"][-1], shown["status"]
    assert ended == "requires_action"
    assert call["arguments"] == {"city": "Paris"}
    result = {
        "type": "function_result",
        "call_id": call["id"],
        "name": "get_weather",
        "result": {"sky": "blue"},
    }
    for form in ([result], [{"type": "user_input", "content": [result]}]):
        second = await create(client, form, previous_interaction_id=first)
        assert 'get_weather returned {"sky":"blue"}.' in text_of(second)


async def test_a_get_shows_the_users_step_first(client):
    first = await create(client, "Hello")
    second = await create(client, "Again", previous_interaction_id=first["id"], service_tier="flex")
    shown = (await client.get(f"{PATH}/{second['id']}?stream=false")).json()
    assert shown == {**second, "steps": [user("Again"), *second["steps"]]}
    assert list(shown) == list(second)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_finished_interaction_is_streamed_again(client, streamed):
    name = (await stream(client, "Hello"))["id"] if streamed else (await create(client, "Hello"))["id"]
    frames = read((await client.get(f"{PATH}/{name}?stream=true")).content)
    assert frames.done
    assert frames["id"] == name
    assert frames.steps() == ask("Hello").steps


async def test_a_deleted_interaction_is_gone(client):
    name = (await create(client, "Hello"))["id"]
    deleted = await client.delete(f"{PATH}/{name}")
    assert (deleted.status_code, deleted.json()) == (200, {})
    for answer in (
        await client.delete(f"{PATH}/{name}"),
        await client.get(f"{PATH}/{name}"),
        await client.post(f"{PATH}/{name}/cancel"),
        await client.post(PATH, json={"model": "m", "input": "Hi", "previous_interaction_id": name}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_an_id_that_is_none(client):
    answer = await client.get(f"{PATH}/interaction-missing")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"
    message = "Invalid interaction name: interactions/interaction-missing"
    assert answer.json() == {"error": {"code": "invalid_request", "message": message}}


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("stream=maybe", "stream"),
        ("last_event_id=v1_a", "last_event_id"),
        ("stream=true&last_event_id=x", "last_event_id"),
    ],
)
async def test_a_wrong_query_is_refused(client, query, named):
    name = (await create(client, "Hello"))["id"]
    answer = await client.get(f"{PATH}/{name}?{query}")
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "JSON"),
        (b"[]", "object"),
        (b'{"model":"m"}', "input"),
        (b'{"input":"Hi"}', "model"),
        (b'{"input":"Hi","model":"m","agent":"a"}', "agent"),
        (b'{"input":"Hi","model":7}', "model"),
        (b'{"input":"Hi","model":"m","stream":"yes"}', "stream"),
        (b'{"input":"Hi","model":"m","store":0}', "store"),
        (b'{"input":"Hi","model":"m","store":false,"background":true}', "background"),
        (b'{"input":[{"role":"user","content":"Hi"}],"model":"m"}', "input"),
        (b'{"input":"Hi","model":"m","tools":[{"type":"x"}]}', "tools"),
        (b'{"input":"[[sim x=1]]","model":"m"}', "x=1"),
        (b'{"input":"Hi","model":"m","novelty":' + b"[" * 300 + b"]" * 300 + b"}", "novelty"),
    ],
)
async def test_a_wrong_request_is_refused_and_named(client, body, named):
    answer = await client.post(PATH, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert named in answer.json()["error"]["message"]


async def test_a_missing_model(client):
    answer = await client.post(PATH, json={"model": "missing-x", "input": "Hi", "stream": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_an_ordered_status(client):
    answer = await client.post(PATH, json={"model": "m", "input": "[[sim status=503 retry_after=2]]"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["error"]["code"] == "service_unavailable"


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({}, "", 401),
        ({"x-goog-api-key": "bad-key"}, "", 401),
        ({"x-goog-api-key": "forbidden-key"}, "", 403),
        ({"x-goog-api-key": "k"}, "", 400),
        ({"authorization": "Bearer t"}, "", 400),
        ({"authorization": "Bearer"}, "", 401),
        ({"authorization": "Basic t"}, "", 401),
        ({}, "?key=k", 400),
        ({}, "?key=bad-k", 401),
    ],
)
async def test_any_key_opens_but_some(simulator_url, headers, query, status):
    async with httpx.AsyncClient(base_url=simulator_url) as client:
        answer = await client.get(f"{PATH}/x{query}", headers=headers)
    assert answer.status_code == status
    assert (
        answer.json()["error"]["code"]
        == {400: "invalid_request", 401: "authentication", 403: "permission_denied"}[status]
    )


@pytest.mark.parametrize(
    ("method", "path"), [("GET", PATH), ("PUT", f"{PATH}/v1_abcdefgh"), ("POST", "/v2/interactions")]
)
async def test_what_is_not_there_is_refused_by_the_front_end(client, method, path):
    answer = await client.request(method, path)
    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": 404, "message": "Method not found.", "status": "NOT_FOUND"}}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    body=st.dictionaries(
        st.sampled_from(
            ["model", "agent", "input", "stream", "store", "background", "previous_interaction_id", "tools"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["m", "v1_aaaaaaaa"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["type", "content", "text"]), inner)
            ),
            max_leaves=6,
        ),
    )
)
async def test_whatever_is_posted_is_answered_or_refused(client, body):
    answer = await client.post(PATH, json={"model": "m", **body})
    assert answer.status_code in (200, 400, 404)
    assert answer.status_code == 200 or answer.json()["error"]["message"]
