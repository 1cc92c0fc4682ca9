"""Nothing is lost: what is unknown or odd passes through, is stored, comes back, and goes out again."""

import base64
import json
import os
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.upstream import ScriptedUpstream, answer, head, sse, text_events

TEXTS = {
    "nul": "a\x00b",
    "controls": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "line ends": "a\r\nb\rc\n\n\ndata: d\n\n",
    "separators": "a\u2028b\u2029c\u0085d",
    "right to left": "שלום \u202eolleh\u202c مرحبا",
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈\U0010ffff",
    "combining": "e\u0301 \u1e9b\u0323 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A",
    "no characters": "\ufeff\ufffe\uffff\ufdd0",
    "escapes": "\\u0000 \\ \" ' / </script> {{7*7}} %s",
}


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_d8_content_survives(
    client: Client, faulty: ScriptedUpstream, text: str, streamed: bool
) -> None:
    said = text_events(*text) if streamed else []
    plain = answer({"status": "completed", "steps": [model_output(text)]})
    faulty.script(head("200 OK", "text/event-stream") + sse(*said, done=True) if streamed else plain)
    faulty.script(plain)
    asked = {"input": text, "system_instruction": text, "labels": {"a": "b"}}
    first = await client.create(stream=streamed, **asked)
    assert first.status == 200
    if streamed:
        assert "".join(deltas(first.events)) == text
        assert (await client.replay(first.id)).body == first.body
    kept = (await client.get(first.id)).json()
    assert kept["steps"] == [user_input(text), model_output(text)]
    assert kept["system_instruction"] == text
    await client.create(previous_interaction_id=first.id, input="again")
    one, two = (asked.json() for asked in faulty.requests)
    assert one["input"] == [user_input(text)]
    assert one["system_instruction"] == text
    assert two["input"] == [user_input(text), model_output(text), user_input("again")]


async def test_d8_ten_megabytes_survive(client: Client, faulty: ScriptedUpstream) -> None:
    image = {
        "type": "image",
        "mime_type": "image/png",
        "data": base64.b64encode(os.urandom(7_500_000)).decode(),
    }
    drawn = {"type": "model_output", "content": [image]}
    faulty.script(answer({"status": "completed", "steps": [drawn]}))
    first = await client.create(input=[image])
    assert first.json()["steps"] == [drawn]
    assert (await client.get(first.id)).json()["steps"] == [{"type": "user_input", "content": [image]}, drawn]
    await client.create(previous_interaction_id=first.id, input="again")
    assert faulty.requests[1].json()["input"][:2] == [{"type": "user_input", "content": [image]}, drawn]


@pytest.mark.parametrize("field", ["model", "agent", "previous_interaction_id"])
@pytest.mark.parametrize("text", ["a\x00b", "a\nb"])
async def test_d8_names_have_no_control_characters(client: Client, field: str, text: str) -> None:
    body = {"model": None, field: text} if field == "agent" else {field: text}
    refused = await client.create(**body)
    assert (refused.status, refused.error and refused.error["code"]) == (400, "invalid_request")
    assert field in str(refused.error)


@pytest.mark.parametrize("labels", [{"a": "b\x00"}, {"a\x00": "b"}, {"a": "\n"}])
async def test_d8_labels_survive_or_are_refused(
    client: Client, faulty: ScriptedUpstream, labels: dict[str, str]
) -> None:
    faulty.script(answer({"status": "completed", "steps": []}))
    heard = await client.create(labels=labels)
    if heard.status == 200:
        assert (await client.get(heard.id)).json()["labels"] == labels
    else:
        assert heard.status == 400
        assert "labels" in str(heard.error)


STRANGE = {"novelty": {"z": 1, "a": [1.5, None, True, {}]}, "type_": "ü\u2028"}


async def test_u12_unknown_request_fields_go_upstream_and_are_stored(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream
) -> None:
    faulty.script(answer({"status": "completed", "steps": []}))
    first = await client.create(x_new=STRANGE, generation_config={"thinking_level": "low", "x": STRANGE})
    asked = faulty.requests[0]
    assert b'"x_new":' + compact(STRANGE) in asked.body
    assert asked.json()["generation_config"] == {"thinking_level": "low", "x": STRANGE}
    with Records(impatient.database_url) as records:
        [[options]] = records.rows(f"SELECT options FROM interactions WHERE id = '{first.id}'")
    assert b'"x_new":' + compact(STRANGE) in options
    await client.create(previous_interaction_id=first.id)
    assert "x_new" not in faulty.requests[1].json()  # a chain carries the history, nothing else


STEPS: list[dict[str, Any]] = [
    {"type": "hologram_input", **STRANGE},
    {"type": "user_input", "content": [{"type": "smell", "of": "rain", **STRANGE}], "mood": STRANGE},
    {"type": "model_output", "content": [{"type": "text", "text": "a", **STRANGE}], **STRANGE},
    {"type": "thought", "signature": "c2ln+/==", "summary": [{"type": "text", "text": "b", **STRANGE}]},
    {"type": "function_call", "id": "1", "name": "f", "arguments": STRANGE, "signature": "x"},
    {"type": "function_result", "call_id": "1", "result": STRANGE, "is_error": False},
    {"type": "teleport_call", "id": "2", "arguments": STRANGE},
    {"type": "teleport_result", "call_id": "2", "result": [STRANGE]},
]


async def test_u12_unknown_steps_of_the_client_survive(client: Client, faulty: ScriptedUpstream) -> None:
    faulty.script(answer({"status": "completed", "steps": []}))
    first = await client.create(input=STEPS)
    await client.create(previous_interaction_id=first.id)
    kept = await client.get(first.id)
    for step in STEPS:
        for text in (faulty.requests[0].body, faulty.requests[1].body, kept.body):
            assert compact(step) in text
    assert kept.json()["steps"] == STEPS


async def test_u12_unknown_steps_of_the_upstream_survive(client: Client, faulty: ScriptedUpstream) -> None:
    said = {"status": "completed", "steps": STEPS, "usage": {"total_tokens": 1, **STRANGE}, "x_new": STRANGE}
    faulty.script(head() + compact(said))
    first = await client.create()
    await client.create(previous_interaction_id=first.id)
    kept = await client.get(first.id)
    for step in STEPS:
        for text in (first.body, kept.body, faulty.requests[1].body):
            assert compact(step) in text
    assert kept.json()["x_new"] == STRANGE
    assert kept.json()["usage"] == said["usage"]
    replayed = (await client.replay(first.id)).events
    whole = [event["step"] for event in replayed if event["event_type"] == "step.start"]
    assert [step["type"] for step in whole] == [step["type"] for step in STEPS]
    assert replayed[-1]["interaction"]["x_new"] == STRANGE


def unknown_events() -> list[dict[str, Any]]:
    created, update, *_, completed = text_events("a")
    return [
        {**created, "interaction": {**created["interaction"], "x_new": STRANGE}},
        update,
        {"index": 0, "step": {"type": "hologram", **STRANGE}, "event_type": "step.start"},
        {"index": 0, "delta": {"type": "hologram_part", "more": STRANGE}, "event_type": "step.delta"},
        {"index": 0, "event_type": "step.stop", **STRANGE},
        {"weather": STRANGE, "event_type": "weather.changed"},
        {"index": 1, "step": {"type": "model_output", **STRANGE}, "event_type": "step.start"},
        {"index": 1, "delta": {"text": "a", "type": "text", **STRANGE}, "event_type": "step.delta"},
        {"index": 1, "delta": {"type": "smell", "of": STRANGE}, "event_type": "step.delta"},
        {"index": 1, "event_type": "step.stop"},
        {**completed, "interaction": {**completed["interaction"], "x_new": STRANGE}},
    ]


async def test_u12_unknown_events_and_deltas_survive(client: Client, faulty: ScriptedUpstream) -> None:
    said = unknown_events()
    faulty.script(head("200 OK", "text/event-stream") + frames(said))
    first = await client.create(stream=True)
    assert first.done
    ids = [event.pop("event_id") for event in first.events]
    assert len(set(ids)) == len(said)
    for event in said[2:-1]:  # the rest has our ids in it
        assert compact(event)[1:] in first.body  # behind the event_id, which comes first
    assert first.events[0]["interaction"]["x_new"] == STRANGE
    assert first.events[-1]["interaction"]["x_new"] == STRANGE
    assert (await client.replay(first.id)).body == first.body

    steps = [
        {"type": "hologram", **STRANGE, "more": STRANGE},
        {
            "type": "model_output",
            **STRANGE,
            "content": [{"type": "text", "text": "a", **STRANGE}, {"type": "smell", "of": STRANGE}],
        },
    ]
    assert (await client.get(first.id)).json()["steps"][1:] == steps
    await client.create(previous_interaction_id=first.id)
    assert faulty.requests[1].json()["input"][1:-1] == steps
    # byte for byte the same, whenever it goes out
    await client.create(previous_interaction_id=first.id)
    assert faulty.requests[2].body == faulty.requests[1].body


async def test_u12_tool_calls_of_any_number_and_id(client: Client, faulty: ScriptedUpstream) -> None:
    calls = [{"type": "function_call", "id": "same", "name": "f", "arguments": {}} for _ in range(10_000)]
    faulty.script(answer({"status": "requires_action", "steps": calls}))
    first = await client.create()
    assert first.json()["status"] == "requires_action"
    results = [{"type": "function_result", "call_id": "other", "name": "f", "result": "x"}]
    second = await client.create(previous_interaction_id=first.id, input=results)
    assert second.status == 200
    assert faulty.requests[1].json()["input"] == [user_input(client.question), *calls, *results]


@pytest.mark.parametrize(
    "usage", [None, {}, {"total_tokens": -5}, {"total_tokens": 2**63}, {"total_tokens": "many"}, [], "x"]
)
async def test_u13_usage_is_kept_as_given(client: Client, faulty: ScriptedUpstream, usage: Any) -> None:
    faulty.script(answer({"status": "completed", "steps": [], "usage": usage}))
    first = await client.create()
    assert first.json().get("usage") == usage
    assert (await client.get(first.id)).json().get("usage") == usage


def frames(said: list[dict[str, Any]]) -> bytes:
    return b"".join(b"data: " + compact(event) + b"\n\n" for event in said)


def deltas(said: list[dict[str, Any]]) -> list[str]:
    return [event["delta"]["text"] for event in said if event["event_type"] == "step.delta"]


def user_input(text: str) -> dict[str, Any]:
    return {"type": "user_input", "content": [{"type": "text", "text": text}]}


def model_output(text: str) -> dict[str, Any]:
    return {"type": "model_output", "content": [{"text": text, "type": "text"}]}
