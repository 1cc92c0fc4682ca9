import asyncio
from typing import Any

import httpx
import pytest

from app.core.model import Json
from tests.upstream.simulator.asking import ask, user
from tests.upstream.simulator.frames import read

PATH = "/v1beta/interactions"
SLOW = "Hello [[sim tokens=1000 delay_ms=20]]"


async def begin(client: httpx.AsyncClient, text: str, **fields: Any) -> Json:
    answer = await client.post(PATH, json={"agent": "a", "input": text, "background": True, **fields})
    assert answer.status_code == 200
    shown: Json = answer.json()
    return shown


async def ended(client: httpx.AsyncClient, name: str) -> Json:
    await client.get(f"{PATH}/{name}?stream=true")
    shown: Json = (await client.get(f"{PATH}/{name}")).json()
    return shown


async def test_a_run_in_the_background(client):
    begun = await begin(client, "Hello [[sim tokens=3 delay_ms=500]]")
    assert list(begun) == ["id", "status", "created", "updated", "service_tier", "object", "agent"]
    assert begun["status"] == "in_progress"
    assert (await client.get(f"{PATH}/{begun['id']}")).json() == begun
    shown = await ended(client, begun["id"])
    assert shown["status"] == "completed"
    assert [step["type"] for step in shown["steps"]] == ["user_input", "thought", "model_output"]
    assert shown["usage"]["total_output_tokens"] > 0


async def test_it_cannot_be_continued_while_it_runs(client):
    begun = await begin(client, SLOW)
    answer = await client.post(
        PATH, json={"model": "m", "input": "Hi", "previous_interaction_id": begun["id"]}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "failed_precondition")
    await client.delete(f"{PATH}/{begun['id']}")


async def test_it_is_followed_from_the_start_and_by_several(client):
    begun = await begin(client, "Hello [[sim tokens=30 delay_ms=5]]")
    streams = await asyncio.gather(*(client.get(f"{PATH}/{begun['id']}?stream=true") for _ in range(3)))
    first, *others = (answer.content for answer in streams)
    assert all(other == first for other in others)
    frames = read(first)
    assert frames.done
    assert frames.steps()[-1] == (await ended(client, begun["id"]))["steps"][-1]


async def test_only_its_texts_have_event_ids(client):
    begun = await begin(client, "Hello")
    frames = read((await client.get(f"{PATH}/{begun['id']}?stream=true")).content)
    identified = [event for event in frames.events if "event_id" in event]
    assert [event["delta"]["type"] for event in identified] == ["text", "text"]
    assert list(identified[0]) == ["index", "delta", "event_id", "event_type"]
    assert identified[0]["event_id"].startswith("v1_")


@pytest.mark.parametrize("place", [0, 14, 29])
async def test_a_stream_is_taken_up_where_it_broke(client, place):
    begun = await begin(client, "Hello [[sim tokens=30]]")
    path = f"{PATH}/{begun['id']}?stream=true"
    whole = read((await client.get(path)).content)
    texts = [event for event in whole.events if "event_id" in event]
    rest = read((await client.get(f"{path}&last_event_id={texts[place]['event_id']}")).content)
    assert rest.done
    assert rest.events == whole.events[whole.events.index(texts[place]) + 1 :]


async def test_a_broken_post_does_not_end_the_run(client):
    order = "Hello [[sim tokens=20 delay_ms=5 drop_after=9]]"
    body = {"agent": "a", "input": order, "background": True, "stream": True}
    before = read((await client.post(PATH, json=body)).content)
    query = f"stream=true&last_event_id={before.last['event_id']}"
    after = read((await client.get(f"{PATH}/{before['id']}?{query}")).content)
    assert (len(before.events), before.done, after.done) == (9, False, True)
    assert after.last["interaction"]["status"] == "completed"
    whole = read((await client.get(f"{PATH}/{before['id']}?stream=true")).content)
    assert before.events + after.events == whole.events


async def test_it_is_cancelled_with_what_there_is(client):
    begun = await begin(client, SLOW)
    path = f"{PATH}/{begun['id']}"
    following = asyncio.create_task(client.get(f"{path}?stream=true"))
    await asyncio.sleep(0.2)
    cancelled = await client.post(f"{path}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert cancelled.json()["steps"][0] == user(SLOW)
    assert (await client.post(f"{path}/cancel")).json() == cancelled.json()
    frames = read((await following).content)
    assert frames.done
    assert frames.last["interaction"]["status"] == "cancelled"
    assert (await client.get(path)).json() == cancelled.json()
    next_turn = {"model": "m", "input": "What now?", "previous_interaction_id": begun["id"]}
    assert "turn 2" in (await client.post(PATH, json=next_turn)).text


async def test_silence_is_cancelled_too(client):
    begun = await begin(client, "[[sim hang]]")
    assert (await client.post(f"{PATH}/{begun['id']}/cancel")).json()["status"] == "cancelled"


@pytest.mark.parametrize("background", [False, True])
async def test_what_has_ended_or_runs_in_the_foreground_is_not_cancelled(client, background):
    begun = await begin(client, "Hello", background=background)
    await ended(client, begun["id"])
    answer = await client.post(f"{PATH}/{begun['id']}/cancel")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "failed_precondition")


async def test_a_deleted_run_stops(client):
    begun = await begin(client, SLOW)
    async with client.stream("GET", f"{PATH}/{begun['id']}?stream=true") as following:
        chunks = following.aiter_bytes()
        content = await anext(chunks)
        assert (await client.delete(f"{PATH}/{begun['id']}")).json() == {}
        content += b"".join([chunk async for chunk in chunks])
    assert read(content).last["interaction"]["status"] == "cancelled"


async def test_functions_end_a_run_too(client):
    tools = [{"type": "function", "name": "get_weather"}]
    shown = await ended(client, (await begin(client, "The weather?", tools=tools))["id"])
    assert shown["status"] == "requires_action"
    assert shown["steps"][1:] == ask("The weather?", tools=tools).steps
