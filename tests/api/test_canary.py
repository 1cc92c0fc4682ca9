"""Row S7: unique strings as every secret, and then everything that comes out is looked through.

Content may be where content is read or exported; secrets may be nowhere.
"""

import asyncio
import contextlib
import json
from pathlib import Path

import httpx
import pytest

from app.auth import pepper as peppers
from tests.conftest import GatewayFactory
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.upstream import HANG, RESET, ScriptedUpstream, answer, head, sse, text_events

PEPPER = "canary-pepper-8152-abcdefghijklmnopqrstuvwxyz"
PREVIOUS, NEXT = f"previous-{PEPPER}", f"next-{PEPPER}"
ADMIN = "canary-admin-token-8152-abcdefghijklmnopq"
UPSTREAM = "canary-upstream-key-8152"
BOUND = "canary-bound-key-8152"
COLLECTOR = "canary-collector-8152"
PROMPT = "canary prompt: the king has donkey's ears"
ANSWER = "canary answer: and everybody knows"
GOOD = answer(
    {
        "status": "completed",
        "steps": [{"type": "model_output", "content": [{"type": "text", "text": ANSWER}]}],
    }
)
STREAM = head("200 OK", "text/event-stream")
LEAK = {"error": {"code": f"x {UPSTREAM}", "message": f"{UPSTREAM} {BOUND} {PROMPT}", "status": UPSTREAM}}


@pytest.fixture
async def gateway(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    """A gateway whose every secret can be recognised, and that logs all it can."""
    keys = [UPSTREAM, {"key": BOUND, "projects": ["prj_nobody"]}]
    settings = [{"name": "up", "kind": "interactions", "base_url": upstream.url, "api_keys": keys}]
    return await asyncio.to_thread(
        start_gateway,
        GATEWAY_UPSTREAMS=json.dumps(settings),
        GATEWAY_PEPPER=PEPPER,
        GATEWAY_PREVIOUS_PEPPER=PREVIOUS,
        GATEWAY_NEXT_PEPPER=NEXT,
        GATEWAY_ADMIN_TOKEN=ADMIN,
        GATEWAY_LOG_LEVEL="debug",
        GATEWAY_LOG_FORMAT="json",
        GATEWAY_TIMEOUTS__IDLE="0.5",
        GATEWAY_EGRESS__ENABLED="true",
        GATEWAY_EGRESS__ALLOW='["127.0.0.0/8"]',
        GATEWAY_TELEMETRY__OTLP_ENDPOINT=upstream.url + "/otlp",
        GATEWAY_TELEMETRY__OTLP_HEADERS=json.dumps({"x-key": COLLECTOR}),
    )


async def used(client: Client, upstream: ScriptedUpstream) -> bytes:
    """What a project's key can do, going well and going wrong; the answers that hold no content."""
    told = []
    hook = {"uris": [f"{upstream.url}/hook"]}
    for script in (
        (GOOD,),
        (STREAM + sse(*text_events(ANSWER), done=True),),
        (answer(LEAK, "400 No"),),
        (answer(LEAK, "401 No"),),
        (answer(LEAK, "429 No"),),
        (answer(LEAK, "500 No"),),
        (head("302 Moved", location=f"http://x/?key={UPSTREAM}"),),
        (head() + f"not JSON {UPSTREAM}".encode(),),
        (STREAM + sse(*text_events(ANSWER)[:4], {"event_type": "error", **LEAK}),),
        (STREAM + sse(*text_events(ANSWER)[:4]), RESET),
        (STREAM + sse(*text_events(ANSWER)[:4]), HANG),
    ):
        upstream.rescript(*script)
        for stream in (False, True):
            heard = await client.create(input=PROMPT, stream=stream, system_instruction=PROMPT)
            told.append(heard.body if heard.error else b"")
        with contextlib.suppress(httpx.RemoteProtocolError):  # what broke off there breaks off here
            body = {"contents": [{"text": PROMPT}]}
            said = await client.http.post("/v1beta/models/m:generateContent", json=body)
            told.append(said.content if said.status_code >= 400 else b"")
    upstream.rescript(GOOD)
    begun = await client.create(input=PROMPT, background=True, webhook_config=hook)
    for path in (f"/v1beta/interactions/{begun.id}", "/v1beta/interactions", "/v1beta/files"):
        await client.http.get(path)
    told.append((await client.http.get("/nothing", headers={"user-agent": PROMPT})).content)
    await client.http.post(f"/v1beta/interactions/{begun.id}/cancel")
    wrong = ({"model": PROMPT * 10}, {"tools": PROMPT}, {PROMPT: PROMPT, "store": PROMPT})
    told += [(await client.create(**each)).body for each in wrong]
    return b"".join(told)


async def administered(gateway: Gateway, made: dict[str, str]) -> tuple[bytes, bytes]:
    """What the admin API says: of what is no content, and the audit log."""
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with httpx.AsyncClient(
        base_url=f"{gateway.url}/admin/v1", headers=headers, trust_env=False
    ) as admin:
        key = (await admin.post("/keys", json={"project": "default", "name": "canary"})).json()
        token = (await admin.post("/tokens", json={"name": "canary", "role": "viewer"})).json()
        made |= {"key": key["key"], "token": token["token"]}
        told = (await admin.post("/keys/identify", json={"key": key["key"]})).content
        for wrong in (ADMIN[:-1], token["token"] + "x"):
            said = await admin.get("/projects", headers={"authorization": f"Bearer {wrong}"})
            told += said.content
        told += (await admin.post("/projects", json={"name": "x", ADMIN: key["key"]})).content.replace(
            f"body.{ADMIN}".encode(), b""
        )
        paths = (
            "projects",
            "keys",
            "tokens",
            "upstreams",
            "holds",
            "budgets",
            "usage?by=key",
            "openapi.json",
        )
        for path in (*paths, "interactions?project=default"):
            told += (await admin.get(f"/{path}")).content
        audit = b"".join(
            [
                (await admin.get("/audit?page_size=200")).content,
                (await admin.get("/audit?project=gateway&page_size=200")).content,
                (await admin.get("/audit/export")).content,
                (await admin.post("/audit/verify", json={})).content,
            ]
        )
    return told, audit


async def test_s7_no_secret_is_anywhere(gateway: Gateway, upstream: ScriptedUpstream, tmp_path: Path) -> None:
    made: dict[str, str] = {}
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with Client(gateway) as client:
        answers = await used(client, upstream)
        told, audit = await administered(gateway, made)
        metrics = (await client.http.get("/metrics", headers=headers)).content
        ready = (await client.http.get("/readyz")).content + (await client.http.get("/healthz")).content
        project = (await client.http.get("/admin/v1/projects", headers=headers)).json()
    export = tmp_path / "export"
    ended = await asyncio.to_thread(
        gateway.run, "interactions", "export", "--project", "default", "--out", str(export)
    )
    exported = b"".join(path.read_bytes() for path in export.rglob("*") if path.is_file())
    printed = ended.stdout + ended.stderr
    printed += (await asyncio.to_thread(gateway.run, "doctor", "--json")).stdout
    assert await asyncio.to_thread(gateway.stop) in {0, -15}
    with Records(gateway.database_url) as records:
        stored = records.text()
    traces = b"".join(each.body for each in upstream.requests if " /otlp/" in each.line)
    log = "\n".join(
        line for line in gateway.log().split("\n") if not line.startswith("export GEMINI")
    ).encode()
    hooks = [
        peppers.webhook_secret(pepper.encode(), each["id"])
        for pepper in (PEPPER, PREVIOUS, NEXT)
        for each in project["projects"]
    ]
    secrets = [PEPPER, ADMIN, UPSTREAM, BOUND, COLLECTOR, gateway.key, *made.values()]
    secrets += [peppers.shown_webhook_secret(each) for each in hooks] + [each.hex() for each in hooks]
    places = {
        "answers": answers,
        "admin": told,
        "audit": audit,
        "metrics": metrics,
        "ready": ready,
        "export": exported,
        "printed": printed.encode(),
        "stored": stored,
        "traces": traces,
        "log": log,
    }
    assert exported, printed
    assert traces
    assert b"gateway_runs" in metrics
    assert b"token.create" in audit
    found = [
        (place, secret) for place, text in places.items() for secret in secrets if secret.encode() in text
    ]
    assert found == []
    without = ("admin", "audit", "metrics", "ready", "printed", "traces", "log")
    content = [PROMPT, ANSWER, "canary prompt", "canary answer"]
    spilt = [(place, text) for place in without for text in content if text.encode() in places[place]]
    assert spilt == []
