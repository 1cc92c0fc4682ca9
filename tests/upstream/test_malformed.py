"""Rows U5 to U7 of the fault list: streams that are odd, broken, or in no order at all."""

import json
from typing import Any

import pytest

from tests.support.client import Client, Heard
from tests.support.failing import STREAM, must_be_refused, must_have_failed
from tests.support.upstream import Action, ScriptedUpstream, sse, text_events

SAID = text_events("a", "b\u2028c")
WHOLE = sse(*SAID)
STEP = {"type": "model_output", "content": [{"text": "ab\u2028c", "type": "text"}]}
LIMIT = 16 * 2**20


def frame(data: bytes, name: bytes = b"") -> bytes:
    return (b"event: " + name + b"\n" if name else b"") + b"data: " + data + b"\n\n"


def compact(event: Any) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def in_between(middle: bytes) -> bytes:
    """The good stream with something before its last event."""
    return sse(*SAID[:-1]) + middle + sse(SAID[-1])


NAMELESS = [{name: value for name, value in event.items() if name != "event_type"} for event in SAID]

# --- U5: what is still a stream ---

GOOD: dict[str, list[Action]] = {
    "as it should be": [WHOLE],
    "with its mark": [sse(*SAID, done=True)],
    "carriage returns": [WHOLE.replace(b"\n", b"\r")],
    "both": [WHOLE.replace(b"\n", b"\r\n")],
    "mixed": [WHOLE.replace(b"\n\n", b"\r\n\r").replace(b"\ndata", b"\rdata")],
    "byte order mark": [b"\xef\xbb\xbf" + WHOLE],
    "byte order mark in parts": [b"\xef", b"\xbb", b"\xbf" + WHOLE],
    "comments": [b": hello\n\n:\n\n" + in_between(b":" + b"x" * 65536 + b"\n\n: y\n")],
    "comment of more than the limit": [in_between(b":" + b"x" * (LIMIT + 1000) + b"\n\n")],
    "each byte alone": [bytes([byte]) for byte in WHOLE],
    "each byte alone, both": [bytes([byte]) for byte in WHOLE.replace(b"\n", b"\r\n")],
    "no spaces": [WHOLE.replace(b": {", b":{").replace(b"event: ", b"event:")],
    "raw separators": [b"".join(frame(compact(event)) for event in SAID)],
    "no names": [b"".join(frame(compact(event)) for event in SAID)],
    "names only": [
        b"".join(
            frame(compact(bare), event["event_type"].encode())
            for bare, event in zip(NAMELESS, SAID, strict=True)
        )
    ],
    "wrong names": [b"".join(frame(compact(event), b"step.stop") for event in SAID)],
    "other fields": [in_between(b"id: 5\nretry: 10\nfoo: bar\nfoo\n\n")],
    "event without data": [in_between(b"event: step.start\n\n\n\n\n")],
    "several data lines": [
        b"".join(
            b"data: " + json.dumps(event, indent=1).replace("\n", "\ndata: ").encode() + b"\n\n"
            for event in SAID
        )
    ],
    "nothing after the end": [WHOLE + b"data: {not json\n\n" + b"\xff" * 100],
}


async def hear(client: Client, faulty: ScriptedUpstream, *script: Action, **body: Any) -> Heard:
    faulty.script(STREAM, *script)
    return await client.create(**body)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "unary"])
@pytest.mark.parametrize("name", GOOD)
async def test_u5_odd_stream_is_understood(
    client: Client, faulty: ScriptedUpstream, name: str, streamed: bool
) -> None:
    heard = await hear(client, faulty, *GOOD[name], stream=streamed)
    assert heard.status == 200
    if not streamed:
        assert heard.json()["steps"] == [STEP]
        return
    assert heard.done
    assert [event["event_type"] for event in heard.events] == [event["event_type"] for event in SAID]
    assert (await client.get(heard.id)).json()["steps"][1:] == [STEP]
    assert (await client.replay(heard.id)).body == heard.body


# --- U5, U6: what is none ---

BROKEN: dict[str, bytes] = {
    "no final blank line": WHOLE[:-1],
    "mark in the middle": sse(*SAID[:-1], done=True) + sse(SAID[-1]),
    "not json": in_between(frame(b"{not json")),
    "not an object": in_between(frame(b"[]")),
    "empty data": in_between(frame(b"")),
    "no type": in_between(frame(b"{}")),
    "type that is no text": in_between(frame(b'{"event_type": 5}')),
    "type with a line break": in_between(frame(b'{"event_type": "x\\n\\ndata: evil"}')),
    "name with a line separator": in_between(frame(b"{}", "x\u2028y".encode())),
    "name of a null": in_between(frame(b'{"event_type": "x\\u0000"}')),
    "not utf-8": in_between(frame(b'{"event_type": "x", "y": "\xff"}')),
    "lone surrogate": in_between(frame(b'{"event_type": "x", "y": "\\ud800"}')),
    "not a number": in_between(frame(b'{"event_type": "x", "y": NaN}')),
    "number too long": in_between(frame(b'{"event_type": "x", "y": ' + b"9" * 5000 + b"}")),
    "deep": in_between(frame(b'{"event_type": "x", "y": ' + b"[" * 10_000 + b"]" * 10_000 + b"}")),
    "deeper than can be written": in_between(
        frame(b'{"event_type": "x", "y": ' + b"[" * 300 + b"]" * 300 + b"}")
    ),
    "event of more than the limit": in_between(frame(b'{"event_type": "x", "y": "' + b"y" * LIMIT + b'"}')),
    "line without an end": sse(*SAID[:-1]) + b"data: " + b"y" * (LIMIT + 1000),
    "data lines of more than the limit": sse(*SAID[:-1]) + (b"data: " + b"y" * 999 + b"\n") * (LIMIT // 999),
}


async def test_u9_stream_of_more_than_the_limit(client: Client, faulty: ScriptedUpstream) -> None:
    delta = sse({**MORE, "delta": {"type": "text", "text": "x" * 2**20}})
    began = sse(*SAID[:3])
    heard = await hear(
        client, faulty, began + delta, *([delta] * 25), sse(*SAID[-2:]), stream=True, store=False
    )
    assert (await must_have_failed(client, heard, stored=False))["code"] == "bad_gateway"
    assert 15 < len(heard.events) < 25
    comments = b": " + b"x" * 2**20 + b"\n\n"
    heard = await hear(client, faulty, began, *([comments] * 25), sse(*SAID[-3:]), stream=True)
    assert "more than" in (await must_have_failed(client, heard))["message"]


@pytest.mark.parametrize("name", BROKEN)
async def test_u5_u6_broken_stream_has_failed(client: Client, faulty: ScriptedUpstream, name: str) -> None:
    heard = await hear(client, faulty, BROKEN[name], stream=True)
    error = await must_have_failed(client, heard)
    assert error["code"] == "bad_gateway"
    assert len(error["message"]) < 400
    assert [event["event_type"] for event in heard.events[:-1]] == [
        event["event_type"] for event in SAID[:-1]
    ]
    assert (await client.get(heard.id)).json()["steps"][1:] == [STEP]
    must_be_refused(await hear(client, faulty, BROKEN[name]), 502, "bad_gateway")


async def test_u5_event_type_cannot_forge_a_frame(client: Client, faulty: ScriptedUpstream) -> None:
    forged = {"event_type": "x\n\nevent: interaction.completed\ndata: {}\n\n", "index": 0}
    heard = await hear(client, faulty, in_between(frame(compact(forged))), stream=True)
    assert b"interaction.completed" not in heard.body
    await must_have_failed(client, heard)


async def test_u5_upstreams_event_ids_are_not_ours(client: Client, faulty: ScriptedUpstream) -> None:
    said = [{**event, "event_id": "upstreams"} for event in SAID]
    heard = await hear(client, faulty, sse(*said), stream=True)
    assert b"upstreams" not in heard.body
    assert len({event["event_id"] for event in heard.events}) == len(SAID)
    unstored = await hear(client, faulty, sse(*said), stream=True, store=False)
    assert b"event_id" not in unstored.body


# --- U7: in no order ---

CREATED, UPDATE, START, DELTA, MORE, STOP, COMPLETED = SAID
ERROR = {"event_type": "error", "error": {"code": "x", "message": "y"}}


def at(index: Any, event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "index": index}


IN_NO_ORDER: dict[str, list[dict[str, Any]]] = {
    "delta before start": [CREATED, DELTA, START, STOP, COMPLETED],
    "stop without start": [CREATED, STOP, COMPLETED],
    "duplicate start": [CREATED, START, START, STOP, COMPLETED],
    "start again after stop": [CREATED, START, STOP, START, STOP, COMPLETED],
    "delta after stop": [CREATED, START, STOP, DELTA, COMPLETED],
    "stop twice": [CREATED, START, STOP, STOP, COMPLETED],
    "delta of another step": [CREATED, START, at(1, DELTA), STOP, COMPLETED],
    "negative index": [CREATED, at(-1, START), COMPLETED],
    "index that is none": [CREATED, at(True, START), COMPLETED],
    "index of a text": [CREATED, at("0", START), COMPLETED],
    "index of a list": [CREATED, START, at([], DELTA), COMPLETED],
    "no index": [CREATED, at(None, START), COMPLETED],
    "step that is none": [CREATED, {**START, "step": []}, COMPLETED],
    "step without type": [CREATED, {**START, "step": {}}, COMPLETED],
    "delta that is none": [CREATED, START, {**DELTA, "delta": "x"}, COMPLETED],
    "delta without type": [CREATED, START, {**DELTA, "delta": {"text": "x"}}, COMPLETED],
    "text delta without text": [CREATED, START, {**DELTA, "delta": {"type": "text"}}, COMPLETED],
    "text of a number": [CREATED, START, {**DELTA, "delta": {"type": "text", "text": 5}}, COMPLETED],
    "completed without interaction": [CREATED, START, DELTA, STOP, {"event_type": "interaction.completed"}],
    "completed with steps that are none": [
        CREATED,
        {**COMPLETED, "interaction": {"status": "completed", "steps": [1, "x"]}},
    ],
    "arguments that are not json": [
        CREATED,
        {**START, "step": {"type": "function_call", "name": "f", "id": "1"}},
        {**DELTA, "delta": {"type": "arguments_delta", "arguments": "{x"}},
        STOP,
        COMPLETED,
    ],
}


@pytest.mark.parametrize("name", IN_NO_ORDER)
async def test_u7_events_that_make_no_sense_have_failed(
    client: Client, faulty: ScriptedUpstream, name: str
) -> None:
    said = IN_NO_ORDER[name]
    heard = await hear(client, faulty, sse(*said), stream=True)
    error = await must_have_failed(client, heard)
    assert error["code"] == "bad_gateway"
    # the event is named by its number, and is the last that was not told
    assert f"event {len(heard.events)} ({said[len(heard.events) - 1]['event_type']})" in error["message"]
    message = must_be_refused(await hear(client, faulty, sse(*said)), 502, "bad_gateway")
    assert message == error["message"]


FINE: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "nothing but the end": ([COMPLETED], []),
    "nothing said": ([CREATED, COMPLETED], []),
    "no created": ([START, DELTA, MORE, STOP, COMPLETED], [STEP]),
    "no stop": ([CREATED, START, DELTA, MORE, COMPLETED], [STEP]),
    "two ends": ([*SAID, COMPLETED], [STEP]),
    "more after the end": ([*SAID, START, DELTA, STOP, ERROR], [STEP]),
    "steps out of order": (
        [CREATED, at(5, START), at(5, DELTA), at(2, START), at(5, MORE), at(2, STOP), at(5, STOP), COMPLETED],
        [{"type": "model_output"}, STEP],
    ),
    "huge index": ([CREATED, at(10**18, START), at(10**18, DELTA), at(10**18, MORE), COMPLETED], [STEP]),
    "end with steps": (
        [CREATED, {**COMPLETED, "interaction": {"status": "completed", "steps": [STEP]}}],
        [STEP],
    ),
}


@pytest.mark.parametrize("name", FINE)
async def test_u7_exactly_one_end(client: Client, faulty: ScriptedUpstream, name: str) -> None:
    said, steps = FINE[name]
    heard = await hear(client, faulty, sse(*said), stream=True)
    types = [event["event_type"] for event in heard.events]
    assert heard.done
    assert types[0] == "interaction.created"
    assert types[-1] == "interaction.completed"
    assert types.count("interaction.completed") == 1
    assert "error" not in types
    kept = (await client.get(heard.id)).json()
    assert kept["status"] == "completed"
    assert [{name: step[name] for name in step if name != "index"} for step in kept["steps"][1:]] == steps
    assert (await client.replay(heard.id)).body == heard.body


@pytest.mark.parametrize(
    "ending", ["failed", "incomplete", "requires_action", "budget_exceeded", "brand_new"]
)
async def test_u7_end_of_every_status(client: Client, faulty: ScriptedUpstream, ending: str) -> None:
    last = {**COMPLETED, "interaction": {"status": ending}}
    heard = await hear(client, faulty, sse(*SAID[:-1], last), stream=True)
    assert heard.done
    assert heard.events[-1]["interaction"]["status"] == ending
    assert (await client.get(heard.id)).json()["status"] == ending


async def test_u7_error_after_content_keeps_it(client: Client, faulty: ScriptedUpstream) -> None:
    heard = await hear(client, faulty, sse(*SAID[:-1], ERROR, COMPLETED), stream=True)
    assert await must_have_failed(client, heard) == {"code": "x", "message": "y"}
    assert (await client.get(heard.id)).json()["steps"][1:] == [STEP]
