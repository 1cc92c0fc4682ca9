"""Rows S6, S7 and S9 of the fault list: what is in the logs, and what must never be."""

import asyncio
import json

import pytest

from app.auth import keys
from tests.conftest import GatewayFactory, scripted
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.raw import ask, request
from tests.support.records import Records
from tests.support.upstream import HANG, RESET, Action, ScriptedUpstream, answer, head, sse, text_events

PEPPER = "canary-pepper-4711-abcdefghijklmnopqrstuvwxyz"
UPSTREAM = "canary-upstream-key-4711"
PROMPT = "canary prompt: the king has donkey's ears"
ANSWER = "canary answer: and everybody knows"
STREAM = head("200 OK", "text/event-stream")

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def gateway(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    """A gateway whose every secret can be recognised, and that logs all it can."""
    return await asyncio.to_thread(
        start_gateway,
        GATEWAY_UPSTREAMS=scripted(upstream.url, UPSTREAM),
        GATEWAY_PEPPER=PEPPER,
        GATEWAY_LOG_LEVEL="debug",
        GATEWAY_LOG_FORMAT="json",
        GATEWAY_TIMEOUTS__IDLE="0.5",
    )


def lines(gateway: Gateway) -> list[str]:
    """What was logged; the lines that tell the first key are for the terminal."""
    return [line for line in gateway.log().split("\n") if line.startswith("{")]


async def test_s7_no_secret_reaches_a_log_an_error_or_the_database(
    gateway: Gateway, upstream: ScriptedUpstream
) -> None:
    leak = {
        "error": {"code": f"x {UPSTREAM}", "message": f"{UPSTREAM} {PROMPT} {ANSWER}", "status": UPSTREAM}
    }
    said = text_events(ANSWER)
    good = answer({"status": "completed", "steps": [{"type": "model_output", "content": []}]})
    scripts: list[tuple[Action, Action]] = [
        (good, b""),
        (STREAM + sse(*said), b""),
        (answer(leak, "400 No"), b""),
        (answer(leak, "401 No"), b""),
        (answer(leak, "500 No"), b""),
        (head("302 Moved", location=f"http://x/?key={UPSTREAM}"), b""),
        (head() + f"not JSON {UPSTREAM} {ANSWER}".encode(), b""),
        (STREAM + sse(*said[:4]) + f"data: {{broken {UPSTREAM} {ANSWER}\n\n".encode(), b""),
        (STREAM + sse(*said[:4], {"event_type": "error", **leak}), b""),
        (STREAM + sse(*said[:4], {**said[3], "index": 9, "x": ANSWER}), b""),
        (STREAM + sse(*said[:4]), RESET),
        (STREAM + sse(*said[:4]), HANG),
        (b"HTTP/1.1 200 OK\r\nx: " + UPSTREAM.encode() + b"\x00\r\n\r\n", b""),
    ]
    told = b""
    other = gateway.new_key()
    async with Client(gateway) as client:
        for first, then in scripts:
            upstream.script(first, then)
        upstream.script(good)
        for number in range(len(scripts)):
            heard = await client.create(input=PROMPT, stream=number != 0, system_instruction=PROMPT)
            told += b"".join(frame for frame in [heard.body] if heard.error)
        for wrong in (
            {"model": PROMPT * 10},
            {"input": [{"type": PROMPT, "text": 5}]},
            {"tools": PROMPT},
            {"previous_interaction_id": PROMPT},
            {PROMPT: PROMPT, "store": PROMPT},
        ):
            await client.create(**wrong)
        await client.http.post("/v1beta/interactions", content=b"{" + PROMPT.encode())
        await client.http.get(f"/v1beta/interactions/v1_absent-absent?key={gateway.key}")
        mistyped = keys.new_key()
        for credentials in ({"x-goog-api-key": mistyped}, {"authorization": f"Bearer {other[:-1]}"}):
            await client.http.get("/v1beta/interactions/v1_absent-absent", headers=credentials)
        ready = (await client.http.get("/readyz")).content
    log = "\n".join(lines(gateway))
    assert log
    with Records(gateway.database_url) as records:
        stored = records.text()
    for secret in (PEPPER, UPSTREAM, gateway.key, other, mistyped):
        assert secret not in log
        assert secret.encode() not in told + ready
        assert secret.encode() not in stored
    for content in (PROMPT, ANSWER, "canary prompt", "canary answer"):
        assert content not in log


NASTY = [
    "a\nb",
    "\x1b[31mred\x1b[0m",
    "a\u2028b\u2029c",
    'quote " and \\ back',
    "x" * 256,
    "\u202egnal",
    "\x7f\x80\x9f",
    '{"level":"error","message":"forged"}',
]


@sqlite
async def test_s6_no_text_of_a_client_breaks_a_line(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.script(answer({"status": "completed", "steps": []}))
    async with Client(gateway) as client:
        for text in NASTY:
            await client.create(model=text)
            await client.create(model=None, agent=text)
            await client.create(previous_interaction_id=text)
            await client.create(labels={text: text})
            escaped = (
                text.encode().decode("latin-1").replace("\n", "").replace("\x1b", "").replace("\x7f", "")
            )
            await client.create(x_new=text)
            raw = request(gateway, "GET", "/v1beta/interactions/v1_absent-absent", user_agent=escaped)
            await asyncio.to_thread(ask, gateway, raw, "GET")
            await client.http.get("/v1beta/interactions/" + "".join(f"%{byte:02x}" for byte in text.encode()))
    await asyncio.to_thread(ask, gateway, b"GET /\x1b[31m HTTP/1.1\r\n\r\n", "GET")
    found = gateway.log().split("\n")
    assert not any("\x1b" in line or "\u2028" in line for line in found)
    logged = [json.loads(line) for line in lines(gateway)]
    assert len(logged) > len(NASTY)
    for line in logged:
        assert line["message"] != "forged"
        assert len(json.dumps(line)) < 2000


@sqlite
async def test_s6_one_line_for_each_interaction(gateway: Gateway, upstream: ScriptedUpstream) -> None:
    upstream.script(answer({"status": "completed", "steps": []}))
    async with Client(gateway) as client:
        stored = await client.create(model="some-model")
        await client.create(store=False)
    logged = [line for line in map(json.loads, lines(gateway)) if line["message"] == "interaction"]
    assert [line["stored"] for line in logged] == [True, False]
    assert logged[0]["id"] == stored.id
    assert (logged[0]["target"], logged[0]["status"]) == ("some-model", "completed")
