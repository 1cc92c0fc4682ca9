"""The outputs schema over HTTP, beside the steps schema, on the same interactions."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.client import DONE, Client, Heard, without_comments
from tests.support.gateway import Gateway
from tests.support.upstream import answer, head, sse
from tests.wire.outputs.reading import NAMES, accumulated

OLD = {"x-goog-api-client": "google-genai-sdk/1.75.0 gl-python/3.12.1"}
OLDEST = {"x-goog-api-client": "google-genai-sdk/1.55.0 gl-python/3.12.1"}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"location": {"type": "string"}}},
}
SEARCH = "Search for geese, and run some code. [[sim thoughts=2 tokens=4]]"
TOOLS = [{"type": "google_search"}, {"type": "code_execution"}, {"type": "google_maps"}]


@pytest.fixture
async def steps(gateway: Gateway) -> AsyncIterator[Client]:
    """A client of the steps schema."""
    async with Client(gateway) as client:
        yield client


@pytest.fixture
async def outputs(gateway: Gateway) -> AsyncIterator[Client]:
    """A client of the outputs schema."""
    async with speaking(Client(gateway)) as client:
        yield client


def speaking(client: Client, headers: dict[str, str] = OLD) -> Client:
    client.http.headers.update(headers)
    return client


def text(heard: Heard) -> str:
    shown = heard.json()
    contents = shown.get("outputs") or [item for step in shown["steps"] for item in step.get("content", [])]
    return "".join(item["text"] for item in contents if item["type"] == "text")


def ids(heard: Heard) -> list[str]:
    return [event["event_id"] for event in heard.events]


async def test_an_interaction_is_read_in_both_dialects_whoever_made_it(steps: Client, outputs: Client):
    for maker in (steps, outputs):
        made = await maker.create(input="My name is Ada.")
        one, other = (await outputs.get(made.id)).json(), (await steps.get(made.id)).json()
        user, thought, message = other.pop("steps")
        assert user["content"] == [{"type": "text", "text": "My name is Ada."}]
        assert one.pop("outputs") == [thought, *message["content"]]
        assert one.pop("role") == "model"
        assert one["usage"].pop("total_reasoning_tokens") == other["usage"]["total_thought_tokens"]
        assert one == other
        assert (await maker.get(made.id)).json()["status"] == made.json()["status"] == "completed"


async def test_a_conversation_goes_on_in_the_other_dialect(steps: Client, outputs: Client):
    first = await steps.create(input="My name is Ada.")
    second = await outputs.create(input="My colour is teal.", previous_interaction_id=first.id)
    third = await steps.create(input="What is my name?", previous_interaction_id=second.id)
    fourth = await outputs.create(input="What is my colour?", previous_interaction_id=third.id)
    assert "Ada" in text(third)
    assert "teal" in text(fourth)
    assert fourth.json()["previous_interaction_id"] == third.id


async def test_an_answer_can_be_sent_back_in_turns(outputs: Client):
    """The simulator signs its thoughts, and would notice if anything before them had changed."""
    first = await outputs.create(input=SEARCH, tools=TOOLS, store=False)
    assert "id" not in first.json()
    turns = [{"role": "user", "content": SEARCH}, {"role": "model", "content": first.json()["outputs"]}]
    second = await outputs.create(input=[*turns, {"role": "user", "content": "Thanks."}], store=False)
    turns += [{"role": "user", "content": "Thanks."}, {"role": "model", "content": second.json()["outputs"]}]
    third = await outputs.create(input=[*turns, {"role": "user", "content": "Bye."}], store=False)
    assert third.status == 200, third.body
    assert "turn 3" in text(third)


async def test_a_function_is_called_and_its_result_sent_in_either_dialect(steps: Client, outputs: Client):
    for asker, answerer in ((steps, outputs), (outputs, steps), (outputs, outputs)):
        asked = await asker.create(input="What is the weather in Paris?", tools=[WEATHER])
        assert asked.json()["status"] == "requires_action"
        *_, call = (await outputs.get(asked.id)).json()["outputs"]
        assert call["arguments"] == {"location": "Paris"}
        result = {"type": "function_result", "call_id": call["id"], "name": call["name"], "result": "sunny"}
        told = await answerer.create(input=[result], tools=[WEATHER], previous_interaction_id=asked.id)
        assert "sunny" in text(told)


async def test_structured_output_in_the_words_of_each_dialect(steps: Client, outputs: Client):
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    asked = {"response_format": schema, "response_mime_type": "application/json"}
    made = await outputs.create(input="Paris", **asked)
    assert '"city"' in text(made)
    assert {name: made.json()[name] for name in asked} == asked
    entry = {"type": "text", "mime_type": "application/json", "schema": schema}
    assert (await steps.get(made.id)).json()["response_format"] == entry
    again = await steps.create(input="Paris", response_format=entry)
    assert {name: (await outputs.get(again.id)).json()[name] for name in asked} == asked
    picture = await outputs.create(generation_config={"image_config": {"aspect_ratio": "1:1"}})
    assert [output["type"] for output in picture.json()["outputs"]][-1] == "image"


async def test_what_only_the_other_dialect_has_is_refused_by_name(steps: Client, outputs: Client):
    refused = await outputs.create(input=[{"type": "user_input", "content": "Hello"}])
    assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_request")
    assert "'input[0]': a user_input is a step" in refused.json()["error"]["message"]
    refused = await steps.create(response_format={"type": "object"})
    assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_request")
    assert "'response_format' is a JSON schema" in refused.json()["error"]["message"]
    turns = [{"role": "user", "content": "My name is Ada."}, {"role": "user", "content": "What is my name?"}]
    for client in (steps, outputs):
        assert "Ada" in text(await client.create(input=turns))


@pytest.mark.parametrize("sdk", [OLD, OLDEST], ids=["1.75", "1.55"])
async def test_a_stream_is_the_answer(outputs: Client, sdk: dict[str, str]):
    client = speaking(outputs, sdk)
    streamed = await client.create(input=SEARCH, tools=TOOLS, stream=True)
    assert streamed.done
    assert {event["event_type"] for event in streamed.events} == NAMES - {"error"}
    found = (await client.get(streamed.id)).json()
    assert accumulated(streamed.events) == found["outputs"]
    end = streamed.events[-1]["interaction"]
    assert end == {name: found[name] for name in end}
    assert set(found) - set(end) == {"outputs", "tools"}
    deltas = {event["delta"]["type"] for event in streamed.events if event["event_type"] == "content.delta"}
    assert ("text_annotation" in deltas) == (sdk is OLD)


async def test_a_stream_that_is_not_kept_has_no_ids(outputs: Client):
    streamed = await outputs.create(input="Hello", stream=True, store=False)
    assert streamed.done
    assert streamed.id == ""
    assert not any("event_id" in event for event in streamed.events)
    assert "Hello" in accumulated(streamed.events)[-1]["text"]


def number(event_id: str) -> int:
    """The number of the event that this is the id of, or of a part of it."""
    return int(event_id.rpartition("_")[2].partition("-")[0].removeprefix("r"))


async def test_every_stream_is_resumed_after_every_event_in_either_dialect(steps: Client, outputs: Client):
    asked = {"input": SEARCH, "tools": TOOLS}
    made = [await maker.create(**asked, stream=True) for maker in (steps, outputs)]
    made += [await maker.create(**asked) for maker in (steps, outputs)]
    for interaction in made:
        old, new = await outputs.replay(interaction.id), await steps.replay(interaction.id)
        assert old.done
        assert new.done
        for seen, event_id in enumerate(ids(old), 1):
            assert (await outputs.replay(interaction.id, event_id)).events == old.events[seen:]
            whole = event_id.rpartition("-")[0] if "-" in event_id[9:] else None
            place = ids(new).index(whole) if whole else ids(new).index(event_id) + 1
            assert (await steps.replay(interaction.id, event_id)).events == new.events[place:]
        for event_id in ids(new):
            rest = (await outputs.replay(interaction.id, event_id)).events
            assert rest == old.events[len(old.events) - len(rest) :]
            assert {number(event["event_id"]) for event in rest} <= {
                *range(number(event_id) + 1, len(new.events) + 1)
            }


async def test_an_event_id_must_be_one_of_the_interaction(outputs: Client):
    made = await outputs.create(input="Hello", stream=True)
    last = ids(made)[-1]
    tail, _, number = last.rpartition("_")
    beyond = f"{tail}_{int(number) + 1}"
    for wrong in (
        beyond,
        f"{beyond}-1",
        f"{last}-0",
        f"{last}-",
        f"{last}-01",
        f"{last}-x",
        f"x{last}",
        "-1",
    ):
        refused = await outputs.replay(made.id, wrong)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_request"), wrong


async def test_a_live_run_is_followed_in_the_other_dialect(steps: Client, outputs: Client):
    for maker, follower in ((steps, outputs), (outputs, steps), (outputs, outputs)):
        async with maker.open(input="Tell me. [[sim tokens=12 delay_ms=15]]") as reader:
            begun = await reader.until(5)
            interaction_id = begun[0]["interaction"]["id"]
            whole, late, raw = await asyncio.gather(
                follower.replay(interaction_id),
                follower.replay(interaction_id, begun[-1]["event_id"]),
                reader.rest(),
            )
        again = await maker.replay(interaction_id)
        assert without_comments(again.body) == without_comments(raw)
        assert whole.done
        assert late.done
        assert late.events == whole.events[len(whole.events) - len(late.events) :]
        assert (await follower.replay(interaction_id, begun[-1]["event_id"])).events == late.events


async def test_a_run_of_another_process_is_followed(start_gateway: Any):
    here = await asyncio.to_thread(start_gateway)
    there = await asyncio.to_thread(start_gateway)
    async with Client(here) as steps, speaking(Client(there, here.key)) as outputs:
        async with steps.open(input="Tell me. [[sim tokens=20 delay_ms=60]]") as reader:
            begun = await reader.until(6)
            interaction_id = begun[0]["interaction"]["id"]
            late = await outputs.replay(interaction_id, begun[-1]["event_id"])
            await reader.rest()
        whole = await outputs.replay(interaction_id)
        assert late.done
        assert late.events == whole.events[len(whole.events) - len(late.events) :]
        assert len(late.events) >= 20
        assert accumulated(whole.events) == (await outputs.get(interaction_id)).json()["outputs"]


async def test_errors_are_the_same_in_both_dialects(steps: Client, outputs: Client):
    cases: list[Any] = [
        lambda client: client.get("v1_AAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        lambda client: client.get("x"),
        lambda client: client.delete("v1_AAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        lambda client: client.create(input=""),
        lambda client: client.create(model="missing-model"),
        lambda client: client.create(input="[[sim status=429]]"),
        lambda client: client.create(input="[[sim status=404]]", stream=True),
        lambda client: client.create(background=True, store=False),
        lambda client: client.create(previous_interaction_id="v1_AAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    ]
    for ask in cases:
        one, other = await ask(steps), await ask(outputs)
        assert (one.status, one.body) == (other.status, other.body)
        assert one.status >= 400


async def test_a_stream_that_fails_just_ends(outputs: Client, steps: Client):
    failed = await outputs.create(input="Tell me. [[sim tokens=9 error_after=8]]", stream=True)
    assert not failed.done
    assert failed.events[-1]["event_type"] == "error"
    again = await outputs.replay(failed.id)
    assert without_comments(again.body) == without_comments(failed.body)
    found = (await outputs.get(failed.id)).json()
    assert found["status"] == "failed"
    assert found["errors"] == (await steps.get(failed.id)).json()["errors"]
    refused = await outputs.create(previous_interaction_id=failed.id)
    assert refused.json()["error"]["code"] == "failed_precondition"


async def test_a_deleted_interaction_is_gone_in_both_dialects(steps: Client, outputs: Client):
    made = await steps.create()
    assert (await outputs.delete(made.id)).json() == {}
    for client in (steps, outputs):
        assert (await client.get(made.id)).status == 404


async def test_the_input_is_shown_as_contents_or_as_turns(outputs: Client):
    made = await outputs.create(input="Hello")
    assert "input" not in (await outputs.get(made.id)).json()
    shown = (await outputs.get(made.id, include_input="true")).json()["input"]
    assert shown == [{"type": "text", "text": "Hello"}]
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "A"}]},
        {"role": "model", "content": [{"type": "text", "text": "B"}]},
        {"role": "user", "content": [{"type": "text", "text": "C"}]},
    ]
    made = await outputs.create(input=turns)
    assert (await outputs.get(made.id, include_input="true")).json()["input"] == turns


async def test_what_nobody_knows_yet_is_kept_and_told_where_it_can_be(scripted_gateway: Gateway, upstream):
    begun = {"id": "v1_upstream", "status": "in_progress"}
    dream = {"type": "dream", "content": [{"type": "text", "text": "not an answer"}]}
    upstream.script(
        head("200 OK", "text/event-stream"),
        sse(
            {"event_type": "interaction.created", "interaction": begun},
            {"event_type": "interaction.news", "news": 1},
            {"event_type": "step.start", "index": 0, "step": {"type": "dream"}},
            {"event_type": "step.delta", "index": 0, "delta": dream["content"][0]},
            {"event_type": "step.stop", "index": 0},
            {"event_type": "step.start", "index": 1, "step": {"type": "model_output"}},
            {"event_type": "step.delta", "index": 1, "delta": {"type": "text", "text": "Hi"}},
            {"event_type": "step.delta", "index": 1, "delta": {"type": "hologram", "x": 1}},
            {"event_type": "step.stop", "index": 1},
            {"event_type": "interaction.completed", "interaction": {**begun, "status": "marvelous"}},
            done=True,
        ),
    )
    async with speaking(Client(scripted_gateway)) as outputs:
        streamed = await outputs.create(stream=True)
        said = [{"type": "text", "text": "Hi"}, {"type": "hologram", "x": 1}]
        assert accumulated(streamed.events) == [dream, *said]
        assert {event["event_type"] for event in streamed.events} <= NAMES
        deltas = [event["delta"] for event in streamed.events if "delta" in event]
        assert deltas == [said[0]]
        found = (await outputs.get(streamed.id)).json()
        assert (found["status"], found["outputs"]) == ("marvelous", [dream, *said])
        upstream.script(answer({"status": "completed", "steps": []}))
        await outputs.create(previous_interaction_id=streamed.id)
        assert upstream.requests[-1].json()["input"][1:3] == [
            dream,
            {"type": "model_output", "content": said},
        ]


async def test_the_upstream_never_learns_of_the_dialect(scripted_gateway: Gateway, upstream):
    upstream.script(answer({"status": "completed", "steps": []}))
    async with speaking(Client(scripted_gateway)) as outputs:
        await outputs.create(
            input=[{"role": "user", "content": "A"}, {"role": "model", "content": "B"}],
            response_format={"type": "object"},
            response_mime_type="application/json",
            generation_config={"seed": 1, "image_config": {"image_size": "1K"}},
            novelty=1,
        )
    [asked] = upstream.requests
    assert "1.75" not in str(asked.headers)
    assert asked.json() == {
        "model": "test-model",
        "input": [
            {"type": "user_input", "content": [{"type": "text", "text": "A"}]},
            {"type": "model_output", "content": [{"type": "text", "text": "B"}]},
        ],
        "response_format": [
            {"type": "text", "mime_type": "application/json", "schema": {"type": "object"}},
            {"type": "image", "image_size": "1K"},
        ],
        "generation_config": {"seed": 1},
        "novelty": 1,
        "store": False,
    }


@pytest.mark.parametrize(
    ("headers", "outputs_shown"),
    [
        ({"api-revision": "2026-05-07"}, True),
        ({"api-revision": "2026-05-20", **OLD}, False),
        ({"user-agent": "GeminiNextGenAPIClient/Python 1.55.0"}, True),
        ({"x-goog-api-client": "google-genai-sdk/1.33.0 gl-node/v20.1.0"}, True),
        ({"x-goog-api-client": "google-genai-sdk/3.4.0 gl-python/3.12.1"}, False),
        ({}, False),
    ],
    ids=str,
)
async def test_the_dialect_is_chosen_by_the_headers(
    steps: Client, headers: dict[str, str], outputs_shown: bool
):
    made = await speaking(steps, headers).create()
    assert ("outputs" in made.json()) is outputs_shown
    assert ("steps" in made.json()) is not outputs_shown


async def test_a_gateway_can_speak_it_to_whoever_says_nothing(start_gateway: Any):
    gateway = await asyncio.to_thread(start_gateway, GATEWAY_DEFAULT_REVISION="outputs")
    async with Client(gateway) as plain:
        streamed = await plain.create(stream=True)
        assert streamed.body.startswith(b"event: interaction.start\n")
        assert streamed.body.endswith(DONE)
        plain.http.headers = httpx.Headers(
            {**plain.http.headers, "x-goog-api-client": "google-genai-sdk/3.4.0 gl-python/3.12.1"}
        )
        assert "steps" in (await plain.get(streamed.id)).json()
