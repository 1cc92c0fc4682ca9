"""Rows U3 and U4 of the fault list: an upstream that breaks off, or falls silent."""

import asyncio
import json

import pytest

from tests.support.client import Client, Heard
from tests.support.failing import STREAM, ask, must_be_recorded, must_be_refused, must_have_failed
from tests.support.gateway import Gateway
from tests.support.upstream import HANG, RESET, Action, Pause, ScriptedUpstream, chunk, head, sse, text_events

SAID = text_events("a", "b", "c")
LAST = len(SAID)
CHUNKED = head("200 OK", "text/event-stream", transfer_encoding="chunked")

stored_or_not = pytest.mark.parametrize("stored", [True, False], ids=["stored", "unstored"])
both = pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])


def script(ending: str, said: int) -> list[Action]:
    """So many events, and then this."""
    whole = sse(*SAID[:said])
    scripts: dict[str, list[Action]] = {
        "reset": [STREAM + whole, RESET],
        "end": [STREAM + whole],
        "end in a chunk": [CHUNKED + (chunk(whole) if whole else b"") + b"5\r\nda"],
        "end in an event": [STREAM + whole + b"event: x\ndata: {"],
        "done": [STREAM + whole + b"event: done\ndata: [DONE]\n\n"],
    }
    return scripts[ending]


def text(said: int) -> str:
    """What the model has said in so many events."""
    return "".join(event["delta"]["text"] for event in SAID[:said] if "delta" in event)


def steps(said: int) -> list[dict[str, object]]:
    """The steps of so many events."""
    content = [{"text": text(said), "type": "text"}] if text(said) else None
    shell: dict[str, object] = {"type": "model_output"}
    return [] if said < 3 else [{**shell, "content": content} if content else shell]


@pytest.mark.parametrize(
    ("ending", "stored", "streamed"),
    [
        *((ending, stored, True) for ending in ("reset", "end") for stored in (True, False)),
        *((ending, stored, False) for ending in ("reset", "end") for stored in (True, False)),
        *((ending, True, True) for ending in ("end in a chunk", "end in an event", "done")),
    ],
)
@pytest.mark.parametrize("said", range(LAST + 1))
async def test_u3_breaks_after_n_events(
    impatient: Gateway,
    client: Client,
    faulty: ScriptedUpstream,
    said: int,
    ending: str,
    stored: bool,
    streamed: bool,
) -> None:
    heard = await ask(client, faulty, *script(ending, said), stream=streamed, store=stored)
    if said == LAST and (heard.status == 200 and (heard.done or not streamed)):
        assert not streamed or len(heard.events) == LAST
        return
    assert said < LAST or ending == "reset"  # which may overtake what was sent before it
    if not streamed:
        must_be_refused(heard, 502, "bad_gateway")
        if ending != "reset":
            output = json.dumps(steps(said), separators=(",", ":")).encode()
            must_be_recorded(impatient, code="bad_gateway", stored=stored, output=output)
    elif not heard.is_stream:
        must_be_refused(heard, 502, "bad_gateway")
        assert said == 0 or ending == "reset"
    else:
        error = await must_have_failed(client, heard, stored=stored)
        assert error["code"] == "bad_gateway"
        told = heard.events[:-1]
        assert len(told) == said or (ending == "reset" and len(told) < said)
        for event, origin in zip(told[2:], SAID[2:], strict=False):  # the first two have our ids in them
            assert {name: event[name] for name in origin} == origin
        if stored:
            assert (await client.get(heard.id)).json()["steps"][1:] == steps(len(told))


async def test_u3_half_an_argument_is_no_argument(client: Client, faulty: ScriptedUpstream) -> None:
    call = {"type": "function_call", "id": "1", "name": "f", "arguments": {}}
    said = [
        *SAID[:2],
        {"index": 0, "step": call, "event_type": "step.start"},
        {
            "index": 0,
            "delta": {"type": "arguments_delta", "arguments": '{"a": [1,'},
            "event_type": "step.delta",
        },
    ]
    heard = await ask(client, faulty, STREAM + sse(*said), stream=True)
    await must_have_failed(client, heard)
    assert (await client.get(heard.id)).json()["steps"][1:] == [call]


SILENT = "The upstream 'scripted' did not answer in time."
"""What is said when it was the silence that was too long, and not the run."""


@both
@stored_or_not
async def test_u4_hangs_before_the_headers(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream, stored: bool, streamed: bool
) -> None:
    heard = await ask(client, faulty, HANG, stream=streamed, store=stored)
    assert must_be_refused(heard, 504, "deadline_exceeded") == SILENT
    await faulty.requests[-1].abandoned()
    must_be_recorded(impatient, code="deadline_exceeded", stored=stored)


async def test_u4_hangs_in_each_place(client: Client, faulty: ScriptedUpstream) -> None:
    """In the headers, in the body, and after each event but the last; streams of both kinds at once."""
    head_only: list[Action] = [b"HTTP/1.1 200 OK\r\ncontent-ty", HANG]
    body_only: list[Action] = [head("200 OK", content_length="100") + b'{"status"', HANG]
    error_only: list[Action] = [head("500 No", content_length="100") + b'{"error"', HANG]
    silent: list[list[Action]] = [[STREAM + sse(*SAID[:said]), HANG] for said in range(LAST)]
    scripts = [head_only, body_only, error_only, *silent]
    for actions in scripts:
        faulty.script(*actions)
        faulty.script(*actions)
    asked = []
    for position in range(2 * len(scripts)):
        asked.append(asyncio.ensure_future(client.create(stream=True, store=position % 2 == 0)))
        while len(faulty.requests) <= position:  # so that each gets its own script
            assert not asked[-1].done(), asked[-1].result()
            await asyncio.sleep(0.001)
    heard: list[Heard] = await asyncio.gather(*asked)
    for position, one in enumerate(heard):
        said = position // 2 - 3
        if said <= 0:
            assert must_be_refused(one, 504, "deadline_exceeded") == SILENT
        else:
            error = await must_have_failed(client, one, stored=position % 2 == 0)
            assert error == {"code": "deadline_exceeded", "message": SILENT}
            assert len(one.events) == said + 1
    for request in faulty.requests:
        await request.abandoned()


@both
async def test_u4_hangs_after_the_last_event(
    client: Client, faulty: ScriptedUpstream, streamed: bool
) -> None:
    heard = await ask(client, faulty, STREAM + sse(*SAID), HANG, stream=streamed)
    assert heard.status == 200
    assert heard.done or not streamed
    await faulty.requests[-1].abandoned()


@both
async def test_u4_hangs_after_a_whole_answer(
    client: Client, faulty: ScriptedUpstream, streamed: bool
) -> None:
    body = b'{"status":"completed","steps":[]}'
    whole = head(content_length=str(len(body))) + body
    heard = await ask(client, faulty, whole, HANG, stream=streamed)
    assert heard.status == 200
    await faulty.requests[-1].abandoned()


async def test_u4_never_ends(client: Client, faulty: ScriptedUpstream) -> None:
    """Comments and deltas come for ever: nothing is idle, but the run has a deadline of its own."""
    delta = sse({"index": 0, "delta": {"text": "x", "type": "text"}, "event_type": "step.delta"})
    for said in (b": still here\n\n", delta):
        for _ in range(2):
            again: list[Action] = [said, Pause(0.2)]
            faulty.script(STREAM + sse(*SAID[:3]), *(again * 1000))
    unary, streamed, unary_too, streamed_too = await asyncio.gather(
        *(client.create(stream=streamed) for streamed in (False, True, False, True))
    )
    late = {"code": "deadline_exceeded", "message": "The interaction took too long."}
    for heard in (unary, unary_too):
        assert must_be_refused(heard, 504, late["code"]) == late["message"]
    for heard in (streamed, streamed_too):
        assert await must_have_failed(client, heard) == late
    for request in faulty.requests:
        await request.abandoned()
